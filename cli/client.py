"""Classify photographs with a running MLBIO service, a line per photograph.

    python cli/client.py photo.jpg
    python cli/client.py --explain --precision Importante *.jpg
    python cli/client.py --csv --jobs 8 --output results --resume folder/ > table.csv

For each photograph, :mod:`cli.photographs` finds it, :mod:`cli.run` sends it, :mod:`cli.pictures` saves its
explanation, :mod:`cli.journal` records it, and :mod:`cli.output` writes its row. Only a few are in memory at a time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

INTERRUPTED, READER_GONE = 130, 141
"""The exit codes that shells use for SIGINT and SIGPIPE."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code, which ``--help`` documents."""
    name = Path(sys.argv[0]).name
    try:
        # Imported here so that Ctrl-C during the imports is handled too.
        from cli.arguments import parse

        options = parse(argv)
        from cli.run import run

        code = run(options, name)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:
        code = READER_GONE
    except OSError as error:  # of stdout: those of photographs and pictures are caught where they happen
        print(f"{name}: the output cannot be written ({error.strerror or error})", file=sys.stderr)
        code = 1
    else:
        return code
    # The interpreter would try to write what is still buffered.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


if __name__ == "__main__":
    sys.exit(main())
