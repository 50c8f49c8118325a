"""Which source tells a milestone: the catalog's `source` of it, else who mostly does.

Where that says more, who mostly does for journeys of the same warehouse, carrier, channel or partner.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from milepost.db.tables import events, journeys, milestones, tellers, volume_hours

DIMENSIONS: Final = ("channel", "warehouse", "carrier", "partner")
EVIDENCE: Final = 120
"""Events of a milestone from which it is judged who tells it."""
LOOKED_AT: Final = 2_000
"""Milestones of a name that are looked at for these: several models may have one of that name."""
CLEARER: Final = 0.1
"""By how much a dimension must tell sources apart better than none does."""
_j, _ms, _e = journeys.c, milestones.c, events.c


@dataclass(frozen=True, slots=True)
class Teller:
    """Who tells a milestone: `by` the values of a dimension, or else `mostly`."""

    dimension: str | None
    by: Mapping[str, str]
    mostly: str | None

    def source(self, row: sa.RowMapping | Mapping[str, str]) -> str | None:
        return self.by.get(row.get(self.dimension, ""), self.mostly) if self.dimension is not None else self.mostly

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(dimension, value, source) as derived.tellers has them."""
        if self.mostly is not None:
            yield "", "", self.mostly
        if self.dimension is not None:
            yield from ((self.dimension, value, source) for value, source in self.by.items())


def teller(connection: sa.Connection, model: str, milestone: str, since: datetime) -> Teller:
    """Judged by the milestones of a model that were reached last, since `since`."""
    recent = (
        sa.select(_ms.journey_id, _ms.event_no, _ms.received_at)
        .where(_ms.name == milestone, _ms.reached_at >= since)
        .order_by(_ms.reached_at.desc())
        .limit(LOOKED_AT)
        .subquery("recent")
    )
    one = (
        sa.select(_e.source)
        .where(_e.event_no == recent.c.event_no, _e.received_at == recent.c.received_at)
        .limit(1)  # a pair is one event; without it PostgreSQL may join instead, and read every chunk
        .lateral("one")
    )
    of = recent.join(journeys, sa.and_(_j.journey_id == recent.c.journey_id, _j.model == model)).join(one, sa.true())
    statement = sa.select(one.c.source, *(_j[name] for name in DIMENSIONS)).select_from(of).limit(EVIDENCE)
    return judge([dict(row) for row in connection.execute(statement).mappings()])


def judge(told: Sequence[Mapping[str, Any]]) -> Teller:
    """Who tells a milestone, from examples with `source` and dimensions: pure."""
    by: dict[str, dict[str, Counter[str]]] = {dimension: defaultdict(Counter) for dimension in DIMENSIONS}
    for row in told:
        for dimension in DIMENSIONS:
            if row[dimension] is not None:
                by[dimension][row[dimension]][row["source"]] += 1
    return weigh(Counter(row["source"] for row in told), by)


def weigh(overall: Counter[str], by: Mapping[str, Mapping[str, Counter[str]]]) -> Teller:
    """The same from counts by source, of all and of each value of a dimension: pure. The dimension that tells sources
    apart best counts, where it does so clearly better than none."""
    total = overall.total()
    if not total:
        return Teller(None, {}, None)
    mostly = _most(overall)
    best, right = None, overall[mostly] / total + CLEARER
    for dimension, counts in by.items():
        known = sum(count.total() for count in counts.values())
        hits = sum(max(count.values()) for count in counts.values())
        rest = overall[mostly] / total * (total - known)
        if (hits + rest) / total > right:
            best, right = dimension, (hits + rest) / total
    values = by[best] if best is not None else {}
    return Teller(best, {value: _most(count) for value, count in values.items()}, mostly)


def _most(counts: Counter[str]) -> str:
    return min(counts, key=lambda source: (-counts[source], source))


def counted(connection: sa.Connection, since: datetime) -> dict[str, Told]:
    """By event type who told how many of what happened since then, as the recorder counted them.

    Not from the latest events: the ones of a source that is silent would not be among them.
    """
    v = volume_hours.c
    query = sa.select(v.type, v.dimension, v.source, sa.func.sum(v.events)).where(v.hour >= since)
    found: defaultdict[str, Told] = defaultdict(Told)
    for kind, dimension, source, number in connection.execute(query.group_by(v.type, v.dimension, v.source)):
        name, _, value = dimension.partition("=")
        counts = found[kind].by.setdefault(name, {}).setdefault(value, Counter()) if name else found[kind].overall
        counts[source] += int(number)
    return dict(found)


@dataclass(slots=True)
class Told:
    """Events by source, of all and by dimension and value."""

    overall: Counter[str] = field(default_factory=Counter)
    by: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)

    def add(self, other: Told) -> None:
        self.overall += other.overall
        for dimension, values in other.by.items():
            for value, counts in values.items():
                own = self.by.setdefault(dimension, {}).setdefault(value, Counter())
                own += counts

    @property
    def teller(self) -> Teller:
        return weigh(self.overall, {name: self.by[name] for name in DIMENSIONS if name in self.by})


def known(connection: sa.Connection) -> dict[tuple[str, str], Teller]:
    """Who tells each milestone, by model and milestone, as it was learnt last (derived.tellers)."""
    t = tellers.c
    found: defaultdict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for row in connection.execute(sa.select(t.model, t.milestone, t.dimension, t.value, t.source)):
        found[row.model, row.milestone].append((row.dimension, row.value, row.source))
    return {step: _of_rows(rows) for step, rows in found.items()}


def _of_rows(rows: Sequence[tuple[str, str, str]]) -> Teller:
    by = {value: source for dimension, value, source in rows if dimension}
    dimension = next((dimension for dimension, _, _ in rows if dimension), None)
    return Teller(dimension, by, next((source for dimension, _, source in rows if not dimension), None))
