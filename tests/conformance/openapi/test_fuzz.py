"""What openapi.json says is so, whatever is sent: fuzzed from the description itself.

A few cases an operation by default; `make fuzz` sends many, and other ones each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CheckFunction
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from milepost.clock import utc_now
from milepost.decisions import access
from tests.dashboard import CATALOG, Dashboard, dashboard
from tests.databases import Databases

CHECKS: list[CheckFunction] = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""Cases an operation; 0: few, and always the same ones."""
PROFILE = settings(
    max_examples=EXAMPLES or 2,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
OPERATE = ("/healthz", "/readyz", "/metrics")


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Dashboard]:
    with databases.fresh() as url, dashboard(url, catalog=CATALOG, with_collector=True) as running:
        yield running


@pytest.fixture(scope="module")
def headers(served: Dashboard) -> dict[str, str]:
    """A key that may do everything: refusals for want of rights would hide the rest."""
    scopes = ["send", "read", "quarantine"]
    with served.engine.begin() as connection:
        new = access.create_key(
            connection,
            name="fuzz",
            sources=["*"],
            types=["*"],
            scopes=scopes,
            expires_at=None,
            actor="t",
            now=utc_now(),
        )
    return {"Authorization": f"Bearer {new.text}"}


def test_every_answer_is_as_described(served: Dashboard, headers: dict[str, str]) -> None:
    document = served.client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    failures: list[str] = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path not in OPERATE:
            failures += _fuzz(operation, served.url, headers)
    assert not failures, "\n\n".join(failures)


def _fuzz(operation: Any, url: str, headers: dict[str, str]) -> list[str]:
    """What went wrong with one operation, by what it was asked."""

    @PROFILE
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        response = case.call(base_url=url, headers=headers, timeout=30)
        case.validate_response(response, checks=CHECKS)

    try:
        ask()
    except (FailureGroup, AssertionError) as error:
        return [f"{operation.method.upper()} {operation.path}: {error}"]
    return []
