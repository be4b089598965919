"""Load an unpacked archive and classify a picture, as a worker of TorchServe would; exit code 0 if that works.

    PYTHONPATH=FOLDER python deploy/try_archive.py FOLDER

``deploy/promote.py`` runs it in a separate process before it interrupts the service.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from healthcheck import photograph  # type: ignore[import-not-found]  # next to this script
from service import SkinLesionHandler  # type: ignore[import-not-found]  # the archive's
from ts.context import Context, RequestProcessor

from api.headers import POOL

NICENESS = 10
"""Lower priority than the running service."""


def main(folder: Path) -> int:
    """The command line; returns the exit code."""
    os.nice(NICENESS)
    manifest = json.loads((folder / "MAR-INF/MANIFEST.json").read_text())
    context = Context(POOL, str(folder), manifest, 1, 0 if torch.cuda.is_available() else None, "")
    context.request_processor = [RequestProcessor({})]
    handler = SkinLesionHandler()
    handler.initialize(context)
    (answer,) = handler.handle([{"body": photograph()}], context)
    if not json.loads(answer)["success"]:
        print(answer.decode(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
