"""Options shared by commands of ``evaluate`` and ``train``."""

from __future__ import annotations

import argparse
from pathlib import Path

from api.arguments import not_negative, positive

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "model_store/score_card"


def add_model_option(parser: argparse.ArgumentParser, description: str) -> None:
    """``--modelname``: a checkpoint."""
    parser.add_argument("--modelname", type=Path, default=ROOT / "model_store/model_mlbio.pth", help=description)


def add_bootstrap_options(parser: argparse.ArgumentParser) -> None:
    """``--resamples`` and ``--seed`` of the intervals."""
    parser.add_argument("--resamples", type=positive, default=1000, help="of the bootstrap (default: 1000)")
    parser.add_argument("--seed", type=not_negative, default=0, help="of the bootstrap (default: 0)")


def add_also_option(parser: argparse.ArgumentParser) -> None:
    """``--also``: folders of photographs from other sources."""
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="FOLDER",
        help="folder of photographs from other sources, with a metadata.csv; may be repeated",
    )
