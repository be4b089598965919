"""Load tests of an HTTP server with wrk."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = os.getenv("CONTENT_TYPE")
local file = io.open(os.getenv("BODY"), "rb"); wrk.body = file:read("*a"); file:close()
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests": %d, "microseconds": %d, "p50": %f, "p95": %f, "p99": %f, "failed": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(95), latency:percentile(99),
    e.status + e.timeout + e.connect + e.read + e.write))
end
"""


@dataclass(frozen=True)
class Load:
    """Results of one run of wrk: requests per second, latencies in milliseconds, and failed requests."""

    rate: float
    p50: float
    p95: float
    p99: float
    failed: int


@dataclass(frozen=True)
class Target:
    """A URL and what to post to it."""

    url: str
    body: bytes
    content_type: str = "application/json"


def wrk(target: Target, clients: int, seconds: int) -> Load:
    """Run wrk with ``clients`` connections, each of which sends its next request after the answer."""
    with tempfile.TemporaryDirectory() as folder:
        script, body = Path(folder, "post.lua"), Path(folder, "body")
        script.write_text(WRK_SCRIPT)
        body.write_bytes(target.body)
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "-s", str(script), target.url]
        environment = os.environ | {"BODY": str(body), "CONTENT_TYPE": target.content_type}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    figures = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    rate = figures["requests"] / (figures["microseconds"] / 1e6)
    return Load(rate, figures["p50"] / 1000, figures["p95"] / 1000, figures["p99"] / 1000, figures["failed"])


def as_json(photo: bytes) -> bytes:
    """The JSON body of a request for ``photo``."""
    return json.dumps({"image": base64.b64encode(photo).decode()}).encode()
