"""Startup: what is refused before anything is started, and why a service is not ready."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from api.archive import ARCHIVE
from gateway.settings import Settings
from supervisor.processes import free_port, free_ports_in_a_row
from supervisor.startup import (
    ServeError,
    check_configuration,
    is_ready,
    raise_if_ended,
    raise_if_workers_die,
    require_free_port,
    require_loopback,
)


def test_a_taken_port_is_named_with_the_variable_that_changes_it():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(ServeError, match="in use.*another with MLBIO_PORT"):
            require_free_port(f"http://127.0.0.1:{holder.getsockname()[1]}", "MLBIO_PORT")
    with pytest.raises(ServeError, match="no such port"):
        require_free_port("http://127.0.0.1:99999", "MLBIO_PORT")
    for host in ("203.0.113.7", "nowhere.invalid"):
        with pytest.raises(ServeError, match=f"{host} is not an address of this machine: change MLBIO_HOST"):
            require_free_port(f"http://{host}:8089", "MLBIO_PORT")


def test_a_port_of_an_ipv6_address_is_checked():
    try:
        holder = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("needs IPv6 on the loopback")
    with holder:
        url = f"http://[::1]:{holder.getsockname()[1]}"
        with pytest.raises(ServeError, match="in use"):
            require_free_port(url, "MLBIO_PORT")
    require_free_port(url, "MLBIO_PORT")


@pytest.mark.parametrize("host", ["0.0.0.0", "203.0.113.7", "[::]", "nowhere.invalid"])
def test_torchserve_listens_on_loopback_alone(host: str):
    with pytest.raises(ServeError, match="MLBIO_TORCHSERVE_URL"):
        require_loopback(Settings(torchserve_url=f"http://{host}:8080"))
    require_loopback(Settings(torchserve_url="http://localhost:8080"))


def test_unreadable_keys_are_refused_and_rarely_intended_settings_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    def check(**settings: str) -> str:
        torchserve_url = f"http://127.0.0.1:{free_ports_in_a_row(3)}"
        check_configuration(Settings(port=free_port(), torchserve_url=torchserve_url, **settings), tmp_path)
        return capsys.readouterr().out

    (tmp_path / ARCHIVE).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ServeError, match="damaged, or no model archive"):
        check()
    zipfile.ZipFile(tmp_path / ARCHIVE, "w").close()
    with pytest.raises(ServeError, match="MLBIO_API_KEYS_FILE"):
        check(api_keys_file=str(tmp_path / "none"))
    assert "no checksum" in check()
    (tmp_path / f"{ARCHIVE}.sha256").touch()
    assert "set MLBIO_API_KEYS_FILE" in check(host="0.0.0.0")
    keys = tmp_path / "keys"
    keys.write_text("alice:0123456789abcdef0123456789abcdef\n")
    keys.chmod(0o600)
    assert check() == check(host="0.0.0.0", api_keys_file=str(keys)) == ""


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"status":"ready"}', True),
        (200, b"<html>another program</html>", False),
        (503, b'{"success":false,"error":"no"}', False),
    ],
)
def test_only_our_own_readiness_counts(status: int, body: bytes, expected: bool):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert asyncio.run(is_ready(Settings(port=server.server_port))) is expected
    assert asyncio.run(is_ready(Settings(port=free_port()))) is False


def test_a_model_that_cannot_be_loaded_is_reported_with_the_reason(tmp_path: Path):
    died = "Backend worker process died.\n"
    log = tmp_path / "torchserve.log"
    log.write_text(died)
    raise_if_workers_die(tmp_path)
    trace = "Traceback:\n  File …\nhandler.model.checkpoint.CheckpointError: it is damaged"
    plain, as_json = trace.rpartition("\n")[2], json.dumps({"message": "died", "trace": trace})
    for line in (plain, as_json):
        log.write_text(f"{died}W-9000 MODEL_LOG - {line}\n{died}")
        with pytest.raises(ServeError, match=r"loaded: handler\.model\.checkpoint\.CheckpointError: it is damaged\n"):
            raise_if_workers_die(tmp_path)


def test_a_java_home_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", "/opt/jdk8")
    (tmp_path / "torchserve.out").write_text("java.lang.UnsupportedClassVersionError: class file version 61.0\n")
    ended = SimpleNamespace(name="torchserve", process=SimpleNamespace(poll=lambda: 1))
    with pytest.raises(ServeError, match=r"unset the environment variable JAVA_HOME \(/opt/jdk8\)"):
        raise_if_ended(ended, tmp_path)
