"""The check of due clocks: at the watermark, in proportion to what falls due, never to what runs.

Any number of checks may run at once: each takes due journeys that no other holds, and the assembler, which holds a
journey while it changes, is never waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from alerting import commands
from alerting.commands import Signal
from milepost.catalog.schema import Catalog
from milepost.clock import to_us
from milepost.db.tables import alerts, running_clocks
from milepost.journeystate import JourneyChange, RunningClock, decode_all_clocks
from sla import breach, ledger, store, transition
from sla.ledger import Book
from sla.loading import Wanted, load
from sla.policy import Compiled, compile_catalog
from sla.transition import Opening, Transition

BATCH: Final = 1_000
"""Journeys judged in one transaction."""
BATCHES: Final = 50
"""Transactions in one call, so that a flood doesn't keep the scheduler from everything else."""
LAG: Final = timedelta(minutes=2)
"""How far the watermark may be behind before that is Milepost's own alert."""

_BEHIND: Final = "sla-behind"


def check_due_once(
    engine: sa.Engine,
    catalog: Catalog,
    *,
    now: datetime,
    applied_through: datetime,
    batch: int = BATCH,
    batches: int = BATCHES,
) -> int:
    """Judge every clock whose warn or due time has come; answers how many warned or breached.

    Clocks are judged at what is known: at `applied_through`, the receive time up to which all evidence is applied. Read
    it before the call. Each of at most `batches` transactions judges at most `batch` journeys.
    """
    compiled = compile_catalog(catalog)
    judged_at = min(now, applied_through)
    with engine.begin() as connection:
        commands.send(connection, _watch(connection, now, applied_through), now=now)
        due = _take(connection, judged_at, batch)
        found = _judge(connection, catalog, compiled, due, judged_at, now)
    for _ in range(batches - 1):
        if len(due) < batch:
            break
        with engine.begin() as connection:
            due = _take(connection, judged_at, batch)
            found += _judge(connection, catalog, compiled, due, judged_at, now)
    return found


# --- the watermark ----------------------------------------------------------------------------------------------------


def _watch(connection: sa.Connection, now: datetime, applied_through: datetime) -> list[Signal]:
    """Tell when the watermark lags, and when it has caught up: late clocks are then judged late."""
    lags = now - applied_through > LAG
    told = connection.scalar(
        sa.select(sa.literal(1))
        .where(alerts.c.kind == "platform", alerts.c.rule == _BEHIND, alerts.c.state != "resolved")
        .limit(1)
    )
    if lags == (told is not None):
        return []
    minutes = (now - applied_through) // timedelta(minutes=1)
    return [
        Signal(
            action="raise" if lags else "clear",
            kind="platform",
            rule=_BEHIND,
            group={},
            item="watermark",
            at=applied_through if lags else now,
            title="Milepost is behind: clocks are judged late",
            summary=f"Events received {minutes} minutes ago are not applied yet; no clock is judged beyond them",
            severity="critical",
            why="" if lags else "caught up",
        )
    ]


# --- judging ----------------------------------------------------------------------------------------------------------

Row = tuple[int, bytes]


def due_query(judged_at: datetime, limit: int = BATCH) -> sa.Select[Any]:
    """The journeys with a clock due that nobody else holds, the longest due first."""
    table = running_clocks
    return (
        sa.select(table.c.journey_id, table.c.clocks)
        .where(table.c.next_at <= judged_at)
        .order_by(table.c.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def _take(connection: sa.Connection, judged_at: datetime, limit: int) -> Sequence[Row]:
    return [(row.journey_id, row.clocks) for row in connection.execute(due_query(judged_at, limit))]


@dataclass(slots=True)
class _Due:
    """One journey with what falls due: clocks that run on as `running`, of them those to breach and to warn."""

    journey_id: int
    ended: list[RunningClock]
    running: list[RunningClock] = field(default_factory=list)
    overdue: list[RunningClock] = field(default_factory=list)
    warned: list[RunningClock] = field(default_factory=list)
    unknown: list[RunningClock] = field(default_factory=list)


def _judge(
    connection: sa.Connection,
    catalog: Catalog,
    compiled: Compiled,
    rows: Sequence[Row],
    judged_at: datetime,
    now: datetime,
) -> int:
    if not rows:
        return 0
    found = [_sorted_out(journey_id, clocks, compiled, to_us(judged_at)) for journey_id, clocks in rows]
    loaded = load(connection, _wanted(found, catalog, compiled))
    moved = [_transition(due, loaded.changes.get(due.journey_id)) for due in found]
    store.write(connection, sorted(moved, key=lambda one: one.change.journey_id))
    openings = [opening for one in moved for opening in one.openings]
    book = Book(catalog, compiled, judged_at=judged_at, now=now, names=loaded.names)
    commands.send(connection, ledger.enter(connection, book, openings, []), now=now)
    return sum(len(one.rows) for one in moved)


def _wanted(found: Iterable[_Due], catalog: Catalog, compiled: Compiled) -> list[Wanted]:
    """The journeys that breach, with what their breaches have to tell of members."""
    wanted = []
    for due in found:
        if due.overdue:
            policies = [compiled.policies[clock.policy] for clock in due.overdue]
            members = any(policy.kind == "by" or breach.all_type(policy, catalog) is not None for policy in policies)
            wanted.append(Wanted(due.journey_id, [clock.subject_id for clock in due.overdue], members))
    return wanted


def _sorted_out(journey_id: int, data: bytes, compiled: Compiled, judged_us: int) -> _Due:
    clocks = decode_all_clocks(data)
    due = _Due(journey_id, clocks.ended)
    for clock in clocks.running:
        if clock.breached:
            due.running.append(clock)  # the assembler ends it, also if its policy is gone
            continue
        if clock.policy not in compiled.policies:
            # its policy is gone or disabled: the clock starts again if the policy comes back
            due.unknown.append(clock)
            continue
        due.running.append(clock)
        if clock.due_by(judged_us):
            due.overdue.append(clock)
        elif not clock.warned and clock.warn_us is not None and clock.warn_us <= judged_us:
            due.warned.append(clock)
    return due


def _transition(due: _Due, change: JourneyChange | None) -> Transition:
    """What to write. A journey that is gone, although its clocks are not, has nothing more to breach."""
    if change is None and due.overdue:
        breached = [clock for clock in due.running if clock.breached]
        gone = [transition.key_of(clock) for clock in [*due.running, *due.unknown] if not clock.breached]
        return Transition(_unloaded(due.journey_id), running=breached, gone=gone)
    moved = Transition(change or _unloaded(due.journey_id), running=due.running, ended=due.ended)
    for clock in due.warned:
        clock.warned = True
        moved.rows.append((clock, "warned"))
    for clock in due.overdue:
        clock.warned = clock.breached = True
        moved.rows.append((clock, transition.open_state(clock)))
        moved.openings.append(Opening(moved.change, clock))
    moved.gone = [transition.key_of(clock) for clock in due.unknown]
    return moved


def _unloaded(journey_id: int) -> JourneyChange:
    """A stand-in for a journey of which only the clocks are written."""
    return JourneyChange(journey_id, "", 0, "", "open", 0, 0, 0, None, {}, {}, None, None, ())
