"""Error codes: what went wrong, for programs; the English message is for people."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Of a failure, in the header :data:`api.headers.ERROR_HEADER` and in the last line of a stream."""

    INVALID_REQUEST = "invalid_request"
    EMPTY_IMAGE = "empty_image"
    NOT_AN_IMAGE = "not_an_image"
    DAMAGED_IMAGE = "damaged_image"
    UNSUPPORTED_IMAGE = "unsupported_image"
    IMAGE_TOO_LARGE = "image_too_large"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"


_BY_STATUS = {
    401: ErrorCode.UNAUTHORIZED,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    408: ErrorCode.TOO_SLOW,
    413: ErrorCode.TOO_LARGE,
    429: ErrorCode.RATE_LIMITED,
    503: ErrorCode.BUSY,
    504: ErrorCode.TIMEOUT,
}


def code_of(status: int) -> ErrorCode:
    """The code of a failure about which only the HTTP status is known."""
    return _BY_STATUS.get(status, ErrorCode.INVALID_REQUEST if status < 500 else ErrorCode.INTERNAL)
