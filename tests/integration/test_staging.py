"""Rows on their way into a merge: few as arrays, many through a temporary table, and the same comes of both."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from milepost.clock import to_us
from milepost.db import staging
from milepost.db import tables as t
from milepost.db.staging import Rows, given, save, wire_time

FIRST, LAST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.fixture(params=[0, 1_000], ids=["as a table", "as arrays"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(staging, "FEW", request.param)
    return int(request.param)


def journey(number: int, at: datetime, partner: str | None, amount: Decimal | None, facts: bytes) -> tuple[object, ...]:
    times = [wire_time(to_us(at))] * 5
    named = ("order", number, f"S{number}", "", "order", "open", None, -1)
    return (number, *named, *times, None, None, None, partner, amount, "EUR", None, facts)


@pytest.mark.usefixtures("few")
def test_what_changes_is_what_was_given(engine: sa.Engine) -> None:
    odd = 'a "quoted", {braced} \\ NULL, line\nand ü'
    changed = [
        journey(1, FIRST, odd, Decimal("12.3400"), b"\x00\xff\\"),
        journey(2, LAST, None, None, b""),
        journey(3, FIRST, "NULL", Decimal("-99999999999999.9999"), b"{}"),
    ]
    with engine.begin() as connection:
        new = [journey(number, LAST, "before", Decimal(1), b"x") for number in (1, 2)]
        save(connection, t.journeys, ["journey_id"], Rows(new=new))
        save(connection, t.journeys, ["journey_id"], Rows(changed=changed))
        its = t.journeys.c
        rows = connection.execute(
            sa.select(its.journey_id, its.last_at, its.partner, its.amount, its.facts).order_by(its.journey_id)
        ).all()
    assert [tuple(row) for row in rows] == [
        (1, FIRST, odd, Decimal("12.3400"), b"\x00\xff\\"),
        (2, LAST, None, None, b""),
        (3, FIRST, "NULL", Decimal("-99999999999999.9999"), b"{}"),
    ]


@pytest.mark.parametrize("number", [0, 1, 5])
def test_as_many_come_as_were_given(engine: sa.Engine, few: int, number: int) -> None:
    columns = {"key": "text", "yes": "boolean", "at": "timestamptz"}
    rows = [(f"k{index}", index % 2 == 0, wire_time(to_us(LAST))) for index in range(number)]
    with engine.begin() as connection:
        source, parameters = given(connection, "wanted", columns, rows)
        found = connection.execute(sa.text(f"SELECT * FROM {source} ORDER BY key"), parameters).all()
    assert (source == "wanted") is (number > few)
    assert [tuple(row) for row in found] == [(f"k{index}", index % 2 == 0, LAST) for index in range(number)]
