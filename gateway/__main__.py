"""Run the gateway alone: ``python -m gateway``. TorchServe must be running already; ``make serve`` starts both."""

from __future__ import annotations

import signal

from gateway.server import make_server
from gateway.settings import Settings


def main() -> None:
    # uvicorn shuts down gracefully on these signals and then raises them again; the exit code is to be 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    make_server(Settings.from_environment()).run()


if __name__ == "__main__":
    main()
