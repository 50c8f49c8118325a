"""What the chain found beside what the oracle says, and what people would have heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from milepost.clock import from_us, to_us
from milepost.db.tables import alerts, breaches, notifications, objects
from simulator.season import Incident, Kind
from tests.integration.year.oracle import Breach, Key, Obj, Rules

Told = tuple[Key, str | None, int | None]
"""A breach, how it ended, and when what ended it happened."""
PROMISES: Final[Mapping[Kind, tuple[str, tuple[str, str], str]]] = {
    "mute": ("warehouse-acknowledgement", ("warehouse", "north"), "N/"),
    "dark": ("shipment-first-scan", ("carrier", "gls"), "GL7700"),
    "refusing": ("order-confirmation", ("channel", "marketplace"), "MA-"),
}
"""The policy that an incident breaks, whose alert it is, and how the keys begin of what it concerns."""


def recorded(engine: sa.Engine) -> set[Told]:
    """All breaches that the chain has on record."""
    b = breaches.c
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(b.model, b.root_id, b.policy, b.subject_id, b.started_at, b.due_at, b.end, b.stopped_at)
        ).all()
        ids = {row.root_id for row in rows} | {row.subject_id for row in rows}
        o = objects.c
        query = sa.select(o.object_id, o.type, o.namespace, o.key).where(o.object_id.in_(ids))
        names: dict[int, Obj] = {row[0]: (row[1], row[2], row[3]) for row in connection.execute(query)}
    return {(_key(row, names), row.end, None if row.stopped_at is None else to_us(row.stopped_at)) for row in rows}


def _key(row: sa.Row[Any], names: Mapping[int, Obj]) -> Key:
    started, due = to_us(row.started_at), to_us(row.due_at)
    return Key(row.model, names[row.root_id], row.policy, names[row.subject_id], started, due)


def expected(found: Mapping[Key, Breach]) -> set[Told]:
    return {(key, one.end, one.stopped) for key, one in found.items()}


@dataclass(frozen=True)
class Verdict:
    """What became of an incident: whether it broke a promise, and when somebody was told while it lasted."""

    incident: Incident
    hurt: int
    told: datetime | None


def judge(engine: sa.Engine, incidents: Sequence[Incident], found: Mapping[Key, Breach]) -> list[Verdict]:
    """Each incident with the breaches that it made (those of its promise that opened while it lasted)."""
    with engine.connect() as connection:
        a, n = alerts.c, notifications.c
        query = sa.select(a.rule, a.group, n.created_at).join(notifications, n.alert_id == a.alert_id)
        said = connection.execute(query.where(n.event.in_(["opened", "reopened", "updated"]))).all()
    verdicts = []
    for one in incidents:
        policy, (name, value), begin = PROMISES[one.kind]
        begins, ends = (int(at * 1_000_000) for at in (one.span.begins, one.span.ends))
        hurt = sum(
            breach.opened is not None and begins < breach.opened <= ends
            for key, breach in found.items()
            if key.policy == policy and key.subject[2].startswith(begin)
        )
        times = [
            row.created_at
            for row in said
            if row.rule == policy and row.group.get(name) == value and from_us(begins) < row.created_at <= from_us(ends)
        ]
        verdicts.append(Verdict(one, hurt, min(times, default=None)))
    return verdicts


def closed(found: Mapping[Key, Breach], rules: Rules) -> list[Key]:
    """Breaches that fell due while their calendar was closed: there must be none."""
    hours = {one["name"]: rules.hours[one.get("calendar", "always")] for one in rules.policies if one["kind"] != "by"}
    return [key for key in found if key.policy in hours and not hours[key.policy].is_open(key.due)]


def per_day(engine: sa.Engine) -> tuple[Counter[str], Counter[str]]:
    """Alerts that opened, and messages, by day (UTC)."""
    with engine.connect() as connection:
        opened = connection.scalars(sa.select(alerts.c.opened_at)).all()
        said = connection.scalars(sa.select(notifications.c.created_at)).all()
    alerts_by, said_by = (Counter(at.astimezone(UTC).date().isoformat() for at in times) for times in (opened, said))
    return alerts_by, said_by
