"""The web page beside the service: started, awaited, and shown in a browser where there is one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from gateway.processes import ROOT, start
from gateway.settings import Settings
from gateway.tether import tethered

PROBE_SECONDS = 5.0


def page_url(settings: Settings) -> str:
    """Where a browser of this machine finds the page."""
    return f"http://localhost:{settings.page_port}/"


def start_page(settings: Settings, logs: Path) -> subprocess.Popen[bytes]:
    """The page, in a process group of its own, in front of the service at ``settings.url``. It ends when we do."""
    environment = os.environ | {"MLBIO_URL": settings.url}
    streamlit = ["-m", "streamlit", "run", "frontend/app.py", "--server.port", str(settings.page_port)]
    # It looks for .streamlit/ in its working folder.
    return start(tethered([sys.executable, *streamlit], signal.SIGTERM), environment, ROOT, logs / "page.out")


async def page_is_ready(settings: Settings) -> bool:
    """Whether the page answers."""
    try:
        async with httpx.AsyncClient(timeout=PROBE_SECONDS, trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{settings.page_port}/_stcore/health")).text == "ok"
    except httpx.HTTPError:
        return False


def open_browser(url: str) -> None:
    """Show ``url`` in the desktop's browser; without a desktop, do nothing rather than start one in the terminal."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    # A process of its own: some browsers keep whoever opens them waiting, and all of them talk.
    subprocess.Popen(
        [sys.executable, "-m", "webbrowser", "-t", url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
