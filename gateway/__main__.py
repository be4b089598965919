"""Run the gateway alone: ``python -m gateway``. TorchServe must be running; ``make serve`` starts both."""

from __future__ import annotations

import signal

from gateway.server import make_server
from gateway.settings import Settings


def main() -> None:
    # uvicorn stops for these signals and then raises them again: stopping as asked is exit code 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    make_server(Settings.from_environment()).run()


if __name__ == "__main__":
    main()
