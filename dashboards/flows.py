"""Flows over HTTP: what silences, rates and backlogs were breaches, and what was measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response

from dashboards.answers import Cursor, Limit, Who, answer_page
from dashboards.context import Context
from dashboards.queries import flows as queries
from dashboards.queries.paging import DEFAULT_LIMIT


def add(router: APIRouter, context: Context, who: Who) -> None:
    """The route /v1/flows."""

    @router.get("/flows", tags=["read"], summary="Silences, rates and backlogs", dependencies=[Depends(who)])
    def flows(
        policy: Annotated[str | None, Query(max_length=64, description="Of this policy only")] = None,
        kind: Annotated[Literal["silence", "rate", "backlog"] | None, Query()] = None,
        open: Annotated[bool, Query(description="Only those that are not over")] = False,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        with context.engine.connect() as connection:
            page = queries.list_page(connection, policy=policy, kind=kind, only_open=open, limit=limit, cursor=cursor)
        return answer_page(page, _breach)


def _breach(row: queries.Breach) -> dict[str, Any]:
    values = asdict(row)
    return {"id": values.pop("breach_id"), **values, "alert": values.pop("alert_id")}
