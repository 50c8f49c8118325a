"""Gaps: milestones that must have happened and weren't seen, by the source that should have told them.

Computed when asked for, over the journeys that started in a window: what each has reached is folded into a bit mask, so
that PostgreSQL answers with some hundred groups however many journeys there are. Whose gap it is: the catalog's
`source` of the milestone, else who mostly tells it, for journeys of the same warehouse, carrier, channel or partner
where that says more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from dashboards.queries.journeys import STATES
from milepost.catalog.schema import Catalog, Model
from milepost.db.tables import journeys, members, milestones, objects
from milepost.gaps import missing, required
from milepost.inbox.tellers import Teller, teller

MAX_RANK: Final = 62
"""What a bit mask holds: later milestones of a longer model are left out."""
EXAMPLES: Final = 5
_j, _m, _ms, _o = journeys.c, members.c, milestones.c, objects.c


@dataclass(frozen=True, slots=True)
class Example:
    key: str
    namespace: str
    started_at: datetime


@dataclass(slots=True)
class Gap:
    """A milestone of a model, as one source should tell it (None: nobody is known to): of `expected` journeys that must
    have it, `missing` don't. `examples` are the newest of these."""

    model: str
    milestone: str
    source: str | None
    expected: int = 0
    missing: int = 0
    examples: list[Example] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.missing / self.expected if self.expected else 0.0


@dataclass(slots=True)
class Report:
    """The gaps, the most frequent first; `untold`: milestones (by model) that nobody told at all, which is no gap of
    single journeys; `journeys`: how many were looked at, by model."""

    gaps: list[Gap] = field(default_factory=list)
    untold: list[tuple[str, str]] = field(default_factory=list)
    journeys: dict[str, int] = field(default_factory=dict)


def find(
    connection: sa.Connection,
    catalog: Catalog,
    *,
    since: datetime,
    model: str | None = None,
    newest: int | None = None,
) -> Report:
    """The gaps of journeys that started at `since` or later, of one model or of all.

    `newest`: only so many of each model, for an answer at once.
    """
    report = Report()
    for name, one in catalog.models.items():
        if model in (None, name):
            _add(connection, report, name, one, since, newest)
    report.gaps.sort(key=lambda gap: (-gap.missing, gap.model, gap.milestone, gap.source or ""))
    return report


def _add(
    connection: sa.Connection, report: Report, name: str, model: Model, since: datetime, newest: int | None
) -> None:
    tellers = {
        rank: Teller(None, {}, step.source) if step.source else teller(connection, name, step.name, since)
        for rank, step in required(model)
        if rank <= MAX_RANK
    }
    by = sorted({teller.dimension for teller in tellers.values() if teller.dimension is not None})
    rows = connection.execute(select_groups(name, model, since, by, newest)).mappings().all()
    report.journeys[name] = sum(row["journeys"] for row in rows)
    found: defaultdict[tuple[int, str | None], Gap] = defaultdict(lambda: Gap(name, "", None))
    examples: defaultdict[tuple[int, str | None], list[int]] = defaultdict(list)
    reached = 0
    for row in rows:
        reached |= row["mask"]
        for rank, is_missing in _expected(model, row["mask"], row["types"]):
            source = tellers[rank].source(row)
            gap = found[rank, source]
            gap.milestone, gap.source = model.milestones[rank].name, source
            gap.expected += row["journeys"]
            if is_missing:
                gap.missing += row["journeys"]
                examples[rank, source] += row["newest"]
    told = [key for key, gap in found.items() if gap.missing and reached >> key[0] & 1]
    report.gaps += [found[key] for key in told]
    report.untold += [(name, step.name) for rank, step in required(model) if _untold(rank, reached, found)]
    _name(connection, [(found[key], examples[key]) for key in told])


def _untold(rank: int, reached: int, found: Iterable[tuple[int, str | None]]) -> bool:
    return not reached >> rank & 1 and any(rank == other for other, _ in found)


def _expected(model: Model, mask: int, types: Sequence[str] | None) -> list[tuple[int, bool]]:
    """The ranks that must be reached by what is, each with whether it is missing."""
    flow = mask & _flow(model)
    return [
        (rank, not mask >> rank & 1)
        for rank, step in required(model)
        if rank <= MAX_RANK and (mask >> rank & 1 or (flow >> rank and (step.all is None or step.all in (types or ()))))
    ]


def _flow(model: Model) -> int:
    return sum(1 << rank for rank, step in enumerate(model.milestones[: MAX_RANK + 1]) if not step.beside)


