"""record.breaches: opens breaches, ends them, and makes the signals that tell alerting. Nothing is ever deleted.

A breach is found by its clock (model, root object, policy, subject, occurrence, start, due), not by its journey's id,
so a rebuild finds the same rows. One that ended and becomes true again is opened again in its row; how it ended before
is kept in evidence["history"].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from alerting.commands import Signal
from alerting.inhibit import AWAITS
from milepost.catalog.schema import Catalog
from milepost.clock import from_us
from milepost.db.document import rows_of
from milepost.db.tables import breaches
from milepost.inbox import tellers
from milepost.journeystate import JourneyChange, RunningClock
from sla import awaited, breach
from sla.policy import Compiled, CompiledPolicy
from sla.transition import Closing, Opening

Key = tuple[str, int, str, int, int, datetime, datetime]
Names = Mapping[int, str]
Tellers = Mapping[tuple[str, str], tellers.Teller]

_KEY: Final = ("model", "root_id", "policy", "subject_id", "occurrence", "started_at", "due_at")
_READ: Final = tuple(
    breaches.c[name] for name in (*_KEY, "breach_id", "opened_at", "ended_at", "end", "stopped_at", "evidence")
)
_NEVER_LATE: Final = ("retracted", "absorbed", "withdrawn")


@dataclass(frozen=True, slots=True)
class Book:
    """What every entry needs: the catalog, when it is judged, and the present. `names` has the keys of objects."""

    catalog: Catalog
    compiled: Compiled
    judged_at: datetime
    now: datetime
    names: Names

    def policy(self, clock: RunningClock) -> CompiledPolicy | None:
        return self.compiled.policies.get(clock.policy)


def enter(
    connection: sa.Connection, book: Book, openings: Sequence[Opening], closings: Sequence[Closing]
) -> list[Signal]:
    """Write the breaches. The signals tell what is wrong first, so that an alert that goes on is never resolved.

    The caller holds the journeys' clocks locked, so no one else writes the same breaches.
    """
    if not openings and not closings:
        return []
    known = _read(connection, [*openings, *closings])
    signals = _open(connection, book, openings, known)
    return signals + _close(connection, book, closings, known)


def key_of(change: JourneyChange, clock: RunningClock) -> Key:
    assert clock.due_us is not None  # what stands still breaches nothing
    started, due = from_us(clock.started_us), from_us(clock.due_us)
    return (change.model, change.root_id, clock.policy, clock.subject_id, clock.occurrence, started, due)


def _read(connection: sa.Connection, entries: Sequence[Opening | Closing]) -> dict[Key, sa.RowMapping]:
    """The breaches of these clocks that exist already."""
    keys = sorted({key_of(entry.change, entry.clock) for entry in entries})
    columns = [breaches.c[name] for name in _KEY]
    arrays = [
        sa.cast(list(values), sa.ARRAY(column.type))
        for values, column in zip(zip(*keys, strict=True), columns, strict=True)
    ]
    wanted = sa.func.unnest(*arrays).table_valued(*_KEY, name="wanted").render_derived()
    on = sa.and_(*(column == wanted.c[column.name] for column in columns))
    rows = connection.execute(sa.select(*_READ).select_from(wanted.join(breaches, on))).mappings()
    return {_key(row): row for row in rows}


def _key(row: sa.RowMapping) -> Key:
    model, root_id, policy, subject_id, occurrence, started, due = (row[name] for name in _KEY)
    return (model, root_id, policy, subject_id, occurrence, started, due)


# --- opening ----------------------------------------------------------------------------------------------------------


def _open(
    connection: sa.Connection, book: Book, openings: Sequence[Opening], known: Mapping[Key, sa.RowMapping]
) -> list[Signal]:
    new: list[tuple[Opening, dict[str, Any]]] = []
    again: list[tuple[Opening, dict[str, Any]]] = []
    ids: dict[Key, int] = {}
    for opening in openings:
        policy = book.policy(opening.clock)
        key = key_of(opening.change, opening.clock)
        row = known.get(key)
        if policy is None or (row is not None and row["ended_at"] is None):
            continue  # open already: a rebuild found it again, and tells nobody
        values = _values(book, policy, opening.change, opening.clock)
        if row is None:
            new.append((opening, values))
        else:
            values["evidence"]["history"] = _history(row)
            again.append((opening, values))
            ids[key] = row["breach_id"]
    _update(connection, [{**values, "b_id": ids[_key_of_row(values)], **_REOPENED} for _, values in again])
    ids |= _insert(connection, [values for _, values in new])
    told_by = tellers.known(connection) if new or again else {}
    return [
        _raise(book, opening, values, ids[_key_of_row(values)], told_by, _heir_of(opening, known))
        for opening, values in new + again
    ]


def _heir_of(opening: Opening, known: Mapping[Key, sa.RowMapping]) -> str:
    """The item of the breach that goes on in this one; it ends in the same entry."""
    row = known.get(key_of(*opening.heir_of)) if opening.heir_of is not None else None
    return "" if row is None else item(row["breach_id"])


def item(breach_id: int) -> str:
    """What alerts call a breach."""
    return f"breach:{breach_id}"


_REOPENED: Final[Mapping[str, None]] = {"ended_at": None, "end": None, "stopped_at": None}


def _values(book: Book, policy: CompiledPolicy, change: JourneyChange, clock: RunningClock) -> dict[str, Any]:
    """A row of record.breaches."""
    return {
        **dict(zip(_KEY, key_of(change, clock), strict=True)),
        "journey_id": change.journey_id,
        "policy_version": clock.policy_version,
        "severity": policy.spec.severity,
        "late_known": clock.due_by(clock.started_received_us),
        "judged_at": book.judged_at,
        "opened_at": book.now,
        "ended_at": None,
        "end": None,
        "stopped_at": None,
        "evidence": breach.evidence(
            policy, book.catalog, clock, change, book.names, book.compiled.relatives[policy.name]
        ),
        "dimensions": breach.dimensions(policy, book.catalog, clock, change),
        "amount": change.amount,
        "currency": change.currency,
    }


def _key_of_row(values: Mapping[str, Any]) -> Key:
    model, root_id, policy, subject_id, occurrence, started, due = (values[name] for name in _KEY)
    return (model, root_id, policy, subject_id, occurrence, started, due)


def _insert(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> dict[Key, int]:
    """Write new breaches."""
    if not rows:
        return {}
    returned = (breaches.c.breach_id, *(breaches.c[name] for name in _KEY))
    statement = sa.insert(breaches).from_select(list(rows[0]), rows_of(breaches, rows)).returning(*returned)
    return {_key(row): row["breach_id"] for row in connection.execute(statement).mappings()}


def _update(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Change breaches; each row names its breach as `b_id`, and all have the same columns."""
    if not rows:
        return
    columns = [name for name in rows[0] if name != "b_id"]
    statement = (
        sa.update(breaches)
        .where(breaches.c.breach_id == sa.bindparam("b_id"))
        .values({name: sa.bindparam(f"v_{name}", type_=breaches.c[name].type) for name in columns})
    )
    connection.execute(
        statement, [{"b_id": row["b_id"], **{f"v_{name}": row[name] for name in columns}} for row in rows]
    )


