"""However the evidence trickles in and whenever it is judged: what is recorded at the end is what the evidence says."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from milepost.clock import to_us
from milepost.db.tables import breaches, clocks, running_clocks, signals
from milepost.journeystate import JourneyChange, Scalar, decode_clocks
from sla.evaluate import Clock, evaluate
from sla.job import check_due_once
from sla.policy import Compiled
from sla.store import Clocks
from tests.integration.test_sla_check import numbered, write_journeys
from tests.sla_cases import NAMES, at, catalog, held, trouble, went_well

T = at("2026-03-19 06:00")
STEPS = 40
STEP = timedelta(hours=3)
HOUR_US = 3_600_000_000
JOURNEYS = 150
POLICIES: list[Mapping[str, Any]] = [
    {"name": "a", "kind": "between", "start": "received", "end": "confirmed", "within": "6h", "calendar": "business"},
    {
        "name": "b",
        "kind": "between",
        "start": "received",
        "end": "confirmed",
        "within": "9h",
        "match": {"channel": ["edi"]},
    },
    {"name": "c", "kind": "dwell", "start": "packed", "within": "8h"},
    {"name": "d", "kind": "by", "end": "delivered", "date": "promised_date", "grace": "2h", "warn_at": 0.5},
    {"name": "f", "kind": "exception", "within": "5h", "exception": {"kind": ["technical"]}, "pause": "root"},
    {"name": "e", "kind": "between", "start": "confirmed", "end": "invoiced", "within": "30h", "warn_at": None},
]


@dataclass
class Story:
    """What happens to an order: each fact with the step at which it comes to be known."""

    number: int
    told: list[tuple[int, str, int]] = field(default_factory=list)  # step, milestone, time
    hidden: dict[str, range] = field(default_factory=dict)  # steps in which a milestone is open again
    promises: list[tuple[int, str]] = field(default_factory=list)
    channel_known: int = STEPS
    cancelled: tuple[int, int] | None = None  # step, time
    absorbed: range = range(0)
    holds: list[tuple[int, bool, int]] = field(default_factory=list)  # step, held or released, time
    calls: list[tuple[int, bool, int]] = field(default_factory=list)  # step, failed or well, time

    def at(self, step: int) -> JourneyChange | None:
        """The journey as it is known at a step; None while nothing is."""
        times: dict[str, int] = {}
        received: dict[str, int] = {}
        for known, name, when in sorted(self.told):
            if known <= step and step not in self.hidden.get(name, ()) and when < times.get(name, when + 1):
                times[name] = when
                received[name] = to_us(T + known * STEP)
        if not times:
            return None
        attributes: dict[str, Scalar] = {"channel": "edi"} if step >= self.channel_known else {}
        for known, day in self.promises:
            if known <= step:
                attributes["promised_date"] = day
        state, ended = "open", None
        if self.cancelled is not None and self.cancelled[0] <= step:
            state, ended = "cancelled", self.cancelled[1]
        if step in self.absorbed:
            state = "absorbed"
        change = numbered(self.number, steps=times, received=received, attributes=attributes, state=state, ended=ended)
        holds, calls = ([(on, when) for known, on, when in told if known <= step] for told in (self.holds, self.calls))
        root = held([when for on, when in holds if on], [when for on, when in holds if not on])
        root.trouble["order.booked"] = [trouble(when, "failed") for when in sorted(when for on, when in calls if on)]
        went_well(root, "order.booked", [when for on, when in calls if not on])
        change.states = {self.number: root}
        return change


def story(number: int, chance: random.Random) -> Story:
    made = Story(number)
    when = to_us(T)
    for name in NAMES:
        when += chance.randrange(12 * HOUR_US)
        if chance.random() < 0.2:
            continue
        for _ in range(chance.choice((1, 1, 2))):
            due_step = (when - to_us(T)) // (3 * HOUR_US) + 1
            made.told.append((due_step + chance.choice((0, 0, 0, 3, 9)), name, when))
            when += chance.randrange(HOUR_US)
        if chance.random() < 0.15:
            first = chance.randrange(STEPS)
            made.hidden[name] = range(first, first + chance.randrange(1, 10))
    made.promises = [
        (chance.randrange(STEPS), f"2026-03-{chance.randrange(18, 26)}") for _ in range(chance.randrange(3))
    ]
    made.promises.sort()
    made.channel_known = chance.choice((0, chance.randrange(STEPS), STEPS))
    if chance.random() < 0.2:
        step = chance.randrange(STEPS)
        made.cancelled = (step, to_us(T + step * STEP) - chance.randrange(20 * HOUR_US))
    if chance.random() < 0.1:
        first = chance.randrange(STEPS)
        made.absorbed = range(first, first + chance.randrange(1, 8))
    for told in (made.holds, made.calls):
        for on in (True, False, True, False)[: chance.choice((0, 0, 1, 2, 3, 4))]:
            when = to_us(T) + chance.randrange(90 * HOUR_US)
            known = (when - to_us(T)) // (3 * HOUR_US) + 1 + chance.choice((0, 0, 3, 9))
            told.append((known, on, when))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_what_is_recorded_is_what_the_evidence_says(engine: sa.Engine, seed: int) -> None:
    chance = random.Random(seed)
    made = catalog(*POLICIES)
    stories = [story(number, chance) for number in range(1, JOURNEYS + 1)]
    hook = Clocks()
    with engine.begin() as connection:
        write_journeys(connection, [numbered(one.number, started=to_us(T)) for one in stories])
    judged = T
    for step in range(STEPS):
        now = T + step * STEP
        told = [change for one in stories if chance.random() < 0.7 or step == STEPS - 1 if (change := one.at(step))]
        with engine.begin() as connection:
            hook.on_journeys_changed(connection, made, told, now=now)
        if chance.random() < 0.6 or step == STEPS - 1:
            judged = now - chance.choice((0, 0, 1, 4)) * STEP
            check_due_once(engine, made, now=now, applied_through=judged)
    judged = T + STEPS * STEP
    check_due_once(engine, made, now=judged, applied_through=judged)
    compiled = Compiled(made)
    final = {one.number: one.at(STEPS - 1) for one in stories}
    expected = {
        (number, clock.key[0], clock.key[2]): clock
        for number, change in final.items()
        if change is not None
        for clock in evaluate(compiled, change).clocks
    }
    assert {clock.state for clock in expected.values()} >= {"running", "met", "missed", "stopped"}
    assert any(clock.pause for clock in expected.values())
    assert any(clock.occurrence and clock.state == "missed" for clock in expected.values())
    check_running(engine, expected, to_us(judged))
    check_rows(engine, expected, to_us(judged))
    check_breaches(engine, expected, to_us(judged))
    check_signals(engine)


Expected = Mapping[tuple[int, str, int], Clock]


def past(clock: Clock, at_us: int) -> bool:
    return clock.due_us is not None and clock.due_us <= at_us


def check_running(engine: sa.Engine, expected: Expected, judged_us: int) -> None:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(running_clocks)).all()
    found = {
        (row.journey_id, clock.policy, clock.occurrence): clock for row in rows for clock in decode_clocks(row.clocks)
    }
    assert found.keys() == {key for key, clock in expected.items() if clock.state == "running"}
    for key, clock in found.items():
        assert (clock.started_us, clock.due_us, clock.warn_us) == (
            expected[key].started_us,
            expected[key].due_us,
            expected[key].warn_us,
        )
        assert clock.breached == past(expected[key], judged_us)
    for row in rows:
        mine = decode_clocks(row.clocks)
        assert row.breached == any(clock.breached for clock in mine)
        assert (row.next_at is None) == all(clock.breached or clock.due_us is None for clock in mine)


def check_rows(engine: sa.Engine, expected: Expected, judged_us: int) -> None:
    """derived.clocks says the same; that a met clock had a breach taken back is the only thing beyond the evidence."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(clocks)).all()
    found = {(row.journey_id, row.policy, row.occurrence): row.state for row in rows if row.state != "absorbed"}
    for key, clock in expected.items():
        state = found.pop(key, "running")
        if clock.state == "met":
            assert state in ("met", "retracted")
        elif clock.state != "running":
            assert state == clock.state
        elif past(clock, judged_us):
            assert state in ("breached", "late_known")
        else:
            assert state in ("warned", "running")
            assert (state == "warned") == (clock.warn_us is not None and clock.warn_us <= judged_us)
    assert found == {}