def select_groups(
    name: str, model: Model, since: datetime, dimensions: Sequence[str], newest: int | None
) -> sa.Select[Any]:
    """Journeys by what they reached and the dimensions that matter: how many, and the newest of them.

    `types` are those of the members that a missing milestone asks for: only where one is missing they are looked up.
    """
    chosen = _chosen(name, since, dimensions, newest)
    bit = sa.cast(sa.literal(1), sa.BigInteger).op("<<")(sa.cast(_ms.rank, sa.Integer))
    mask = sa.func.coalesce(sa.func.bit_or(bit).filter(_ms.rank <= MAX_RANK), 0).label("mask")
    seen = chosen.outerjoin(milestones, _ms.journey_id == chosen.c.journey_id)
    columns = [chosen.c[column] for column in ("journey_id", *dimensions)]
    each = sa.select(*columns, mask).select_from(seen).group_by(*columns).cte("each")
    typed = sa.select(each, _types(model, each).label("types")).cte("typed")
    group = [typed.c.mask, typed.c.types, *(typed.c[dimension] for dimension in dimensions)]
    ids = sa.func.array_agg(aggregate_order_by(typed.c.journey_id, typed.c.journey_id.desc()))
    some = sa.type_coerce(ids, sa.ARRAY(sa.BigInteger))[1:EXAMPLES].label("newest")
    return sa.select(*group, sa.func.count().label("journeys"), some).group_by(*group)


def _chosen(name: str, since: datetime, dimensions: Sequence[str], newest: int | None) -> sa.CTE:
    """The journeys to look at; the newest are taken from each state, as the index has them."""
    columns = [_j.journey_id, _j.started_at, *(_j[dimension] for dimension in dimensions)]
    of = sa.select(*columns).where(_j.model == name, _j.started_at >= since)
    if newest is None:
        return of.cte("chosen")
    parts = (of.where(_j.state == state).order_by(_j.started_at.desc()).limit(newest) for state in STATES)
    every = sa.union_all(*(sa.select(part.subquery()) for part in parts)).subquery("every")
    return sa.select(every).order_by(every.c.started_at.desc()).limit(newest).cte("chosen")


def _types(model: Model, each: sa.CTE) -> sa.ColumnElement[Any]:
    """The types among those of `all:` steps that a journey has members of, where such a step seems to be missing."""
    flow = _flow(model)
    open_: list[sa.ColumnElement[bool]] = []
    wanted = set()
    for rank, step in required(model):
        if step.all is not None and rank <= MAX_RANK:
            later = flow & ~((1 << rank + 1) - 1)
            open_.append(sa.and_(each.c.mask.op("&")(1 << rank) == 0, each.c.mask.op("&")(later) != 0))
            wanted.add(step.all)
    if not open_:
        return sa.null()
    held = sa.select(sa.func.array_agg(sa.distinct(_o.type))).select_from(
        members.join(objects, _o.object_id == _m.object_id)
    )
    held = held.where(_m.journey_id == each.c.journey_id, _o.type.in_(sorted(wanted)))
    return sa.case((sa.or_(*open_), held.scalar_subquery()))


def of_journey(connection: sa.Connection, model: Model, reached: Collection[str], types: Collection[str]) -> list[str]:
    """The milestones that are missing in one journey; those that nobody ever told are left out."""
    names = [step.name for step in missing(model, reached, types)]
    if not names:
        return []
    wanted = sa.func.unnest(sa.literal(names, sa.ARRAY(sa.Text))).table_valued("name").render_derived()
    told = sa.select(_ms.journey_id).where(_ms.name == wanted.c.name).exists()
    known = set(connection.scalars(sa.select(wanted.c.name).where(told)))
    return [name for name in names if name in known]


def _name(connection: sa.Connection, found: Sequence[tuple[Gap, list[int]]]) -> None:
    """Put the newest journeys of each gap into it."""
    wanted = {journey_id for _, ids in found for journey_id in ids}
    columns = sa.select(_j.journey_id, _j.key, _j.namespace, _j.started_at).where(_j.journey_id.in_(sorted(wanted)))
    known = {row.journey_id: Example(row.key, row.namespace, row.started_at) for row in connection.execute(columns)}
    for gap, ids in found:
        examples = sorted((known[one] for one in ids if one in known), key=lambda one: one.started_at, reverse=True)
        gap.examples = examples[:EXAMPLES]
