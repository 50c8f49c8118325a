"""derived.running_clocks and derived.clocks: keeps the clocks of journeys that change, in the assembler's transaction.

A journey's clocks are one row of bytes with its next time; reading and writing is one statement each for a whole batch,
and only what really changes is written. A clock is a row of derived.clocks from when it warns, breaches or ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from alerting import commands
from alerting.commands import Signal
from milepost.catalog.schema import Catalog
from milepost.clock import to_us
from milepost.db.engine import array_literal, database_errors
from milepost.db.staging import Rows, save, wire_time
from milepost.db.tables import alert_items, alerts, clocks, running_clocks
from milepost.journeystate import JourneyChange, JourneyClocks, RunningClock, decode_all_clocks, encode_clocks
from sla import ledger, transition
from sla.evaluate import Key, evaluate
from sla.ledger import Book
from sla.policy import Compiled, Verdict, compile_catalog
from sla.transition import Transition

_READ: Final = """
    SELECT journey_id, clocks FROM derived.running_clocks
    WHERE journey_id = ANY(%s::bigint[]) ORDER BY journey_id FOR UPDATE
"""

FAULT: Final = "sla-policy"
"""The rule of alerts on what is wrong with policies."""


class Clocks:
    """The SLA engine's side of the assembler. Holds what it has reported, so that nothing is told twice."""

    def __init__(self) -> None:
        self._reported: set[tuple[str, str, str]] = set()
        self._versions: set[str] = set()

    def on_journeys_changed(
        self, connection: sa.Connection, catalog: Catalog, changes: Sequence[JourneyChange], now: datetime
    ) -> None:
        """Bring the clocks of changed journeys up to date, in the caller's transaction. Each journey comes once."""
        if not changes:
            return
        compiled = compile_catalog(catalog)
        now_us = to_us(now)
        ordered = sorted(changes, key=_journey_id)
        before = read(connection, [change.journey_id for change in ordered if not change.new])
        verdicts: list[Verdict] = []
        found: list[Transition] = []
        for change in ordered:
            former = before.get(change.journey_id)
            known = by_key(former) if former is not None else {}
            evaluation = evaluate(compiled, change, known)
            verdicts += evaluation.verdicts
            moved = transition.settle(change, evaluation.clocks, former, known, compiled, now_us)
            if moved is not None:
                if change.quiet:
                    transition.hush(moved, known, now_us)
                found.append(moved)
        transition.take_over(found, now_us)
        write(connection, found)
        openings = [opening for moved in found for opening in moved.openings]
        closings = [closing for moved in found for closing in moved.closings]
        book = Book(catalog, compiled, judged_at=now, now=now, names={})
        signals = ledger.enter(connection, book, openings, closings)
        faults = [*self._mended(connection, compiled, now), *self._report(compiled, verdicts, now)]
        commands.send(connection, [*signals, *faults], now=now)

    def _mended(self, connection: sa.Connection, compiled: Compiled, now: datetime) -> list[Signal]:
        """What was wrong with policies that work in a version seen for the first time. What still is is told anew."""
        if compiled.version in self._versions:
            return []
        self._versions.add(compiled.version)
        a, i = alerts.c, alert_items.c
        query = (
            sa.select(i.item, i.labels["policy"].astext.label("policy"))
            .join(alerts, a.alert_id == i.alert_id)
            .where(a.kind == "platform", a.rule == FAULT, a.state != "resolved", i.cleared_at.is_(None))
        )
        found = connection.execute(query.order_by(i.item)).all()
        return [
            Signal("clear", "platform", FAULT, {}, row.item, now, why="the policy was changed")
            for row in found
            if row.policy not in compiled.disabled
        ]

    def _report(self, compiled: Compiled, verdicts: Iterable[Verdict], now: datetime) -> list[Signal]:
        """What is wrong with policies, each told once in a process."""
        told = [Verdict(name, "faulty policy", detail) for name, detail in compiled.disabled.items()]
        signals = []
        for verdict in (*told, *verdicts):
            mark = (compiled.version, verdict.policy, verdict.reason)
            if mark not in self._reported:
                self._reported.add(mark)
                signals.append(_fault(verdict, now))
        return signals


def _fault(verdict: Verdict, now: datetime) -> Signal:
    broken = verdict.reason == "faulty policy"
    return Signal(
        action="raise",
        kind="platform",
        rule=FAULT,
        group={"policy": verdict.policy},
        item=f"{verdict.policy}: {verdict.reason}",
        at=now,
        summary=f"SLA policy {verdict.policy}: {verdict.reason}: {verdict.detail}",
        title="An SLA policy can't be judged" if broken else "An SLA policy can't judge some journeys",
        severity="critical" if broken else "warning",
        labels={"policy": verdict.policy},
        notify=broken,
    )


def _journey_id(change: JourneyChange) -> int:
    return change.journey_id


def by_key(clocks: JourneyClocks) -> dict[Key, RunningClock]:
    """All clocks of a journey by their identity."""
    known = {transition.key_of(clock): clock for clock in clocks.ended}
    for clock in clocks.running:
        known[transition.key_of(clock)] = clock
    return known


def read(connection: sa.Connection, journey_ids: Sequence[int]) -> dict[int, JourneyClocks]:
    """The clocks of journeys as they were last written, locked in the order of the journeys."""
    with _cursor(connection) as cursor:
        cursor.execute(_READ, [array_literal(journey_ids)])
        return {journey_id: decode_all_clocks(clocks) for journey_id, clocks in cursor}


def write(connection: sa.Connection, found: Sequence[Transition]) -> None:
    """Write what changed, sorted by journey."""
    packed, rows = Rows(), Rows()
    for moved in found:
        journey_id, new = moved.change.journey_id, moved.change.new
        if moved.empty:
            packed.gone.append((journey_id,))
        else:
            (packed.new if new else packed.changed).append(_packed(moved))
        rows.gone += [(journey_id, *key) for key in moved.gone]
        (rows.new if new else rows.changed).extend([_row(journey_id, *row) for row in moved.rows])
    save(connection, running_clocks, ["journey_id"], packed)
    save(connection, clocks, ["journey_id", "policy", "subject_id", "occurrence"], rows)


@contextmanager
def _cursor(connection: sa.Connection) -> Iterator[psycopg.Cursor[Any]]:
    """The driver's cursor, in the connection's transaction, for binary values."""
    if not connection.in_transaction():
        connection.begin()
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with database_errors(), driver.cursor(binary=True) as cursor:
        yield cursor


def _packed(moved: Transition) -> tuple[Any, ...]:
    running = moved.running
    data = encode_clocks(running, moved.ended)
    at_risk, breached = transition.at_risk(running), transition.breached(running)
    at = moved.next_us
    return (moved.change.journey_id, None if at is None else wire_time(at), at_risk, breached, data)


def _row(journey_id: int, clock: RunningClock, state: str) -> tuple[Any, ...]:
    return (
        journey_id,
        clock.policy,
        clock.subject_id,
        clock.occurrence,
        clock.policy_version,
        state,
        wire_time(clock.started_us),
        None if clock.due_us is None else wire_time(clock.due_us),
        None if clock.stopped_us is None else wire_time(clock.stopped_us),
    )
