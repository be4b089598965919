"""Python client of ``POST /predict``.

from api.client import Client

with Client() as client:
    answer = client.predict("photo.jpg", explain=True, on_progress=print)
    print(answer.prediction, answer.probability)
"""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import requests
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from api.answer import Prediction
from api.errors import ErrorCode, code_of
from api.headers import ERROR_HEADER, STREAM_TYPE
from api.photograph import ImageError, to_send
from api.request import DEFAULT_PRECISION

DEFAULT_URL = "http://127.0.0.1:8089"

CONNECT_SECONDS = 5.0
CLASSIFY_SECONDS, EXPLAIN_SECONDS = 40.0, 200.0
"""Read timeouts. The service's own limits are shorter, and its error says why."""

_CHUNK_BYTES = 64 * 1024


class ServiceError(Exception):
    """There is no answer. The message is for the user."""


class ServiceUnreachable(ServiceError):
    """Nothing answers at the service's address, so other requests would fail as well."""


class ServiceTimeout(ServiceError):
    """The service did not answer in time."""


class AnswerInterrupted(ServiceError):
    """The connection was lost in the middle of the answer."""


class UnexpectedAnswer(ServiceError):
    """The answer is not as documented: it comes from another program or version."""


class RequestRefused(ServiceError):
    """The service refused the request; the message is its own.

    Attributes:
        status: the HTTP status.
        retry_after: seconds after which the service asks to be tried again; None if it does not say.
        code: what went wrong, for programs.
    """

    def __init__(
        self, message: str, status: int, retry_after: float | None = None, code: ErrorCode | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.code = code or code_of(status)

    @property
    def is_busy(self) -> bool:
        """Whether the service is overloaded or restarting, so that the same request may succeed soon."""
        return self.code in (ErrorCode.BUSY, ErrorCode.RATE_LIMITED, ErrorCode.UNAVAILABLE)


def service_url() -> str:
    """Address of the service: the environment variable ``MLBIO_URL``, or port 8089 of this machine."""
    return (os.environ.get("MLBIO_URL") or DEFAULT_URL).rstrip("/")


def check_url(url: str) -> None:
    """Check the service's address before anything is sent.

    Raises:
        ServiceUnreachable: no ``http://`` or ``https://``, no host, or no such port.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number, or over 65,535
        good = False
    if not good or re.search(r"\s", url):
        raise ServiceUnreachable(f"'{url}' is not the address of a service: use one such as {DEFAULT_URL}")


class Client:
    """A connection to one service. Not thread-safe: use a client per thread.

    Args:
        url: address of the service; :func:`service_url` unless given.
        key: the API key, if the service needs one; the environment variable ``MLBIO_API_KEY`` unless given.
    """

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        self.url = (url or service_url()).rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # patients' photographs must not go through a proxy
        self._key = (os.environ.get("MLBIO_API_KEY", "") if key is None else key).strip()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def is_ready(self, seconds: float = CONNECT_SECONDS) -> bool:
        """Whether the service can predict, by its ``GET /readyz``; False if it does not answer in time.

        Raises:
            ServiceUnreachable: nothing answers at its address.
        """
        try:
            return self._session.get(f"{self.url}/readyz", timeout=seconds, allow_redirects=False).ok
        except requests.RequestException as error:
            translated = self._translate(error, seconds)
            if isinstance(translated, ServiceUnreachable):
                raise translated from error
            return False

    def predict(
        self,
        image: bytes | str | os.PathLike[str],
        *,
        explain: bool = False,
        precision: str = DEFAULT_PRECISION,
        details: bool = True,
        on_progress: Callable[[float], None] | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """Classify a photograph and, on request, explain the diagnosis.

        One that is too large to send is made smaller (:func:`api.photograph.to_send`).

        Args:
            image: the path of an image file, or its bytes.
            explain: also compute the explanation, ``answer.explain``.
            precision: of the explanation, one of :data:`api.request.PRECISIONS`.
            details: also ask for all probabilities, warnings and figures, ``answer.details``.
            on_progress: called with the finished share of the explanation, 0 to 1, while it is computed.
            timeout: seconds that the whole answer may take. Without it, only the read timeout applies.

        Raises:
            OSError: the file cannot be read.
            ServiceError: there is no answer; its subclasses say why.
        """
        content = image if isinstance(image, bytes) else Path(image).read_bytes()
        try:
            content = to_send(content)
        except ImageError as error:
            raise RequestRefused(str(error), 400, code=error.code) from None
        body = {
            "image": base64.b64encode(content).decode(),
            "explain": explain,
            "precision": precision,
            "details": details,
        }
        seconds = timeout or (EXPLAIN_SECONDS if explain else CLASSIFY_SECONDS)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            with self._session.post(
                f"{self.url}/predict",
                data=msgspec.json.encode(body),
                headers={"content-type": "application/json", "accept": STREAM_TYPE} | self._authorization(),
                timeout=(min(CONNECT_SECONDS, seconds), seconds),
                allow_redirects=False,
                stream=True,
            ) as response:
                return self._read(response, on_progress, deadline)
        except TimeoutError:
            raise self._timeout(seconds) from None
        except requests.RequestException as error:
            raise self._translate(error, seconds) from error

    def _authorization(self) -> dict[str, str]:
        if not self._key:
            return {}
        if not re.fullmatch("[!-~]+", self._key):
            raise ServiceError("the API key has characters that a key cannot have: see MLBIO_API_KEY")
        return {"authorization": f"Bearer {self._key}"}

    def _read(
        self, response: requests.Response, on_progress: Callable[[float], None] | None, deadline: float | None
    ) -> Prediction:
        """The answer on the last line, after lines of progress, which must end before ``deadline``."""
        line, in_progress = b"", False
        try:
            for line in response.iter_lines(chunk_size=_CHUNK_BYTES):
                progress = _decode_progress(line)
                if progress is not None:
                    in_progress = True
                    if deadline is not None and time.monotonic() > deadline:
                        raise TimeoutError
                    if on_progress is not None:
                        on_progress(progress)
            outcome = _outcomes.decode(line)
        except msgspec.DecodeError:
            if in_progress:  # so it is the service that answers
                raise self._interrupted() from None
            raise UnexpectedAnswer(
                f"what answers at {self.url} is not an MLBIO service (HTTP {response.status_code}): check MLBIO_URL"
            ) from None
        if not outcome.success:
            reason = outcome.error or f"HTTP {response.status_code}, no reason given"
            raise RequestRefused(reason, response.status_code, _retry_after(response), _error_code(outcome, response))
        try:
            return _predictions.decode(line)
        except msgspec.DecodeError as error:
            raise UnexpectedAnswer(f"the answer of {self.url} is not understood ({error}): update MLBIO") from None

    def _translate(self, error: requests.RequestException, seconds: float) -> ServiceError:
        """Our error for one of requests'."""
        cause = error.args[0] if error.args else None
        if isinstance(error, ValueError) and not isinstance(error, requests.ConnectionError):
            return ServiceUnreachable(f"{self.url} is not the address of a service: use one such as {DEFAULT_URL}")
        if isinstance(error, requests.ConnectTimeout) or isinstance(getattr(cause, "reason", None), NewConnectionError):
            return ServiceUnreachable(f"no service at {self.url}: start it with `make serve`, or set MLBIO_URL")
        if isinstance(error, requests.Timeout) or isinstance(cause, ReadTimeoutError):
            return self._timeout(seconds)
        return self._interrupted()

    def _timeout(self, seconds: float) -> ServiceTimeout:
        return ServiceTimeout(f"{self.url} did not answer within {seconds:g} seconds: try again later")

    def _interrupted(self) -> AnswerInterrupted:
        return AnswerInterrupted(f"{self.url} broke off in the middle of its answer: try again")


def _retry_after(response: requests.Response) -> float | None:
    """The seconds of ``Retry-After``; our service never sends a date."""
    text = response.headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"\d{1,5}", text) else None


class _Outcome(msgspec.Struct):
    success: bool
    error: str | None = None
    code: str = ""


def _error_code(outcome: _Outcome, response: requests.Response) -> ErrorCode:
    """The code in a stream's last line, or else in the header."""
    try:
        return ErrorCode(outcome.code or response.headers.get(ERROR_HEADER, ""))
    except ValueError:  # an older service sends none, and a later one may have others
        return code_of(500 if response.ok else response.status_code)


class _Progress(msgspec.Struct, forbid_unknown_fields=True):
    progress: float


# Built at import: msgspec 0.22 crashes if two threads build the first decoder of a class at the same time.
_outcomes = msgspec.json.Decoder(_Outcome)
_predictions = msgspec.json.Decoder(Prediction)
_progress = msgspec.json.Decoder(_Progress)


def _decode_progress(line: bytes) -> float | None:
    try:
        return _progress.decode(line).progress
    except msgspec.ValidationError:
        return None  # another object: the answer
