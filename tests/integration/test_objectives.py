"""Objectives judged on stored clocks: the figures equal a plain count, and alerting hears what it should."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from alerting import commands, pipeline
from alerting.signal import Signal
from milepost.catalog.objective import IN_TIME, NOT_IN_TIME
from milepost.catalog.routing import Channel, Route, Routing
from milepost.catalog.schema import Catalog
from milepost.db import tables as t
from milepost.db.engine import make_engine
from sla.objective.job import judge_once
from tests.databases import Databases
from tests.sla_cases import catalog

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SCANNED = {"name": "scanned", "kind": "between", "start": "received", "end": "confirmed", "within": "4h"}
BY_CARRIER = {**SCANNED, "group_by": ["carrier"], "owner": "carrier desk"}
LENGTHS = ((HOUR, 5 * MINUTE), (6 * HOUR, HOUR / 2), (3 * DAY, 6 * HOUR))
CARRIERS = ("dhl", "ups", "gls", None)
HEARD = Routing(channels=[Channel("hook", "webhook", url="https://example.org")], routes=[Route(channels=["hook"])])


class Clock(NamedTuple):
    """What a clock is, as its writer would leave it."""

    due: datetime
    state: str
    carrier: str | None = "dhl"


@pytest.fixture(scope="module")
def engine(databases: Databases) -> Iterator[sa.Engine]:
    with databases.fresh() as url:
        made = make_engine(url)
        yield made
        made.dispose()


@pytest.fixture(autouse=True)
def empty(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for name in ("clocks", "journeys", "clock_hours", "objectives"):
            connection.execute(sa.text(f"DELETE FROM derived.{name}"))
        for name in ("signals", "alert_items", "alerts"):
            connection.execute(sa.text(f"DELETE FROM record.{name}"))


def write(engine: sa.Engine, found: Sequence[Clock], policy: str = "scanned") -> None:
    with engine.begin() as connection:
        first = 1 + (connection.scalar(sa.select(sa.func.max(t.journeys.c.journey_id))) or 0)
        rows = list(enumerate(found, first))
        connection.execute(sa.insert(t.journeys), [journey(number, clock) for number, clock in rows])
        connection.execute(sa.insert(t.clocks), [row(number, clock, policy) for number, clock in rows])


def journey(number: int, clock: Clock) -> dict[str, Any]:
    times = dict.fromkeys(("started_at", "last_at", "progress_at", "first_received_at", "last_received_at"), clock.due)
    plain = {"model": "order", "namespace": "", "root_type": "order", "state": "open", "stage_rank": 0, "facts": b""}
    return {"journey_id": number, "root_id": number, "key": f"S{number}", "carrier": clock.carrier, **plain, **times}


def row(number: int, clock: Clock, policy: str) -> dict[str, Any]:
    times = {"started_at": clock.due - HOUR, "due_at": clock.due}
    names = {"policy": policy, "policy_version": "v", "state": clock.state}
    return {"journey_id": number, "subject_id": number, "occurrence": 0, **names, **times}


def judge(engine: sa.Engine, made: Catalog, now: datetime = NOW) -> dict[str, sa.RowMapping]:
    """How the objective stands, by carrier; "" for the whole."""
    judge_once(engine, made, now=now, through=now)
    while pipeline.step(engine, Routing(), now=now, public_url="https://milepost.example"):
        continue
    with engine.connect() as connection:
        rows = connection.execute(sa.select(t.objectives)).mappings().all()
    return {json.loads(found["group"]).get("carrier", ""): found for found in rows}


def alerts(engine: sa.Engine) -> list[tuple[str, str, str]]:
    """(carrier, severity, state) of all alerts."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(t.alerts).order_by(t.alerts.c.alert_id)).mappings()
        return [(found["group"].get("carrier", ""), found["severity"], found["state"]) for found in rows]


def steady(
    count: int, every: timedelta, misses: int, carrier: str | None = "dhl", until: datetime = NOW
) -> list[Clock]:
    """So many clocks up to a time, of which every n-th was missed."""
    return [
        Clock(until - every * (number + 1), "missed" if misses and number % misses == 0 else "met", carrier)
        for number in range(count)
    ]


