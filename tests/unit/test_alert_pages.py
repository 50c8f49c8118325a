"""What an alert's page says of its history and its end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dashboards.pages import alerts

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def change(what: str, **detail: Any) -> Mapping[str, Any]:
    return {"at": AT, "what": what, "actor": "milepost", "detail": detail}


def test_changes_and_what_was_taken_back_in_them_are_one_line() -> None:
    once = [
        change("updated", added=0, cleared={"retracted": 1}, open=4),
        change("retracted", count=1, items=["breach:1"]),
    ]
    found = alerts.runs([change("resolved", cleared={}), *once, *once, *once, change("opened", added=7, open=7)])
    assert [len(run) for run in found] == [1, 6, 1]
    assert (alerts._what(found[1]), alerts._by(found[1])) == ("updated", ": 3 cleared, 3 taken back, 4 open")


def test_what_was_taken_back_at_the_end_says_so() -> None:
    found = alerts.runs([change("resolved", cleared={"retracted": 1}, open=0), change("retracted", count=1)])
    assert [alerts._what(run) for run in found] == ["resolved", "retracted"]
