"""Admission control: a bounded number of requests that hold a bounded number of bytes; the rest are refused at once."""

from __future__ import annotations

from types import TracebackType

from api.errors import ErrorCode
from api.request import ContractError


class Limiter:
    """A limit on the requests that are admitted, and on their bytes.

    Args:
        label: what is admitted, for the message of a refusal.
        slots: most requests at once.
        capacity: most bytes that they hold together.
        status: of a refusal, 503 for a limit that all clients share.
    """

    def __init__(self, label: str, slots: int, capacity: int, status: int = 503) -> None:
        self.label = label
        self.status = status
        self.slots = slots
        self.capacity = capacity
        self.used_slots = 0
        self.used_bytes = 0

    def acquire(self, size: int = 0, also: Limiter | None = None) -> Slot:
        """A slot for a request that holds ``size`` bytes; with ``also``, one of that limiter, too, released together.

        Raises:
            ContractError: this limiter or ``also`` is full, with its status.
        """
        other = also.acquire(size) if also is not None else None
        slot = Slot(self, other)
        try:
            if self.used_slots >= self.slots:
                raise self._full()
            slot.reserve(size)
        except ContractError:
            if other is not None:
                other.release()
            raise
        self.used_slots += 1
        return slot

    def _full(self) -> ContractError:
        code = ErrorCode.BUSY if self.status == 503 else ErrorCode.RATE_LIMITED
        return ContractError(f"too many {self.label} at once: try again in a moment", self.status, code)


class Slot:
    """One request's slot, until it is released; a context manager. Releasing it twice does no harm."""

    def __init__(self, limiter: Limiter, other: Slot | None = None) -> None:
        self._limiter = limiter
        self._other = other
        self._size = 0
        self._released = False

    def reserve(self, size: int) -> None:
        """Reserve ``size`` bytes altogether, at least what is reserved already.

        Raises:
            ContractError: the limiter's bytes do not suffice, with its status.
        """
        more = max(0, size - self._size)
        if more and self._limiter.used_bytes + more > self._limiter.capacity:
            raise self._limiter._full()
        self._limiter.used_bytes += more
        self._size += more

    def release(self) -> None:
        """Release the slot and its bytes."""
        if not self._released:
            self._released = True
            self._limiter.used_slots -= 1
            self._limiter.used_bytes -= self._size
            if self._other is not None:
                self._other.release()

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
