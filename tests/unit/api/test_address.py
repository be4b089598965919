"""Addresses that are mistyped, and networks in which something else answers."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from api.address import CA_VARIABLES, parse_address
from api.client import Client
from api.service_errors import RequestRefused, ServiceError, ServiceUnreachable, WrongAddress
from tests.unit.api.test_client import ANSWER, response, serving

PAGE = b"<html><title>Welcome</title></html>"


class Handler(BaseHTTPRequestHandler):
    """A service that classifies everything as a melanoma."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        content = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of such a service, encrypted or not."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # of clients that break off
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that no known authority has signed, with its key in the same file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not on PATH")
    folder = tmp_path_factory.mktemp("certificate")
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(["openssl", "req", *options.split(), *files], check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.fixture
def tls_port(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    for variable in CA_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with running(context) as port:
        yield port


def error_of(url: str, image: bytes = b"a photograph") -> ServiceError:
    with pytest.raises(ServiceError) as caught, Client(url) as client:
        client.predict(image)
    return caught.value


@pytest.mark.parametrize(
    "text",
    ["localhost:8089", "http://localhost:8089/predict", " http://localhost:8089// ", "HTTP://localhost:8089/docs"],
)
def test_an_address_may_be_written_loosely(text: str):
    assert parse_address(text).lower() == "http://localhost:8089"


def test_a_path_prefix_of_a_proxy_stays():
    assert parse_address("https://clinic.example/mlbio/predict/") == "https://clinic.example/mlbio"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://a..b", "1 to 63 characters"),
        (f"http://{'a' * 70}.example", "1 to 63 characters"),
        ("http://", "such as http://127.0.0.1:8089"),
        ("http://[::1", "such as http://127.0.0.1:8089"),
        ("http:/localhost:8089", "such as http://127.0.0.1:8089"),
        ("ftp://localhost", "such as http://127.0.0.1:8089"),
        ("http://localhost:99999", "such as http://127.0.0.1:8089"),
        ("http://localhost:8089?x=1", "such as http://127.0.0.1:8089"),
        ("http:\\\\localhost:8089", "such as http://127.0.0.1:8089"),
        ("http://local host:8089", "such as http://127.0.0.1:8089"),
        ("http://*:8089", "such as http://127.0.0.1:8089"),
    ],
)
def test_a_mistyped_address_is_refused_before_anything_is_sent(text: str, words: str):
    error = error_of(text)
    assert isinstance(error, WrongAddress) and words in str(error)


def test_https_for_the_plain_port():
    with running() as port:
        error = error_of(f"https://localhost:{port}")
    assert isinstance(error, WrongAddress) and f"use http://localhost:{port}" in str(error)


@pytest.mark.parametrize("image", [b"small", bytes(5_000_000)], ids=["small", "large"])
def test_http_for_an_encrypted_port(tls_port: int, image: bytes):
    error = error_of(f"http://localhost:{tls_port}", image)
    assert isinstance(error, WrongAddress) and f"use https://localhost:{tls_port}" in str(error)


def test_a_private_authority_is_unknown_until_the_environment_names_it(
    tls_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    url = f"https://localhost:{tls_port}"
    error = error_of(url)
    assert isinstance(error, WrongAddress) and all(variable in str(error) for variable in CA_VARIABLES)
    for variable in CA_VARIABLES:
        with monkeypatch.context() as environment:
            environment.setenv(variable, str(certificate))
            with Client(url) as client:
                assert client.predict(b"a photograph").prediction == "Melanoma"


def test_a_certificate_for_another_host(tls_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert "not valid for '127.0.0.1'" in str(error_of(f"https://127.0.0.1:{tls_port}"))


@pytest.mark.parametrize(("name", "words"), [("missing.pem", "does not exist"), ("key.pem", "has no certificate")])
def test_a_wrong_file_of_certificates(
    tls_port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name(name)))
    error = str(error_of(f"https://localhost:{tls_port}"))
    assert error.startswith("REQUESTS_CA_BUNDLE names") and name in error and words in error


@pytest.mark.parametrize("status", ["413 Content Too Large", "502 Bad Gateway", "503 X", "504 X", "403 X", "520 X"])
def test_a_proxys_page_is_not_the_services_answer(status: str):
    with serving(response(PAGE, status)) as server:
        error = error_of(server.url)
    assert isinstance(error, RequestRefused) and error.status == int(status[:3])
    assert "a proxy" in str(error) and f"HTTP {status[:3]}" in str(error)


def test_a_proxy_that_redirects_to_https():
    elsewhere = "Location: https://clinic.example/mlbio/predict\r\n"
    with serving(response(PAGE, "301 Moved", elsewhere)) as server:
        error = error_of(server.url)
    assert isinstance(error, WrongAddress) and "use that address" in str(error)
    assert error.fields["other"] == "https://clinic.example/mlbio"


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"-ERR wrong number of arguments\r\n"])
def test_a_port_with_a_program_that_does_not_speak_http(answer: bytes):
    with serving(answer) as server:
        error = error_of(server.url)
    assert isinstance(error, WrongAddress) and "not HTTP" in str(error)


def test_a_wrong_path_of_a_real_service():
    with serving(response({"success": False, "error": "nothing here"}, "404 X", "x-mlbio-error: not_found\r\n")) as own:
        error = error_of(f"{own.url}/api")
    assert isinstance(error, WrongAddress) and "not under this path" in str(error)


def test_a_host_that_is_not_known():
    error = error_of("http://mlbio.invalid:8089")
    assert isinstance(error, ServiceUnreachable) and "host name 'mlbio.invalid' is not known" in str(error)


def test_another_program_is_not_taken_for_a_service_that_starts():
    with (
        serving(response(PAGE)) as server,
        Client(server.url) as client,
        pytest.raises(WrongAddress, match="not an MLBIO service"),
    ):
        client.is_ready()
    with serving(response(PAGE, "502 Bad Gateway")) as server, Client(server.url) as client:
        assert client.is_ready() is False
