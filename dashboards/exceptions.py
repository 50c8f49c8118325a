"""Exceptions over HTTP: the list, and what is open by group."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from dashboards import shapes
from dashboards.answers import Cursor, Limit, Text, Who, answer, answer_page
from dashboards.context import Context
from dashboards.queries import exceptions as queries
from dashboards.queries.journey import money_text
from dashboards.queries.paging import DEFAULT_LIMIT
from milepost.clock import aware
from milepost.exceptions import Kind


def add(router: APIRouter, context: Context, who: Who) -> None:
    """The routes under /v1/exceptions."""

    @router.get("/exceptions", tags=["read"], summary="List exceptions", dependencies=[Depends(who)])
    def exceptions(
        open: Annotated[bool | None, Query(description="Unresolved, and a journey of it goes on")] = None,
        kind: Annotated[Kind | None, Query(description="business, technical or held")] = None,
        type: Annotated[str | None, Query(max_length=128, description="Of the events that opened it")] = None,
        code: Annotated[str | None, Query(max_length=256, description="Empty: those without a code")] = None,
        source: Text = None,
        since: Annotated[datetime | None, Query(description="Opened then or later")] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        wanted = queries.Filter(open, kind, type, code, source, aware(since))
        with context.engine.connect() as connection:
            return answer_page(queries.list_page(connection, wanted, limit=limit, cursor=cursor), _listed)

    @router.get("/exceptions/groups", tags=["read"], summary="Open exceptions by group", dependencies=[Depends(who)])
    def groups(kind: Annotated[Kind | None, Query()] = None) -> Response:
        with context.engine.connect() as connection:
            found = queries.groups(connection, kind)
        return answer({"items": [_group(group) for group in found], "next_cursor": None})


def _group(group: queries.Group) -> dict[str, Any]:
    names = ("kind", "type", "code", "source", "reason", "count", "oldest_at", "journeys")
    money = {currency: money_text(amount) for currency, amount in sorted(group.money.items())}
    return {**{name: getattr(group, name) for name in names}, "money": money}


def _listed(row: queries.Row) -> dict[str, Any]:
    journeys = [{"kind": item.kind, "key": item.key, "namespace": item.namespace} for item in row.journeys]
    return {**shapes.exception(row), "journeys": journeys}
