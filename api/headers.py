"""Names that the gateway and the handler share: of TorchServe's pools and of HTTP headers."""

from __future__ import annotations

POOL, EXPLAIN_POOL = "mlbio", "mlbio_explain"
"""Model names in TorchServe: workers for all requests, and workers for explanations only."""

JOB_HEADER = "x-mlbio-job"
"""Identifies a request by 32 hexadecimal digits, so that it can be cancelled."""

CANCEL_HEADER = "x-mlbio-cancel"
"""Identifies the request to cancel. A request with this header does nothing else."""

DEADLINE_HEADER = "x-mlbio-deadline"
"""When an explanation must end with the best result so far, as :class:`api.deadline.Deadline` writes it."""

EXPIRY_HEADER = "x-mlbio-expiry"
"""When the client stops waiting, so that the answer need not be computed; written in the same way."""

ANSWER_HEADER = "x-mlbio-answer"
"""Set on every answer of the handler, to the :class:`api.errors.ErrorCode` of a failure or else ``1``; TorchServe's own
errors lack it."""

ERROR_HEADER = "x-mlbio-error"
"""The :class:`api.errors.ErrorCode` of a failure, in the gateway's response."""

REQUEST_ID_HEADER = "x-request-id"
"""Identifies a request in the logs of gateway and handler, and in the response."""

STREAM_TYPE = "application/x-ndjson"
"""Accepted by a client that wants progress reports before the answer."""
