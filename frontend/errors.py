"""Errors in words for the user of the page: those of the service are for programmers."""

from __future__ import annotations

import re

from api.client import AnswerInterrupted, RequestRefused, ServiceError, ServiceTimeout
from frontend.i18n import _, decimal_sign, pgettext


def describe(error: Exception) -> str:
    """The text for an error. An unknown one of the service is shown as it came."""
    if isinstance(error, ServiceTimeout):
        return _("The service took too long. Try again in a moment.")
    if isinstance(error, AnswerInterrupted):
        return _("The connection to the service was lost. Try again.")
    if isinstance(error, RequestRefused):
        return _describe_refusal(error.status, str(error))
    if isinstance(error, ServiceError):
        return str(error)
    return _("The page failed to process this photograph. See the log of `streamlit run` for details.")


def is_retryable(error: Exception) -> bool:
    """Whether the same photograph may succeed later."""
    return not isinstance(error, RequestRefused) or error.status >= 500 or error.status in (401, 403, 408, 429)


def _describe_refusal(status: int, text: str) -> str:
    if "is empty" in text:
        return _("This file is empty. Choose another one.")
    if "not an image" in text:
        return _(
            "This file is not a photograph that can be read. Choose a JPEG, PNG, WebP, BMP, TIFF, GIF or HEIC file."
        )
    if "damaged" in text:
        return _("This photograph is damaged or incomplete. Copy it again, or save it as JPEG or PNG.")
    if size := re.search(r"has (\d+) x (\d+) pixels; at most (\S+)", text):
        width, height, limit = size.groups()
        limit = limit.replace(",", pgettext("thousands separator", ",")).replace(".", decimal_sign())
        if "width or in height" in text:
            return _(
                "This photograph has {width} × {height} pixels; neither side may exceed {limit}. Make it smaller."
            ).format(width=width, height=height, limit=limit)
        return _(
            "This photograph has {width} × {height} pixels; the limit is {limit} million. "
            "Make it smaller, or save it as JPEG."
        ).format(width=width, height=height, limit=limit)
    if status == 413:
        return _("This file is too large. Make the photograph smaller.")
    if status == 401:
        return _("The service requires an API key. Set MLBIO_API_KEY where you start the page.")
    if status in (429, 503):
        return _("The service is busy. Try again in a moment.")
    if status in (408, 504):
        return _("The service took too long. Try again in a moment.")
    return text
