"""The real service against its OpenAPI document: schemathesis sends what the document allows, and what it does not."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi import checks

from api.openapi import document
from tests.e2e.conftest import Service

load_all_checks()

SCHEMA = schemathesis.openapi.from_dict(document())

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]
"""Not that all data which fits the schema is accepted: a text may not be a photograph."""


@SCHEMA.parametrize()
@settings(max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_the_service_answers_as_it_documents(service: Service, case: schemathesis.Case):
    explains = isinstance(case.body, dict) and case.body.get("explain") is True
    hurry = {"prefer": "wait=0"} if explains else None  # a rough explanation has the same form
    case.call_and_validate(base_url=service.url, headers=hurry, checks=CHECKS, timeout=30)
