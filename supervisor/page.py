"""The web page's process, and the browser that shows it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from gateway.settings import Settings
from supervisor.processes import ROOT, start
from supervisor.tether import tethered

PROBE_SECONDS = 5.0


def page_url(settings: Settings) -> str:
    """The page's address for a browser on this machine."""
    return f"http://localhost:{settings.page_port}/"


def start_page(settings: Settings, logs: Path) -> subprocess.Popen[bytes]:
    """Start the page for the service at ``settings.url``, in its own process group. It ends with this process."""
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
    """Show ``url`` in the desktop's browser; without a desktop, do nothing rather than start a text browser."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    # In its own process: some browsers block, and all of them print.
    subprocess.Popen(
        [sys.executable, "-m", "webbrowser", "-t", url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
