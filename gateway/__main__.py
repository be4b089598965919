"""Run the gateway alone: ``python -m gateway``. TorchServe must be running; ``make serve`` starts both."""

from __future__ import annotations

import uvicorn

from gateway.app import create_app
from gateway.protocol import Protocol
from gateway.settings import Settings


def main() -> None:
    settings = Settings.from_environment()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
