"""Which photograph ends the process that reads it: it is given up in the end, so that a run can finish.

A decoder that crashes, or a picture that fills the memory, ends a worker without an exception. Ray starts another one
for the same shard, which would end in the same way, for ever.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

FAST = 2
"""Attempts at a shard in the usual way; after them each photograph is noted before it is read. A machine that was
switched off, or a run that was killed, cost attempts, too."""

GIVEN_UP = 2
"""A photograph that so many workers had in hand when they ended is not read again."""


class Notes(msgspec.Struct):
    """What is known of the attempts at one shard.

    Attributes:
        started: attempts, the present one included.
        ended: for a photograph, by its number in the shard, how many attempts ended while it was in hand.
        in_hand: the photograph that is being read.
    """

    started: int = 0
    ended: dict[int, int] = msgspec.field(default_factory=dict)
    in_hand: int | None = None


class Attempts:
    """The attempts at one shard so far, in a file of its own, which a process that ends leaves behind."""

    def __init__(self, path: Path, notes: Notes) -> None:
        self.path, self.notes = path, notes

    @classmethod
    def of(cls, output: Path, shard: int) -> Attempts:
        """Those of ``shard``, with one more that begins now."""
        path, notes = output / f".attempts-{shard:08d}.json", Notes()
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):  # the last: half a file
            notes = msgspec.json.decode(path.read_bytes(), type=Notes)
        notes.started += 1
        if notes.in_hand is not None:
            notes.ended[notes.in_hand] = notes.ended.get(notes.in_hand, 0) + 1
            notes.in_hand = None
        made = cls(path, notes)
        made._write()
        return made

    @property
    def one_by_one(self) -> bool:
        """Whether each photograph has to be noted before it is read."""
        return self.notes.started > FAST

    def take(self, number: int) -> bool:
        """Note that this photograph is being read; False if it is given up."""
        if self.notes.ended.get(number, 0) >= GIVEN_UP:
            return False
        self.notes.in_hand = number
        self._write()
        return True

    def finished(self) -> None:
        """The shard is done: forget all of it."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(self.notes))
        partial.replace(self.path)