def _history(row: sa.RowMapping) -> list[dict[str, Any]]:
    """How a breach ended before, the last time last."""
    past = {"opened_at": _text(row["opened_at"]), "ended_at": _text(row["ended_at"]), "end": row["end"]}
    return [*row["evidence"].get("history", []), past]


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _labels(book: Book, policy: CompiledPolicy, dimensions: Mapping[str, str], told_by: Tellers) -> Mapping[str, str]:
    """The dimensions, and which source is to tell what is missing, where that is known."""
    source = awaited.source(policy, book.catalog, told_by, dimensions)
    return {**dimensions, AWAITS: source} if source is not None else dimensions


def _raise(
    book: Book, opening: Opening, values: Mapping[str, Any], breach_id: int, told_by: Tellers, heir_of: str
) -> Signal:
    change, clock = opening.change, opening.clock
    policy = book.compiled.policies[clock.policy]
    spec = policy.spec
    why = values["evidence"]["why"]
    return Signal(
        action="raise",
        kind="sla",
        rule=clock.policy,
        group=breach.group(policy, values["dimensions"]),
        item=item(breach_id),
        at=values["due_at"],
        summary=f"{change.key} {why}",
        title=spec.title or spec.name,
        severity=spec.severity,
        labels=_labels(book, policy, values["dimensions"], told_by),
        amount=change.amount,
        currency=change.currency,
        journey_id=change.journey_id,
        owner=spec.owner,
        runbook=spec.runbook,
        notify=_notifies(opening, policy, book.now - values["due_at"]),
        heir_of=heir_of,
    )


