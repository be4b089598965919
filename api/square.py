"""The part of a photograph that the network sees."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Square:
    """A square in pixels of a photograph."""

    left: int
    top: int
    side: int

    @classmethod
    def of(cls, size: tuple[int, int], side: int | None = None) -> Square:
        """The square in the centre of a photograph of this width and height: the largest, unless ``side`` is given."""
        side = min(size) if side is None else side
        return cls((size[0] - side) // 2, (size[1] - side) // 2, side)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as Pillow wants them."""
        return self.left, self.top, self.left + self.side, self.top + self.side
