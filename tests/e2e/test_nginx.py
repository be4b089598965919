"""Gateway and page behind nginx with TLS, a path prefix and another host name, as the documentation configures it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from api.headers import STREAM_TYPE
from gateway.settings import MAX_BODY, Settings
from supervisor.components import start_page
from supervisor.processes import free_port
from tests.conftest import ROOT
from tests.hostile_photographs import JPEG
from tests.unit.gateway.engine import BODY, Engine
from tests.unit.gateway.test_connection import running, wait_for

HOST = "mlbio.example"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH')}:/usr/sbin")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")]


@dataclass
class Proxied:
    """nginx, and the engine behind the gateway behind it."""

    port: int
    engine: Engine

    def ask(self, method: str, path: str, **options) -> requests.Response:
        headers = {"host": HOST} | options.pop("headers", {})
        url = f"https://127.0.0.1:{self.port}{path}"
        return requests.request(method, url, headers=headers, verify=False, timeout=60, **options)


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Proxied]:
    if NGINX is None:
        reason = "nginx is not installed (Debian's nginx-light)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    engine, port = Engine(), free_port()
    with running(engine, address_requests=2) as server:
        page_port = free_port()
        page = start_page(Settings(port=server.config.port, page_port=page_port, page_host=HOST), tmp_path)
        try:
            with nginx(tmp_path, {"443": port, "8089": server.config.port, "8501": page_port}):
                proxy = Proxied(port, engine)
                deadline = time.monotonic() + 120
                while proxy.ask("GET", "/_stcore/health").status_code != 200:
                    assert time.monotonic() < deadline and page.poll() is None
                    time.sleep(0.5)
                yield proxy
        finally:
            page.terminate()
            page.wait(30)


@contextlib.contextmanager
def nginx(folder: Path, ports: dict[str, int]) -> Iterator[None]:
    """deploy/nginx.conf, with other ports and the certificate's path replaced."""
    site = (ROOT / "deploy/nginx.conf").read_text()
    for old, new in ports.items():
        assert site.count(f" {old} ") + site.count(f":{old}") == 1
        site = site.replace(f" {old} ", f" 127.0.0.1:{new} ").replace(f":{old}", f":{new}")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    site = site.replace("/etc/ssl/certs/mlbio.example.pem", str(certificate))
    site = site.replace("/etc/ssl/private/mlbio.example.key", str(key))
    subject = ["-subj", f"/CN={HOST}", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], check=True, capture_output=True
    )
    (folder / "site.conf").write_text(site)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"daemon off; {user} pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    with (folder / "nginx.out").open("w") as output:
        command = [NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for(lambda: process.poll() is not None or listens(ports["443"]))
        assert process.poll() is None, (folder / "nginx.out").read_text()
        yield
    finally:
        process.terminate()
        process.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_the_service_and_the_page_behind_nginx(proxied: Proxied):
    # Predictions, in each form
    assert proxied.ask("POST", "/api/predict", json=BODY).json()["success"] is True
    assert proxied.ask("POST", "/api/predict", files={"image": JPEG}).json()["success"] is True

    # Uploads up to the limit; above it, the service's own refusal
    largest = b'{"image": "' + b"A" * (MAX_BODY - 13) + b'"}'
    assert proxied.ask("POST", "/api/predict", data=largest).status_code in (200, 400)
    refusal = proxied.ask("POST", "/api/predict", data=largest + b" ")
    assert refusal.status_code == 413 and refusal.json()["success"] is False

    # The documentation below the prefix
    assert proxied.ask("GET", "/api", allow_redirects=False).headers["location"].endswith("/api/")
    root = proxied.ask("GET", "/api/", allow_redirects=False)
    assert requests.compat.urljoin(f"https://{HOST}/api/", root.headers["location"]) == f"https://{HOST}/api/docs"
    for path in ("docs", "docs/assets/swagger-ui-bundle.js", "openapi.json"):
        assert proxied.ask("GET", f"/api/{path}").status_code == 200

    # Progress arrives while the explanation is computed
    proxied.engine.answers.clear()
    stream = proxied.ask(
        "POST", "/api/predict", json=BODY | {"explain": True}, headers={"accept": STREAM_TYPE}, stream=True
    )
    lines = stream.iter_lines(chunk_size=1)
    assert json.loads(next(lines)) == {"progress": 0.5}
    proxied.engine.answers.set()
    assert json.loads(next(lines))["success"] is True

    # The page's WebSocket, under the host name and not under another
    assert websocket_status(proxied.port, HOST, f"https://{HOST}") == 101
    assert websocket_status(proxied.port, HOST, "https://evil.example") == 403


def test_a_client_behind_nginx_cannot_choose_its_address(proxied: Proxied):
    """If the header were believed, the third request would exceed its address's limit; this machine has none."""
    proxied.engine.answers.clear()
    with ThreadPoolExecutor(3) as pool:
        claim = {"x-forwarded-for": "192.0.2.1"}
        asked = [pool.submit(proxied.ask, "POST", "/api/predict", json=BODY, headers=claim) for _ in range(3)]
        wait_for(lambda: len(proxied.engine.asked) == 3)
        proxied.engine.answers.set()
        assert [each.result().status_code for each in asked] == [200] * 3


def test_the_documentation_shows_the_configuration():
    assert f"```nginx\n{(ROOT / 'deploy/nginx.conf').read_text()}```" in (ROOT / "docs/operations.md").read_text()


@contextlib.contextmanager
def tls(port: int) -> Iterator[ssl.SSLSocket]:
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", port), 30) as plain, context.wrap_socket(plain) as connection:
        yield connection


def websocket_status(port: int, host: str, origin: str) -> int:
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        f"host: {host}",
        f"origin: {origin}",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "",
        "",
    ]
    with tls(port) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return int(connection.recv(100).split()[1])