def check_breaches(engine: sa.Engine, expected: Expected, judged_us: int) -> None:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(breaches)).all()
    open_now = {(row.root_id, row.policy, row.occurrence) for row in rows if row.ended_at is None}
    late = {(row.root_id, row.policy, row.occurrence) for row in rows if row.end in ("late", "cancelled", "completed")}
    assert open_now == {k for k, c in expected.items() if c.state == "running" and past(c, judged_us)}
    assert late == {k for k, c in expected.items() if c.state in ("missed", "late_known")}
    assert {row.end for row in rows} >= {None, "late", "retracted", "cancelled", "withdrawn"}
    for row in rows:
        assert (row.ended_at is None) == (row.end is None)


def check_signals(engine: sa.Engine) -> None:
    """Raised and cleared in turn; what is open at the end is open in the record."""
    with engine.connect() as connection:
        told = connection.execute(sa.select(signals.c.item, signals.c.action).order_by(signals.c.signal_id)).all()
        still = set(connection.scalars(sa.select(breaches.c.breach_id).where(breaches.c.ended_at.is_(None))))
    by_item: dict[str, list[str]] = defaultdict(list)
    for item, action in told:
        if item != "watermark":
            by_item[item].append(action)
    for actions in by_item.values():
        assert actions == (["raise", "clear"] * len(actions))[: len(actions)]
    assert {item for item, actions in by_item.items() if actions[-1] == "raise"} == {f"breach:{one}" for one in still}