def test_the_figures_equal_a_plain_count(engine: sa.Engine) -> None:
    chance = random.Random(5)
    states = (*IN_TIME, *NOT_IN_TIME, "warned", "stopped", "absorbed")
    found = [
        Clock(NOW - DAY * chance.uniform(-2, 40), chance.choice(states), chance.choice(CARRIERS)) for _ in range(3_000)
    ]
    found += [Clock(NOW - DAY * chance.uniform(0, 0.5), chance.choice(states), "dhl") for _ in range(1_000)]
    write(engine, found)
    stands = judge(engine, catalog(BY_CARRIER))
    assert stands.keys() == {"", "dhl", "ups", "gls", "unknown"}
    for carrier, stand in stands.items():
        mine = [clock for clock in found if carrier in ("", clock.carrier or "unknown")]
        in_hand = [clock for clock in mine if clock.state != "late_known"]
        # what is older than a day is known by the hour
        assert (stand["clocks"], stand["misses"]) == plain(mine, NOW.replace(minute=0) - 30 * DAY)
        assert stand["allowed"] == pytest.approx(stand["clocks"] * 0.01)
        for level, (long, short) in zip(stand["levels"], LENGTHS, strict=True):
            since = NOW.replace(minute=0) - long if long > DAY else NOW - long
            assert (level["long"]["clocks"], level["long"]["misses"]) == plain(in_hand, since)
            assert (level["short"]["clocks"], level["short"]["misses"]) == plain(in_hand, NOW - short)


def plain(found: Sequence[Clock], since: datetime) -> tuple[int, int]:
    states = [clock.state for clock in found if since <= clock.due < NOW]
    misses = sum(state in NOT_IN_TIME for state in states)
    return sum(state in IN_TIME for state in states) + misses, misses


def test_counted_again_from_hours_it_is_the_same(engine: sa.Engine) -> None:
    made = catalog(BY_CARRIER)
    write(engine, steady(900, HOUR, 20))
    first = judge(engine, made)
    with engine.begin() as connection:  # the hours stay; the clocks of the present hour count
        connection.execute(sa.delete(t.clocks).where(t.clocks.c.due_at < NOW - 2 * DAY))
    assert judge(engine, made)["dhl"]["misses"] == first["dhl"]["misses"]
    assert judge(engine, made, NOW + 2 * HOUR)["dhl"]["misses"] < first["dhl"]["misses"]


def test_one_carrier_burns_and_is_told_once(engine: sa.Engine) -> None:
    made = catalog(BY_CARRIER)
    write(engine, [*steady(2_000, 10 * MINUTE, 0, "ups"), *steady(60, MINUTE, 2)])
    stands = judge(engine, made)
    assert set(stands["dhl"]["firing"]) == {"fast", "medium", "slow"}
    assert stands[""]["firing"] == {}  # dhl explains it
    assert alerts(engine) == [("dhl", "critical", "firing")]
    judge(engine, made, NOW + MINUTE)
    with engine.connect() as connection:
        assert "was left at 20 Nov 2026 12:30 UTC" in (connection.scalar(sa.select(t.alert_items.c.summary)) or "")
        sent = connection.scalar(sa.select(sa.func.count()).where(t.signals.c.kind == "objective"))
    assert sent == 1
    write(engine, steady(500, MINUTE / 20, 0, until=NOW + 45 * MINUTE))
    judge(engine, made, NOW + 46 * MINUTE)
    assert alerts(engine) == [("dhl", "critical", "firing")]
    judge(engine, made, NOW + 4 * DAY)  # nothing falls due any more
    assert alerts(engine) == [("dhl", "critical", "resolved")]


