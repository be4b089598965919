"""The service's address: how it may be written, and why nothing answers as expected there."""

from __future__ import annotations

import os
import re
import socket
import ssl
from http.client import BadStatusLine, RemoteDisconnected
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import NameResolutionError, NewConnectionError, ReadTimeoutError

from api.service_errors import AnswerInterrupted, RequestRefused, ServiceError, ServiceUnreachable, WrongAddress

DEFAULT_URL = "http://127.0.0.1:8089"

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""The first that is set names the certificates of the authorities to trust."""

_PROBE_SECONDS = 1.0

_ENDPOINT = re.compile(r"/(predict|docs|openapi\.json|readyz|healthz)?/*$")

_UNKNOWN_AUTHORITY = (18, 19, 20, 21)
"""OpenSSL's codes for a certificate that nobody known has signed (X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT and so on)."""


def parse_address(text: str) -> str:
    """The address in its usual form: with a scheme, and without a final slash or the path of an endpoint.

    Raises:
        WrongAddress: no service can have this address.
    """
    url = text.strip()
    if not re.match(r"https?:|\w+:/", url, re.IGNORECASE):
        url = f"http://{url}"
    url = _ENDPOINT.sub("", url)
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number, or over 65,535
        good = False
    if not good or parts.query or parts.fragment or re.search(r"\s|\\", url):
        raise WrongAddress("'{text}' is not the address of a service: use one such as {example}", **_example(text))
    try:
        (parts.hostname or "").encode("idna")
    except UnicodeError:
        raise WrongAddress(
            "'{text}' is not the address of a service: between the dots of a host name are 1 to 63 characters. Use an "
            "address such as {example}",
            **_example(text),
        ) from None
    return url


def _example(text: str) -> dict[str, object]:
    return {"text": text if len(text) <= 100 else f"{text[:99]}…", "example": DEFAULT_URL}


def trusted_certificates(url: str) -> str | bool:
    """What requests takes as ``verify``: the file that one of :data:`CA_VARIABLES` names, or else True.

    Raises:
        WrongAddress: there is no such file.
    """
    for variable in CA_VARIABLES:
        if path := os.environ.get(variable):
            if url.startswith("https:") and not os.path.exists(path):
                raise WrongAddress(
                    "{variable} names {path}, which does not exist: correct it, or unset it",
                    variable=variable,
                    path=path,
                )
            return path
    return True


def connection_error(error: Exception, url: str) -> ServiceError | None:
    """Why ``url`` could not be connected to or did not begin to answer; None if the reason is another."""
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", None)
    if isinstance(error, ValueError) and not isinstance(error, requests.ConnectionError):
        return WrongAddress("'{text}' is not the address of a service: use one such as {example}", **_example(url))
    if isinstance(error, requests.exceptions.SSLError):
        return _tls_error(reason.args[0] if reason and reason.args else cause, url)
    if isinstance(reason, NameResolutionError):
        return ServiceUnreachable(
            "the host name '{host}' is not known: check MLBIO_URL, and the network", host=urlsplit(url).hostname
        )
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
        return ServiceUnreachable("no service at {url}: start it with `make serve`, or set MLBIO_URL", url=url)
    if isinstance(error, requests.Timeout) or isinstance(cause, ReadTimeoutError):
        return None
    if other := wrong_scheme(url):
        return other
    aborted = cause.args[1] if cause is not None and len(getattr(cause, "args", ())) > 1 else None
    if isinstance(aborted, BadStatusLine) and not isinstance(aborted, RemoteDisconnected):
        return WrongAddress(
            "what answers at {url} is not an MLBIO service, and not HTTP: check MLBIO_URL, and the port", url=url
        )
    return AnswerInterrupted(
        "{url} closed the connection without an answer: try again. If it does so every time, it is not an MLBIO "
        "service: check MLBIO_URL",
        url=url,
    )


def _tls_error(reason: object, url: str) -> ServiceError:
    if isinstance(reason, ssl.SSLCertVerificationError):
        if reason.verify_code in _UNKNOWN_AUTHORITY:
            return WrongAddress(
                "the certificate of {url} is signed by an authority that is not known here: if it is your "
                "organisation's, set {variable} to the file of its certificate (PEM)",
                url=url,
                variable=" or ".join(CA_VARIABLES),
            )
        return WrongAddress("the certificate of {url} is refused: {why}", url=url, why=reason.verify_message)
    if getattr(reason, "library", "") == "X509":
        variable = next((v for v in CA_VARIABLES if os.environ.get(v)), CA_VARIABLES[0])
        return WrongAddress(
            "{variable} names {path}, which has no certificate in PEM form: correct it, or unset it",
            variable=variable,
            path=os.environ.get(variable, ""),
        )
    return wrong_scheme(url) or WrongAddress(
        "no encrypted connection to {url} is possible ({why})", url=url, why=str(reason)
    )


def wrong_scheme(url: str) -> WrongAddress | None:
    """The error of an address with ``http://`` for an encrypted port, or with ``https://`` for another."""
    encrypted = _speaks_tls(url)
    if encrypted is None or encrypted == url.startswith("https:"):
        return None
    other = re.sub("^https?", "https" if encrypted else "http", url)
    if encrypted:
        return WrongAddress("the port of {url} is encrypted: use {other}", url=url, other=other)
    return WrongAddress("the port of {url} is not encrypted: use {other}", url=url, other=other)


def _speaks_tls(url: str) -> bool | None:
    """Whether the port of ``url`` begins a TLS handshake; None if it cannot be connected to or does not answer."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent
    try:
        with (
            socket.create_connection((parts.hostname, port), _PROBE_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=parts.hostname),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # of the server's; anything else is no TLS
    except ConnectionResetError:
        return False
    except OSError:
        return None


def foreign_answer(response: requests.Response, url: str) -> ServiceError:
    """The error of an answer that is not the service's, but a proxy's or another program's."""
    status = response.status_code
    if response.is_redirect:
        target = urljoin(response.url, response.headers["location"])[:200]
        if target.endswith("/predict"):
            return WrongAddress("{url} redirects to {other}: use that address", url=url, other=parse_address(target))
    if status == 413:
        return RequestRefused(
            "a proxy in front of {url} takes no photograph of this size (HTTP 413): make it smaller, or raise the "
            "proxy's limit to 32 MiB",
            status,
            url=url,
        )
    if status in (502, 503):
        return RequestRefused(
            "a proxy answers at {url}, but does not reach the service behind it (HTTP {http}): check that the "
            "service runs there",
            status,
            retry_after(response),
            url=url,
            http=status,
        )
    if status == 504:
        return RequestRefused(
            "a proxy in front of {url} stopped waiting for the service (HTTP 504): raise the proxy's time limit to "
            "200 seconds",
            status,
            url=url,
        )
    if status == 400 and (other := wrong_scheme(url)):  # nginx explains it in HTML
        return other
    if status in (401, 403, 407, 429) or status >= 500 and status != 501:
        return RequestRefused(
            "the answer is not the service's: a proxy in front of {url}, or another program, refuses the request "
            "(HTTP {http})",
            status,
            url=url,
            http=status,
        )
    return WrongAddress(
        "what answers at {url} is not an MLBIO service (HTTP {http}): check MLBIO_URL, and the port",
        url=url,
        http=status,
    )


def retry_after(response: requests.Response) -> float | None:
    """The seconds of ``Retry-After``; our service never sends a date."""
    text = response.headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"\d{1,5}", text) else None
