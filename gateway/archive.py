"""The archive's checksum: TorchServe runs the code that an archive holds, so another archive than ours is not served.

``make archive`` writes it beside the archive, in the form of ``sha256sum``.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

SUFFIX = ".sha256"


class ArchiveError(OSError):
    """The archive must not be served. The message says what to do."""


def verify(archive: Path) -> bool:
    """Whether there is a checksum beside ``archive``, which then agrees with it.

    Raises:
        ArchiveError: it does not agree.
        OSError: one of the files cannot be read.
    """
    beside = archive.with_name(archive.name + SUFFIX)
    try:
        text = beside.read_text(errors="replace")
    except FileNotFoundError:
        return False
    match = re.fullmatch(r"([0-9a-f]{64}) [ *](\S+)\s*", text)
    if match is None or match[2] != archive.name:
        raise ArchiveError(f"{beside} is not a checksum of {archive.name}: make both again with `make archive`")
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != match[1]:
        raise ArchiveError(
            f"{archive} is not the archive that {beside.name} was written for: it was damaged or exchanged. Make both "
            "again with `make archive`"
        )
    return True