@pytest.mark.parametrize(
    ("found", "more", "expected"),
    [
        ([], {}, []),
        (steady(1, MINUTE, 1), {}, []),  # one miss in an idle night
        (steady(4, MINUTE, 1), {}, []),
        (steady(700, 6 * MINUTE, 60), {}, [("dhl", "warning", "firing")]),  # a slow burn: a ticket
        (steady(60, MINUTE, 5), {}, [("dhl", "critical", "firing")]),
        (steady(60, MINUTE, 1), {}, [("dhl", "critical", "firing")]),  # all missed
        ([clock._replace(state="late_known") for clock in steady(60, MINUTE, 1)], {}, []),  # an import
        (steady(60, MINUTE, 1), {"objective": {"target": 1.0}}, []),
        (steady(60, MINUTE, 1), {"objective": {"min_misses": 100}}, []),
        (steady(60, MINUTE, 1), {"group_by": []}, [("", "critical", "firing")]),
    ],
)
def test_who_hears_of_it(
    engine: sa.Engine, found: list[Clock], more: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    if found:
        write(engine, found)
    made = catalog({**BY_CARRIER, **more})
    stands = judge(engine, made)
    assert alerts(engine) == expected
    assert 0 <= stands[""]["remaining"] <= 1
    if not found:
        assert (stands[""]["remaining"], stands[""]["burn"], stands[""]["exhausted_at"]) == (1.0, None, None)


def test_late_evidence_gives_the_budget_back(engine: sa.Engine) -> None:
    made = catalog(BY_CARRIER)
    write(engine, steady(60, MINUTE, 2))
    assert judge(engine, made)["dhl"]["remaining"] == 0
    with engine.begin() as connection:
        connection.execute(sa.update(t.clocks).where(t.clocks.c.state == "missed").values(state="retracted"))
    stands = judge(engine, made, NOW + HOUR)  # hours are counted anew
    assert stands[""]["remaining"] == 1
    assert (stands[""]["misses"], stands[""]["clocks"]) == (0, 60)
    assert judge(engine, made, NOW + 8 * HOUR)
    assert alerts(engine) == [("dhl", "critical", "resolved")]


def test_nothing_is_judged_beyond_the_watermark(engine: sa.Engine) -> None:
    write(engine, [*steady(60, MINUTE, 2), *steady(60, MINUTE, 1, until=NOW + HOUR)])
    judge_once(engine, catalog(BY_CARRIER), now=NOW + HOUR, through=NOW)
    with engine.connect() as connection:
        found = connection.execute(sa.select(t.objectives).where(t.objectives.c.group == "{}")).mappings().one()
    assert (found["clocks"], found["misses"], found["at"]) == (60, 30, NOW)


def test_a_policy_that_is_gone_ends_its_alert(engine: sa.Engine) -> None:
    write(engine, steady(60, MINUTE, 1))
    judge(engine, catalog(BY_CARRIER))
    judge(engine, catalog({**BY_CARRIER, "name": "other"}))
    assert alerts(engine) == [("dhl", "critical", "resolved")]


@pytest.mark.parametrize(
    ("more", "group", "slow", "notified"),
    [
        ({}, None, False, True),
        ({}, {"carrier": "dhl"}, False, False),  # the breaches have told of it
        ({}, {}, False, False),  # many groups in one alert
        ({}, {"carrier": "ups"}, False, True),
        ({}, {"carrier": "dhl"}, True, True),  # a ticket is another matter
        ({"objective": {"alert": True}}, {"carrier": "dhl"}, False, True),
        ({"notify": False}, None, False, False),
        ({"notify": False, "objective": {"alert": True}}, None, False, True),
        ({"objective": {"alert": False}}, None, False, False),
    ],
)
def test_nobody_is_paged_twice(
    engine: sa.Engine, more: dict[str, Any], group: dict[str, str] | None, slow: bool, notified: bool
) -> None:
    write(engine, steady(700, 6 * MINUTE, 60) if slow else steady(60, MINUTE, 1))
    if group is not None:
        breach_of(engine, group)
    judge(engine, catalog({**BY_CARRIER, **more}))
    assert notifies(engine) == [notified]


def test_breaches_that_nobody_heard_of_page_nobody_so_their_burn_does(engine: sa.Engine) -> None:
    write(engine, steady(60, MINUTE, 1))
    breach_of(engine, {"carrier": "dhl"}, notify=False)
    judge(engine, catalog(BY_CARRIER))
    assert notifies(engine) == [True]


def breach_of(engine: sa.Engine, group: dict[str, str], *, notify: bool = True) -> None:
    breach = Signal("raise", "sla", "scanned", group, "breach:1", NOW, summary="late", title="Scanned", notify=notify)
    with engine.begin() as connection:
        commands.send(connection, [breach], now=NOW)
    while pipeline.step(engine, HEARD, now=NOW, public_url="https://milepost.example"):
        continue


def notifies(engine: sa.Engine) -> list[bool]:
    """Of each signal of an objective whether people are told."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(t.signals.c.body).where(t.signals.c.kind == "objective"))
        return [body["notify"] for (body,) in rows]
