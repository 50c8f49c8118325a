"""Which source tells a milestone: the catalog's `source` of it, else who mostly does.

Where that says more, who mostly does for journeys of the same warehouse, carrier, channel or partner.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from milepost.db.tables import events, journeys, milestones, tellers

DIMENSIONS: Final = ("channel", "warehouse", "carrier", "partner")
WEEKS: Final = timedelta(days=28)
SLICES: Final = 8
"""Into so many parts the time is cut from which is judged who tells a milestone …"""
EVIDENCE: Final = 20
"""… by so many events of each …"""
LOOKED_AT: Final = 300
"""… out of so many milestones of a name: several models may have one of that name."""
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
    """Judged by milestones of a model that were reached since then, in the last weeks of it.

    They are taken from all over that time: among the latest there are none of a source that is silent.
    """
    newest = connection.scalar(sa.select(sa.func.max(_ms.reached_at)).where(_ms.name == milestone))
    if newest is None or newest < since:
        return Teller(None, {}, None)
    until = newest + timedelta(microseconds=1)
    length = min(until - since, WEEKS) / SLICES
    ends = [until - length * number for number in range(SLICES)]
    slices = [_slice(model, milestone, end - length, end) for end in ends]
    rows = connection.execute(sa.union_all(*(sa.select(one) for one in slices))).mappings()
    return judge([dict(row) for row in rows])


def _slice(model: str, milestone: str, since: datetime, until: datetime) -> sa.Subquery:
    """Who told the last milestones of a part of the time, and for which journeys."""
    recent = (
        sa.select(_ms.journey_id, _ms.event_no, _ms.received_at)
        .where(_ms.name == milestone, _ms.reached_at >= since, _ms.reached_at < until)
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
    return sa.select(one.c.source, *(_j[name] for name in DIMENSIONS)).select_from(of).limit(EVIDENCE).subquery()


def judge(told: Sequence[Mapping[str, Any]]) -> Teller:
    """Who tells a milestone, from examples with `source` and dimensions: pure. The dimension that tells sources apart
    best counts, where it does so clearly better than none."""
    overall = Counter(row["source"] for row in told)
    if not overall:
        return Teller(None, {}, None)
    mostly = _most(overall)
    best, by, right = None, {}, overall[mostly] / len(told) + CLEARER
    for dimension in DIMENSIONS:
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in told:
            if row[dimension] is not None:
                counts[row[dimension]][row["source"]] += 1
        known = sum(count.total() for count in counts.values())
        hits = sum(max(count.values()) for count in counts.values())
        rest = overall[mostly] / len(told) * (len(told) - known)
        if (hits + rest) / len(told) > right:
            best, right = dimension, (hits + rest) / len(told)
            by = {value: _most(count) for value, count in counts.items()}
    return Teller(best, by, mostly)


def _most(counts: Counter[str]) -> str:
    return min(counts, key=lambda source: (-counts[source], source))


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
