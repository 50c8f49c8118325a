"""What a month's report counts: whose clock it is, in which month, how late in business time, and what it is worth."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
import sqlalchemy as sa

from dashboards import sla_report
from dashboards.objectives import report_of
from dashboards.sla_report import Report, spans
from dashboards.sla_report_html import as_html
from milepost.catalog.schema import Catalog
from milepost.db import tables as t
from milepost.db.engine import make_engine
from milepost.errors import ConfigurationError, NotFound
from milepost.journeystate import AttributeGroup, ObjectState, encode_object
from tests.databases import Databases
from tests.sla_cases import catalog

HOUR = timedelta(hours=1)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FRIDAY = datetime(2026, 10, 16, 14, tzinfo=UTC)  # 16:00 in Berlin, two hours before the calendar closes
PICKED = {
    "name": "picked",
    "kind": "between",
    "start": "allocated",
    "end": "released",
    "within": "2h",
    "per": "picking",
}
SHIPPED = {"name": "shipped", "kind": "by", "end": "delivered", "date": "promised_date", "calendar": "business"}
MADE: Catalog = catalog(PICKED, SHIPPED)
ROWS = (
    # order, subject, policy, state, due, its journey's warehouse, its picking's, its breach's
    (1, 101, "picked", "met", FRIDAY, "north", None, None),
    (1, 102, "picked", "met", FRIDAY, "north", "south", None),
    (2, 103, "picked", "missed", FRIDAY, "north", "south", "south"),
    (2, 104, "picked", "retracted", FRIDAY, None, "north", None),
    (3, 3, "shipped", "missed", FRIDAY, "north", None, "south"),
    (4, 4, "shipped", "met", FRIDAY, None, None, None),
    (5, 5, "shipped", "stopped", FRIDAY, "north", None, None),
    (6, 6, "shipped", "met", datetime(2026, 10, 31, 23, 30, tzinfo=UTC), "north", None, None),  # November in Berlin
    (7, 7, "shipped", "met", datetime(2026, 9, 30, 22, 30, tzinfo=UTC), "north", None, None),  # October there
    (8, 108, "picked", "met", datetime(2026, 10, 31, 23, 30, tzinfo=UTC), "north", None, None),  # in UTC it is October
    (9, 9, "gone", "missed", FRIDAY, "north", None, None),
)


@pytest.fixture(scope="module")
def made(databases: Databases) -> Iterator[Report]:
    with databases.fresh() as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            fill(connection)
        with engine.connect() as connection:
            yield report_of(connection, MADE, "2026-10", {}, now=NOW, public_url="https://milepost.example")
        engine.dispose()


def fill(connection: sa.Connection) -> None:
    times = ("started_at", "last_at", "progress_at", "first_received_at", "last_received_at")
    plain: dict[str, Any] = {
        "model": "order",
        "namespace": "",
        "root_type": "order",
        "state": "open",
        "stage_rank": 0,
        "facts": b"",
    }
    for order, warehouse in {row[0]: row[5] for row in ROWS}.items():
        named = {"journey_id": order, "root_id": order, "key": f"S{order}", "warehouse": warehouse, "channel": "edi"}
        connection.execute(sa.insert(t.journeys), {**named, **plain, **dict.fromkeys(times, FRIDAY)})
        connection.execute(
            sa.insert(t.objects), {"object_id": order, "type": "order", "namespace": "", "key": f"S{order}"}
        )
    for order, subject, policy, state, due, _, own, told in ROWS:
        clock: dict[str, Any] = {
            "policy": policy,
            "subject_id": subject,
            "occurrence": 0,
            "policy_version": "v",
            "due_at": due,
        }
        clock |= {"journey_id": order, "started_at": due - HOUR}
        connection.execute(sa.insert(t.clocks), {**clock, "state": state})
        if own is not None:
            state_of = ObjectState(attributes=[AttributeGroup(0, "wms", "1", {"warehouse": own})])
            connection.execute(sa.insert(t.object_states), {"object_id": subject, "state": encode_object(state_of)})
        if state in ("missed", "retracted"):
            connection.execute(sa.insert(t.breaches), {**clock, **breach(order, state, told)})


def breach(order: int, state: str, warehouse: str | None) -> dict[str, Any]:
    """Reached on Monday at 9:30 in Berlin, 3.5 business hours after it was due on Friday at 16:00."""
    reached = datetime(2026, 10, 19, 7, 30, tzinfo=UTC)
    return {
        "model": "order", "root_id": order, "severity": "warning", "late_known": False, "judged_at": FRIDAY,
        "opened_at": FRIDAY, "ended_at": reached, "end": "late" if state == "missed" else "retracted",
        "stopped_at": reached, "amount": Decimal("99.5") * order, "currency": "EUR",
        "evidence": {"why": "not <released>", "calendar": "business", "events": []},
        "dimensions": {"warehouse": warehouse} if warehouse else {},
    }  # fmt: skip


def test_a_clock_has_the_warehouse_of_its_breach_its_picking_or_its_journey(made: Report) -> None:
    found = {(line.value, line.policy): (line.clocks, line.misses) for line in made.by("warehouse")}
    assert found["north", "picked"] == (3, 0)
    assert found["south", "picked"] == (2, 1)
    assert found["south", "shipped"] == (1, 1)
    assert found["unknown", "shipped"] == (1, 0)
    assert found["north", ""] == (5, 1)
    assert [line.value for line in made.by("warehouse")][-1] == "unknown"
    assert made.by("carrier") == []  # nobody knows one


def test_a_month_begins_where_the_calendar_is(made: Report) -> None:
    found = {line.value: (line.clocks, line.misses) for line in made.by_policy}
    assert found == {"picked": (5, 1), "shipped": (3, 1), "gone": (1, 1)}
    assert [line.value for line in made.by_policy][-1] == "gone"


def test_late_is_business_time_and_money_counts_once(made: Report) -> None:
    assert {made.late(one) for one in made.counted if one.policy != "gone"} == {3.5 * HOUR}
    assert [one.key for one in made.taken_back] == ["S2"]
    twice = [*made.counted, *made.counted]
    assert sla_report.worth(twice) == {"EUR": Decimal("199") + Decimal("298.5") + Decimal("895.5")}


def test_the_files_say_the_same(made: Report) -> None:
    rows = list(csv.DictReader(StringIO(sla_report.breaches_csv(made))))
    assert {(row["key"], row["counts"], row["late_seconds"]) for row in rows} >= {
        ("S2", "yes", "12600"),
        ("S2", "no", ""),
    }
    page = as_html(made)
    assert "SLA report, October 2026" in page
    assert "not &lt;released&gt;" in page
    assert 'href="https://milepost.example/journeys/order/S3"' in page
    assert "3 h 30 min" in page


def test_what_is_asked_for_wrongly_is_refused() -> None:
    for month in ("2026-13", "2026", "26-10", "0000-01"):
        with pytest.raises(ConfigurationError):
            spans(MADE, month, NOW)
    with pytest.raises(NotFound):
        sla_report.checked({"policy": "none"}, MADE)
    assert spans(MADE, "2026-11", NOW)["picked"][1] == NOW  # a month under way
    assert spans(MADE, "2026-12", NOW)["picked"][0] == spans(MADE, "2026-12", NOW)["picked"][1]  # one to come
