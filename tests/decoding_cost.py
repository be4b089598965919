"""Print what opening each file of a folder costs, as JSON: ``[outcome, CPU seconds, MB]`` by name.

python -m tests.decoding_cost FOLDER
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path

from PIL import Image, ImageCms
from pillow_heif import register_heif_opener

from api.photograph import ImageError, open_photograph

SLOW = 0.8
"""CPU seconds."""


def measure(path: Path, attempts: int = 3) -> tuple[str, float, int]:
    """Whether a file is ``"read"``, or the error; CPU seconds; and growth of the peak memory in MB.

    If it is slow it is tried again, and the fastest counts. Each attempt has a process of its own, so that memory
    which an earlier one returned is counted again.
    """
    data = path.read_bytes()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        before, started = peak(), time.process_time()
        try:
            open_photograph(data)
            outcome = "read"
        except ImageError as error:
            outcome = str(error)
        seconds = time.process_time() - started
        os.write(writer, json.dumps([outcome, round(seconds, 3), (peak() - before) // 1024]).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    outcome, seconds, megabytes = json.loads(result or b'["died", 0, 0]')
    if seconds > SLOW and attempts > 1:  # a busy machine takes longer
        again = measure(path, attempts - 1)
        seconds, megabytes = min(seconds, again[1]), max(megabytes, again[2])
    return outcome, seconds, megabytes


def peak(process: int | str = "self") -> int:
    """Peak resident memory of a process in kB. ``ru_maxrss`` would be that of the process that started it."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    register_heif_opener()
    # All of Pillow is loaded first, as in a server.
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "HEIF"):
        file = io.BytesIO()
        Image.new("RGB", (64, 64)).save(file, kind)
        open_photograph(file.getvalue())
    ImageCms.createProfile("sRGB")
    print(json.dumps([measure(path) for path in sorted(Path(sys.argv[1]).iterdir())]))
