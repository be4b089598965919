"""Why the service's client has no answer: exceptions whose messages can be translated."""

from __future__ import annotations

from collections.abc import Callable

from api.errors import ErrorCode, code_of


class ServiceError(Exception):
    """There is no answer. The message is for the user: ``template`` with ``fields`` filled in."""

    def __init__(self, template: str, **fields: object) -> None:
        self.template, self.fields = template, fields
        super().__init__(self.message())

    def message(self, translate: Callable[[str], str] = str) -> str:
        """The message, with its template translated. The service's own words have no fields, and stay as they are."""
        return translate(self.template).format(**self.fields) if self.fields else self.template


class ServiceUnreachable(ServiceError):
    """Nothing answers at the service's address, so other requests would fail as well."""


class WrongAddress(ServiceUnreachable):
    """There is no service at this address, now or later: the user has to change something."""


class ServiceTimeout(ServiceError):
    """The service did not answer in time."""


class AnswerInterrupted(ServiceError):
    """The connection was lost before the answer was complete."""


class UnexpectedAnswer(ServiceError):
    """The answer is not as documented: it comes from another version."""


class RequestRefused(ServiceError):
    """The service, or a proxy in front of it, refused the request.

    Attributes:
        status: the HTTP status.
        retry_after: seconds after which the service asks to be tried again; None if it does not say.
        code: what went wrong, for programs.
    """

    def __init__(
        self,
        template: str,
        status: int,
        retry_after: float | None = None,
        code: ErrorCode | None = None,
        **fields: object,
    ) -> None:
        super().__init__(template, **fields)
        self.status = status
        self.retry_after = retry_after
        self.code = code or code_of(status)

    @property
    def is_busy(self) -> bool:
        """Whether the service is overloaded or restarting, so that the same request may succeed soon."""
        return self.code in (ErrorCode.BUSY, ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE)
