"""The containers' health check."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from api.headers import POOL
from supervisor.processes import free_port
from tests.conftest import ROOT


def healthcheck(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "deploy/healthcheck.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_server_that_is_down_is_not_healthy():
    checked = healthcheck(f"http://127.0.0.1:{free_port()}/readyz")
    assert checked.returncode == 1 and "refused" in checked.stderr and "Traceback" not in checked.stderr


@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"success": false}'), (200, b"Healthy"), (503, b'{"success": true}')]
)
def test_an_answer_that_is_no_prediction_is_not_healthy(status, body):
    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        checked = healthcheck("--predict", f"http://127.0.0.1:{server.server_port}/predictions/{POOL}")
    assert checked.returncode == 1 and "Traceback" not in checked.stderr
