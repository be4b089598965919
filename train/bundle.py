"""Pack the training images, small, with the code that trains on them into one file for a machine with a GPU.

    python train/bundle.py ../shared/ham10000 --init ../shared/weights/resnet34_imagenet_init.safetensors
    # there:  tar xf mlbio-bundle.tar && cd mlbio-bundle && pip install -r requirements.txt && sh run.sh 30

The squares have 256 pixels, the size that training keeps in memory, as JPEG of quality 75. The bundle holds no test
image. ``run.sh MINUTES`` runs ``train/main_stages.py``.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from api.photograph import ImageError
from evaluate.arguments import UsageError, ensure_writable
from evaluate.dataset import FOLDERS, METADATA, DataError, Example, find_examples
from handler.images import read_square
from train.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
TOP = "mlbio-bundle"
PACKAGES = ("api", "handler", "evaluate", "train")
QUALITY = 75
INIT = "init.safetensors"

RUN = """#!/bin/sh
# sh run.sh MINUTES: the whole recipe within that time; given again, it goes on with the stage that was cut off.
set -e
cd "$(dirname "$0")"
minutes="${1:?sh run.sh MINUTES [options of main_stages.py]}"
shift
init=
[ -f init.safetensors ] && init="--init init.safetensors"
exec python -m train.main_stages data $init --minutes "$minutes" --output results "$@"
"""

# What main_stages.py imports, not pinned: the machine's own torch knows its GPU.
REQUIREMENTS = (
    "torch\ntorchvision\nopenvino\nnumpy\nscipy\nscikit-learn\npillow\nmsgspec\nmatplotlib\ntqdm\nsafetensors\n"
)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        ensure_writable(arguments.output, "--output")
        if arguments.init and not arguments.init.is_file():
            raise UsageError(f"--init {arguments.init} does not exist")
        examples = find_examples(arguments.root, "train")
        write(examples, arguments.root / METADATA, arguments.init, arguments.output)
    except (DataError, UsageError, OSError) as error:
        print(f"bundle.py: error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.output} ({len(examples)} images, {arguments.output.stat().st_size / 2**20:.1f} MiB)")
    return 0


def parser() -> argparse.ArgumentParser:
    """The documented options."""
    p = argparse.ArgumentParser(description="Pack training images and code into one file for a machine with a GPU.")
    p.add_argument("root", type=Path, help=f"folder with {METADATA} and {FOLDERS['train']}/")
    p.add_argument("--init", type=Path, metavar="FILE", help="starting weights (.safetensors) to pack as well")
    p.add_argument(
        "--output",
        type=Path,
        metavar="TAR",
        default=ROOT / f"build/{TOP}.tar",
        help=f"file to write (default: build/{TOP}.tar)",
    )
    return p


def write(examples: list[Example], metadata: Path, init: Path | None, output: Path) -> None:
    """Write the bundle, the same bytes for the same inputs, all or nothing.

    Raises:
        DataError: an image cannot be read.
    """
    partial = output.with_name(output.name + ".partial")
    with tarfile.open(partial, "w") as tar:
        _add(tar, f"data/{METADATA}", metadata.read_bytes())
        for name, content in small_images(examples):
            _add(tar, f"data/{FOLDERS['train']}/{name}.jpg", content)
        for package in PACKAGES:
            for path in sorted((ROOT / package).glob("*.py")):
                _add(tar, f"{package}/{path.name}", path.read_bytes())
        if init:
            _add(tar, INIT, init.read_bytes())
        _add(tar, "requirements.txt", REQUIREMENTS.encode())
        _add(tar, "run.sh", RUN.encode())
    partial.replace(output)


def small_images(examples: list[Example]) -> Iterator[tuple[str, bytes]]:
    """Name and JPEG file of each image's centre square.

    Raises:
        DataError: an image cannot be read.
    """
    side = Recipe().stored_size

    def small(example: Example) -> tuple[str, bytes]:
        try:
            square = read_square(example.path.read_bytes(), side)
        except (ImageError, OSError) as error:
            raise DataError(f"{example.path}: {error}") from None
        buffer = io.BytesIO()
        Image.fromarray(square).save(buffer, "JPEG", quality=QUALITY)
        return example.path.stem, buffer.getvalue()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(small, examples)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(f"{TOP}/{name}")  # its time and owner are fixed
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    sys.exit(main())
