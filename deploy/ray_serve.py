"""Serve the model with Ray Serve: see :mod:`cluster.main`."""

from __future__ import annotations

import sys

from cluster.main import main

if __name__ == "__main__":
    sys.exit(main())