def _notifies(opening: Opening, policy: CompiledPolicy, age: timedelta) -> bool:
    """A breach that was known too late to prevent is told only while it is young."""
    if opening.notify is not None:
        return opening.notify and policy.spec.notify
    young = age < timedelta(microseconds=policy.spec.notify_within.us)
    return policy.spec.notify and (young or not opening.clock.due_by(opening.clock.started_received_us))


# --- ending -----------------------------------------------------------------------------------------------------------


def _close(
    connection: sa.Connection, book: Book, closings: Sequence[Closing], known: Mapping[Key, sa.RowMapping]
) -> list[Signal]:
    ended: list[dict[str, Any]] = []
    new: list[dict[str, Any]] = []
    signals: list[Signal] = []
    for closing in closings:
        row = known.get(key_of(closing.change, closing.clock))
        if row is not None:
            if _amends(closing, row):
                ended.append(_ending(book, closing, row))
            if row["ended_at"] is None:
                signals.append(_clear(book, closing, row["breach_id"]))
        elif closing.record and (policy := book.policy(closing.clock)) is not None:
            new.append(_recorded(book, policy, closing))
    _update(connection, ended)
    _insert(connection, new)
    return signals


def _amends(closing: Closing, row: sa.RowMapping) -> bool:
    """Whether the row doesn't say so already. What was never late stays so, unless it is late for certain."""
    if row["ended_at"] is None or closing.record:
        return bool(row["ended_at"] is None or row["end"] != closing.end or row["stopped_at"] != _stopped(closing))
    return row["end"] not in _NEVER_LATE


def _stopped(closing: Closing) -> datetime | None:
    return None if closing.stopped_us is None else from_us(closing.stopped_us)


def _ending(book: Book, closing: Closing, row: sa.RowMapping) -> dict[str, Any]:
    evidence = {**row["evidence"], "end": _end_evidence(book, closing)}
    if row["ended_at"] is not None:
        evidence["history"] = _history(row)
    return {
        "b_id": row["breach_id"],
        "ended_at": book.now,
        "end": closing.end,
        "stopped_at": _stopped(closing),
        "evidence": evidence,
    }


_ENDS: Final[Mapping[str, str]] = {
    "late": "it came late",
    "retracted": "taken back: by what is known now it was not late",
    "cancelled": "it was cancelled",
    "completed": "the journey is complete, this step was passed over",
    "absorbed": "another journey contains this one and goes on with it",
    "withdrawn": "the policy does not apply any more",
}


def _end_evidence(book: Book, closing: Closing) -> dict[str, Any]:
    """Why it ended in words, and the event that ended it."""
    policy = book.policy(closing.clock)
    proven = closing.stopped_us is not None and closing.end in ("late", "retracted")
    rules = book.compiled.rules
    event = breach.stop_event(policy, closing.clock, closing.change, rules) if policy is not None and proven else None
    return {"why": _ENDS[closing.end], "events": [event] if event is not None else []}


def _recorded(book: Book, policy: CompiledPolicy, closing: Closing) -> dict[str, Any]:
    """A breach that is known only now that it is over: opened and ended together."""
    values = _values(book, policy, closing.change, closing.clock)
    values["evidence"]["end"] = _end_evidence(book, closing)
    return {**values, "ended_at": book.now, "end": closing.end, "stopped_at": _stopped(closing)}


def _clear(book: Book, closing: Closing, breach_id: int) -> Signal:
    stopped = _stopped(closing)
    return Signal(
        action="clear",
        kind="sla",
        rule=closing.clock.policy,
        group={},
        item=item(breach_id),
        at=book.now if stopped is None else stopped,
        why=closing.end,
        journey_id=closing.change.journey_id,
    )
