"""HTTP that cannot be parsed is refused in the documented form, where uvicorn itself would send plain text."""

from __future__ import annotations

import sys
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.answer import refuse
from gateway.answers import SECURITY_HEADERS

_TEXTS = {
    400: "the request is not valid HTTP: see that its first line, headers, length and chunks are right",
    431: "the headers of the request are too long: send fewer or shorter ones",
    501: "the request has a transfer encoding that is not known: send it plain or in chunks",
}


LINGER_SECONDS = 1.0
"""For how long what the client still sends is read and discarded: a reset connection would cost it the answer."""


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1 with our text of a failure."""

    _refused = False

    def data_received(self, data: bytes) -> None:
        """Parse what has come, unless the request has been refused."""
        if not self._refused:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that h11 has just refused, and close the connection."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # another answer is on its way
            return
        self._refused = True
        status = getattr(sys.exception(), "error_status_hint", 400)
        answer = refuse(status if status in _TEXTS else 400, _TEXTS.get(status, _TEXTS[400]))
        headers = [("content-type", "application/json"), ("connection", "close"), *SECURITY_HEADERS.items()]
        reason = HTTPStatus(answer.status).phrase.encode()
        response = h11.Response(status_code=answer.status, headers=headers, reason=reason)
        for event in (response, h11.Data(data=answer.body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
