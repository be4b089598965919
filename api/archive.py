"""The archive that is served, and its checksum: an archive is code, so one that was changed is not run.

``make archive`` writes the checksum next to the archive, in the format of ``sha256sum``.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

ARCHIVE = "mlbio.mar"

SUFFIX = ".sha256"
"""Of the file next to an archive that holds its checksum."""

PROMOTED = "promoted"
"""File next to an archive that ``make promote`` has put there, so that ``make`` does not rebuild it."""


class ArchiveError(OSError):
    """The archive must not be served. The message says what to do."""


def checksum_file(archive: Path) -> Path:
    """Where the checksum of ``archive`` is, if it has one."""
    return archive.with_name(archive.name + SUFFIX)


def verify(archive: Path) -> bool:
    """Whether ``archive`` has a checksum, which then matches.

    Raises:
        ArchiveError: it does not match.
        OSError: one of the files cannot be read.
    """
    file = checksum_file(archive)
    try:
        text = file.read_text(errors="replace")
    except FileNotFoundError:
        return False
    match = re.fullmatch(r"([0-9a-f]{64}) [ *](\S+)\s*", text)
    if match is None or match[2] != archive.name:
        raise ArchiveError(f"{file} is not a checksum of {archive.name}: make both again with `make archive`")
    with archive.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != match[1]:
        raise ArchiveError(
            f"{archive} is not the archive that {file.name} was written for: it was damaged or replaced. Make both "
            "again with `make archive`"
        )
    return True
