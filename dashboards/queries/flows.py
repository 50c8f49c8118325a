"""Breaches of policies that judge a flow: silences, rates, backlogs, with what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from dashboards.queries.paging import DEFAULT_LIMIT, Page, bounded, time_order
from milepost.db.tables import alert_items, flow_breaches

_b: Final = flow_breaches.c
ORDER: Final = time_order(_b.opened_at, _b.breach_id, descending=True)


@dataclass(frozen=True, slots=True)
class Breach:
    """`since`: from when it counted as wrong; `judged_at`: the watermark. `labels`: which source, warehouse, …"""

    breach_id: int
    policy: str
    policy_version: str
    kind: str
    severity: str
    labels: dict[str, str]
    since: datetime
    judged_at: datetime
    opened_at: datetime
    ended_at: datetime | None
    end: str | None
    measured: dict[str, Any]
    alert_id: int | None


def list_page(
    connection: sa.Connection,
    *,
    policy: str | None = None,
    kind: str | None = None,
    only_open: bool = False,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[Breach]:
    """The latest first. Raises Permanent for a bad cursor."""
    names = [name for name in Breach.__dataclass_fields__ if name not in ("labels", "alert_id")]
    alert = sa.select(sa.func.max(alert_items.c.alert_id)).where(
        alert_items.c.item == sa.func.concat("flow:", _b.breach_id)
    )
    wanted = [ORDER.after(cursor)]
    wanted += [_b.policy == policy] if policy else []
    wanted += [_b.kind == kind] if kind else []
    wanted += [_b.ended_at.is_(None)] if only_open else []
    limit = bounded(limit)
    columns = (*(_b[name] for name in names), _b.dimensions.label("labels"), alert.scalar_subquery().label("alert_id"))
    statement = sa.select(*columns).where(*wanted).order_by(*ORDER.by()).limit(limit + 1)
    found = [Breach(**row) for row in connection.execute(statement).mappings()]
    return ORDER.page(found, limit, lambda row: (row.opened_at, row.breach_id))
