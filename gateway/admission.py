"""Admission: a bounded number of requests that hold a bounded number of bytes; the rest are refused at once."""

from __future__ import annotations

from types import TracebackType

from api.request import ContractError


class Room:
    """A room with so many places and so many bytes.

    Args:
        guests: what is let in, for the text of a refusal.
        places: most requests inside.
        capacity: most bytes that they hold together.
        status: of a refusal, 503 for a room that all share.
    """

    def __init__(self, guests: str, places: int, capacity: int, status: int = 503) -> None:
        self.guests = guests
        self.status = status
        self.places = places
        self.capacity = capacity
        self.taken = 0
        self.held = 0

    def enter(self, size: int = 0, beside: Room | None = None) -> Place:
        """A place for a request that holds ``size`` bytes; with ``beside``, one in that room too, left with this one.

        Raises:
            ContractError: the room or ``beside`` is full, with its status.
        """
        other = beside.enter(size) if beside is not None else None
        place = Place(self, other)
        try:
            if self.taken >= self.places:
                raise self._full()
            place.hold(size)
        except ContractError:
            if other is not None:
                other.leave()
            raise
        self.taken += 1
        return place

    def _full(self) -> ContractError:
        return ContractError(f"too many {self.guests} at once: try again in a moment", self.status)


class Place:
    """One request's place in a room, until it is left; a context manager. Leaving it twice does no harm."""

    def __init__(self, room: Room, other: Place | None = None) -> None:
        self._room = room
        self._other = other
        self._size = 0
        self._left = False

    def hold(self, size: int) -> None:
        """Hold ``size`` bytes altogether, at least what is held already.

        Raises:
            ContractError: the room would hold too many, with its status.
        """
        more = max(0, size - self._size)
        if more and self._room.held + more > self._room.capacity:
            raise self._room._full()
        self._room.held += more
        self._size += more

    def leave(self) -> None:
        """Free the place and its bytes."""
        if not self._left:
            self._left = True
            self._room.taken -= 1
            self._room.held -= self._size
            if self._other is not None:
                self._other.leave()

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
