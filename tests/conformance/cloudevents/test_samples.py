"""Every sample against a real collector on a real database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from milepost import contract
from tests.conformance.cloudevents.accepted import ACCEPTED
from tests.conformance.cloudevents.problems import PROBLEMS
from tests.conformance.cloudevents.refused import REFUSED
from tests.conformance.cloudevents.samples import Accepted, Problem, Refused
from tests.served import Served

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.mark.parametrize("sample", ACCEPTED, ids=lambda sample: sample.name)
def test_accepted(served: Served, sample: Accepted) -> None:
    answer = served.send(sample.body, sample.content_type, key=sample.key, headers=sample.headers)
    assert (answer.status_code, answer.json()) == (202, {"accepted": len(sample.stored), "rejected": []})
    assert answer.headers["content-type"] == "application/json"
    entries = served.taken()
    assert [json.loads(entry.body) for entry in entries] == sample.stored
    for entry in entries:
        event = contract.decode(entry.body)
        assert entry.identity == contract.identity_of(event.source, event.id)
        assert entry.content == contract.content_of(event)
    assert served.quarantined() == []


@pytest.mark.parametrize("sample", REFUSED, ids=lambda sample: sample.name)
def test_refused(served: Served, sample: Refused) -> None:
    answer = served.send(sample.body, sample.content_type, key=sample.key, headers=sample.headers)
    body = answer.json()
    assert (answer.status_code, [item["error"] for item in body["rejected"]]) == (sample.status, sample.errors)
    assert (body["accepted"], body["status"]) == (0, sample.status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert served.taken() == []
    kept = served.quarantined()
    assert [row["reason"] for row in kept] == sample.errors
    assert {(row["sender"], row["state"]) for row in kept} == {(sample.key, "open")}
    assert {row["kind"] for row in kept} <= {"malformed" if sample.status == 422 else "forbidden"}


@pytest.mark.parametrize("sample", PROBLEMS, ids=lambda sample: sample.name)
def test_problem(served: Served, sample: Problem) -> None:
    answer = served.send(sample.body, sample.content_type, key=sample.key, headers=sample.headers)
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["detail"]) == (sample.status, sample.detail)
    assert (problem["type"], problem["status"]) == ("about:blank", sample.status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.headers.get("www-authenticate") is not None) == (sample.status == 401)
    assert (served.taken(), served.quarantined()) == ([], [])
