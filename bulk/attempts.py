"""Which photograph ends the process that reads it: it is given up in the end, so that a run can finish.

A decoder that crashes, or a picture that fills the memory, ends a worker without an exception. Ray starts another one
for the same shard, which would end in the same way, for ever.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

FAST = 2
"""Attempts at a shard in the usual way; after them each photograph is noted before it is read. A machine that was
switched off, or a run that was killed, cost attempts, too."""

GIVEN_UP = 2
"""A photograph that so many workers had in hand when they ended is not read again."""


@dataclass
class Attempts:
    """The attempts at one shard so far, in a file of its own, which a process that ends leaves behind.

    Attributes:
        path: of the file.
        started: attempts, the present one included.
        ended: for a photograph, how many attempts ended while it was in hand.
        in_hand: the photograph that is being read, by its number in the shard.
    """

    path: Path
    started: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    in_hand: int | None = None

    @classmethod
    def of(cls, output: Path, shard: int) -> Attempts:
        """Those of ``shard``, with one more that begins now."""
        made = cls(output / f".attempts-{shard:08d}.json")
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):  # the last two: half a file
            made = cls(made.path, **json.loads(made.path.read_text()))
        made.started += 1
        if made.in_hand is not None:
            made.ended[str(made.in_hand)] = made.ended.get(str(made.in_hand), 0) + 1
            made.in_hand = None
        made._write()
        return made

    @property
    def one_by_one(self) -> bool:
        """Whether each photograph has to be noted before it is read."""
        return self.started > FAST

    def take(self, number: int) -> bool:
        """Note that this photograph is being read; False if it is given up."""
        if self.ended.get(str(number), 0) >= GIVEN_UP:
            return False
        self.in_hand = number
        self._write()
        return True

    def finished(self) -> None:
        """The shard is done: forget all of it."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({k: v for k, v in asdict(self).items() if k != "path"}))
        partial.replace(self.path)
