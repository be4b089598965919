"""Health of a container, from inside it; exit code 0 or 1.

    python deploy/healthcheck.py URL              GET answers 200
    python deploy/healthcheck.py --predict URL    a photograph sent to URL gets a prediction

TorchServe's /ping reports "healthy" for minutes while its workers die, so a prediction is requested instead.
"""

from __future__ import annotations

import json
import struct
import sys
import urllib.error
import urllib.request
import zlib

SECONDS = 20
"""Below the time limit in docker-compose.yml, so that the reason is printed."""


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    predict = "--predict" in arguments
    urls = [a for a in arguments if a != "--predict"]
    if len(urls) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        check(urls[0], photograph() if predict else None)
    except urllib.error.HTTPError as error:
        print(f"{urls[0]}: {error}: {error.read(500)!r}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:  # URLError is an OSError
        print(f"{urls[0]}: {error}", file=sys.stderr)
        return 1
    return 0


def check(url: str, photo: bytes | None = None) -> None:
    """Send one request.

    Raises:
        OSError: no answer, or a status other than 200.
        ValueError: an answer that is no prediction.
    """
    request = urllib.request.Request(url, data=photo, headers={"Content-Type": "image/png"} if photo else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot reach this container
    with opener.open(request, timeout=SECONDS) as response:
        content = response.read()
    if photo is not None:
        answer = json.loads(content)
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise ValueError(f"no prediction: {content[:200]!r}")


def photograph() -> bytes:
    """A skin-coloured square as PNG, encoded here because this script uses only the standard library."""
    side = 32

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + bytes((224, 180, 160)) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * side)) + chunk(b"IEND", b"")
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
