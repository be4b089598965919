"""Print how opening each file of a folder ends, and by how many MB it raises the peak memory of this process, as JSON.

python -m tests.peak_memory FOLDER
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from PIL import Image

from api.photograph import ImageError, open_photograph


def measure(data: bytes) -> tuple[str, int]:
    """Whether ``data`` is ``"read"`` or ``"refused"``, and the growth of the peak memory in MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        open_photograph(data)
        outcome = "read"
    except ImageError:
        outcome = "refused"
    return outcome, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024


if __name__ == "__main__":
    Image.preinit()
    print(json.dumps([measure(path.read_bytes()) for path in Path(sys.argv[1]).iterdir()]))
