"""What a report on SLAs is made of: clocks that fell due in a month, by what they concern, and the breaches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from dashboards.queries.objectives import COLUMNS, SOURCE, Breach, breach
from milepost.catalog.objective import IN_TIME, NOT_IN_TIME
from milepost.db.tables import breaches, clocks, journeys, object_states
from milepost.journeystate import decode_object

DIMENSIONS: Final = ("partner", "carrier", "warehouse", "channel")
BREACHES: Final = 100_000
"""So many one report lists at most."""
AT_ONCE: Final = 5_000
Spans = Mapping[str, tuple[datetime, datetime]]
"""By policy, the first instant that counts and the first that doesn't; "" for policies that are none any more."""

_k, _j, _b = clocks.c, journeys.c, breaches.c


@dataclass(frozen=True, slots=True)
class Tally:
    """Clocks of a policy that have the same `values` (of DIMENSIONS; None: not known), and those that were missed."""

    policy: str
    values: tuple[str | None, ...]
    clocks: int
    misses: int


def tallies(connection: sa.Connection, spans: Spans) -> list[Tally]:
    """What fell due and has an outcome. A clock's values are its breach's, its own object's, or its journey's."""
    total: Counter[tuple[str, tuple[str | None, ...]]] = Counter()
    missed: Counter[tuple[str, tuple[str | None, ...]]] = Counter()
    for policy, *known, count, misses in connection.execute(_of_journeys(spans)):
        total[policy, tuple(known)] += count
        missed[policy, tuple(known)] += misses
    for policy, values, late in _of_members(connection, spans):
        total[policy, values] += 1
        missed[policy, values] += late
    return [Tally(*key, count, missed[key]) for key, count in total.items()]


_LATE: Final = _k.state.in_(NOT_IN_TIME)
_SAME: Final = sa.and_(
    _b.model == _j.model,
    _b.root_id == _j.root_id,
    *(_b[name] == _k[name] for name in ("policy", "subject_id", "occurrence", "started_at", "due_at")),
    _LATE,
)
_CLOCKS: Final = clocks.outerjoin(journeys, _j.journey_id == _k.journey_id).outerjoin(breaches, _SAME)
_OWN: Final = _k.subject_id == sa.func.coalesce(_j.root_id, _k.subject_id)
"""The clock runs on the journey as a whole, not on a member."""


def _of_journeys(spans: Spans) -> sa.Select[Any]:
    values = [sa.func.coalesce(_b.dimensions[name].astext, _j[name]).label(name) for name in DIMENSIONS]
    numbers = (sa.func.count(), sa.func.count().filter(_LATE))
    return (
        sa.select(_k.policy, *values, *numbers)
        .select_from(_CLOCKS)
        .where(_within(_k.policy, _k.due_at, spans), _k.state.in_((*IN_TIME, *NOT_IN_TIME)), _OWN)
        .group_by(_k.policy, *values)
    )


def _of_members(connection: sa.Connection, spans: Spans) -> Iterator[tuple[str, tuple[str | None, ...], bool]]:
    """Clocks on members, whose own warehouse or carrier counts: only their state knows it."""
    told = sa.func.jsonb_build_object(*(part for name in DIMENSIONS for part in (sa.literal(name), _j[name])))
    query = (
        sa.select(_k.policy, _LATE.label("late"), _b.dimensions, told.label("journey"), object_states.c.state)
        .select_from(_CLOCKS.outerjoin(object_states, object_states.c.object_id == _k.subject_id))
        .where(_within(_k.policy, _k.due_at, spans), _k.state.in_((*IN_TIME, *NOT_IN_TIME)), ~_OWN)
    )
    for row in connection.execution_options(yield_per=AT_ONCE).execute(query):
        own = decode_object(row.state).values() if row.state is not None else {}
        known = {**row.journey, **{name: str(value) for name, value in own.items() if value not in (None, "")}}
        known |= row.dimensions or {}
        yield row.policy, tuple(known.get(name) for name in DIMENSIONS), row.late


def found(connection: sa.Connection, spans: Spans) -> list[Breach]:
    """The breaches that fell due, the oldest first, with what their journeys know of DIMENSIONS."""
    values = [_j[name].label(f"j_{name}") for name in DIMENSIONS]
    query = (
        sa.select(*COLUMNS, *values)
        .select_from(SOURCE)
        .where(_within(_b.policy, _b.due_at, spans))
        .order_by(_b.due_at, _b.breach_id)
        .limit(BREACHES)
    )
    return [_breach(row) for row in connection.execute(query).mappings()]


def _breach(row: sa.RowMapping) -> Breach:
    plain: Any = {name: value for name, value in row.items() if not name.startswith("j_")}
    known = {name: row[f"j_{name}"] for name in DIMENSIONS if row[f"j_{name}"] is not None}
    made = breach(plain)
    return replace(made, dimensions={**known, **made.dimensions})


def _within(policy: sa.ColumnElement[str], due: sa.ColumnElement[Any], spans: Spans) -> sa.ColumnElement[bool]:
    by_span: dict[tuple[datetime, datetime], list[str]] = {}
    for name, span in spans.items():
        by_span.setdefault(span, []).append(name)
    known = [name for name in spans if name]
    parts = []
    for (since, until), names in by_span.items():
        mine = [name for name in names if name]
        whose = [policy.in_(mine)] if mine else []
        whose += [policy.not_in(known)] if "" in names else []
        parts.append(sa.and_(due >= since, due < until, sa.or_(*whose)))
    return sa.or_(*parts)
