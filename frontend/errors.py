"""What went wrong, in a person's words. The service's words are for programmers."""

from __future__ import annotations

import re

from api.client import AnswerInterrupted, RequestRefused, ServiceError, ServiceTimeout
from frontend.language import Say


def in_words(error: ServiceError, say: Say) -> str:
    """The text for an error. One that is not known is shown as it came."""
    text = str(error)
    if isinstance(error, ServiceTimeout):
        return say("The service took too long. Try again in a moment.")
    if isinstance(error, AnswerInterrupted):
        return say("The connection to the service broke. Try again.")
    if isinstance(error, RequestRefused):
        return _refusal(error.status, text, say)
    return text


def may_pass(error: ServiceError) -> bool:
    """Whether the same photograph may succeed later, so that to try again makes sense."""
    return not isinstance(error, RequestRefused) or error.status >= 500 or error.status in (401, 403, 408, 429)


def _refusal(status: int, text: str, say: Say) -> str:
    if "is empty" in text:
        return say("This file is empty. Choose another one.")
    if "not an image" in text:
        return say(
            "This file is not a photograph that can be read. Choose a JPEG, PNG, WebP, BMP, TIFF, GIF or HEIC file."
        )
    if "damaged" in text:
        return say("This photograph is damaged or incomplete. Copy it again, or save it as JPEG or PNG.")
    if size := re.search(r"has (\d+) x (\d+) pixels; at most (\S+)", text):
        width, height, most = size.groups()
        most = most.replace(",", say(",")).replace(".", say("."))  # as the service writes it, in the person's language
        if "width or in height" in text:
            return say(
                "This photograph has {width} × {height} pixels; neither side may exceed {most}. Make it smaller."
            ).format(width=width, height=height, most=most)
        return say(
            "This photograph has {width} × {height} pixels; the limit is {most} million. "
            "Make it smaller, or save it as JPEG."
        ).format(width=width, height=height, most=most)
    if status == 413:
        return say("This file is too large. Make the photograph smaller.")
    if status == 401:
        return say("The service wants an API key. Set MLBIO_API_KEY where the page is started.")
    if status in (429, 503):
        return say("The service is busy. Try again in a moment.")
    if status in (408, 504):
        return say("The service took too long. Try again in a moment.")
    return text
