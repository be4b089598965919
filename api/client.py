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

import msgspec
import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from api.address import DEFAULT_URL, connection_error, foreign_answer, parse_address, retry_after, trusted_certificates
from api.answer import Prediction
from api.errors import ErrorCode, code_of
from api.headers import ERROR_HEADER, STREAM_TYPE
from api.photograph import ImageError, to_send
from api.request import DEFAULT_PRECISION
from api.service_errors import (
    AnswerInterrupted,
    RequestRefused,
    ServiceError,
    ServiceTimeout,
    ServiceUnreachable,
    UnexpectedAnswer,
    WrongAddress,
)

CONNECT_SECONDS = 5.0
CLASSIFY_SECONDS, EXPLAIN_SECONDS = 40.0, 200.0
"""Read timeouts. The service's own limits are shorter, and its error says why."""

_CHUNK_BYTES = 64 * 1024


def service_url() -> str:
    """Address of the service: the environment variable ``MLBIO_URL``, or port 8089 of this machine."""
    return (os.environ.get("MLBIO_URL") or DEFAULT_URL).rstrip("/")


def service_key() -> str:
    """The API key of the environment variable ``MLBIO_API_KEY``; empty without one."""
    return os.environ.get("MLBIO_API_KEY", "").strip()


class Client:
    """A connection to one service. Not thread-safe: use a client per thread.

    Args:
        url: address of the service; :func:`service_url` unless given.
        key: the API key, if the service needs one; :func:`service_key` unless given.

    Raises:
        WrongAddress: no service can have this address, or the file of trusted certificates does not exist.
    """

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        self.url = parse_address(url or service_url())
        self._session = requests.Session()
        self._session.trust_env = False  # patients' photographs must not go through a proxy
        self._session.verify = trusted_certificates(self.url)
        self._key = service_key() if key is None else key.strip()

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
            ServiceUnreachable: nothing answers at its address, or not the service.
        """
        try:
            answer = self._session.get(f"{self.url}/readyz", timeout=seconds, allow_redirects=False)
        except (requests.RequestException, HTTPError) as error:
            cause = connection_error(error, self.url)
            if isinstance(cause, ServiceUnreachable):
                raise cause from error
            return False
        if answer.ok and b'"status"' in answer.content:
            return True
        if b'"success"' not in answer.content:
            cause = foreign_answer(answer, self.url)
            if isinstance(cause, WrongAddress):
                raise cause
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
        response = None
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
        except (requests.RequestException, HTTPError) as error:
            raise self._failure(error, response is not None, seconds) from error

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
            raise foreign_answer(response, self.url) from None
        if not outcome.success:
            raise self._refusal(outcome, response)
        try:
            return _predictions.decode(line)
        except msgspec.DecodeError as error:
            raise UnexpectedAnswer(
                "the answer of {url} is not understood ({why}): update MLBIO", url=self.url, why=str(error)
            ) from None

    def _refusal(self, outcome: _Outcome, response: requests.Response) -> ServiceError:
        """The error of a failure. A stream's last line has the status, code and delay, as its headers came before."""
        status = outcome.status or response.status_code
        try:
            code = ErrorCode(outcome.code or response.headers.get(ERROR_HEADER, ""))
        except ValueError:  # an older service sends none, and a later one may have others
            code = code_of(status if status >= 400 else 500)
        if code is ErrorCode.NOT_FOUND:
            return WrongAddress(
                "there is a service at {url}, but not under this path: leave out what follows the port in MLBIO_URL, "
                "unless a proxy needs it",
                url=self.url,
            )
        delay = retry_after(response) if outcome.retry_after is None else outcome.retry_after
        reason = outcome.error or f"HTTP {status}, no reason given"
        return RequestRefused(reason, status, delay, code)

    def _failure(self, error: Exception, begun: bool, seconds: float) -> ServiceError:
        """Our error for one of requests', before or after the answer has ``begun``."""
        if not begun and (cause := connection_error(error, self.url)):
            return cause
        is_timeout = any(isinstance(e, requests.Timeout | ReadTimeoutError) for e in (error, *error.args))
        return self._timeout(seconds) if is_timeout else self._interrupted()

    def _timeout(self, seconds: float) -> ServiceTimeout:
        return ServiceTimeout(
            "{url} did not answer within {seconds:g} seconds: try again later", url=self.url, seconds=seconds
        )

    def _interrupted(self) -> AnswerInterrupted:
        return AnswerInterrupted("{url} broke off in the middle of its answer: try again", url=self.url)


class _Outcome(msgspec.Struct):
    success: bool
    error: str | None = None
    code: str = ""
    status: int = 0
    retry_after: float | None = None


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
