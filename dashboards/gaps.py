"""Gaps over HTTP: milestones that must have happened and weren't seen."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Response

from dashboards.answers import Who, answer, check_journeys
from dashboards.context import Context
from dashboards.queries import gaps as queries

NEWEST: Final = 20_000
"""Journeys of each model that are looked at unless told otherwise: an answer within a second."""
MOST: Final = 1_000_000


def add(router: APIRouter, context: Context, who: Who) -> None:
    """The route /v1/gaps."""

    @router.get("/gaps", tags=["read"], summary="Missing milestones by source", dependencies=[Depends(who)])
    def gaps(
        kind: Annotated[str | None, Query(max_length=64, description="Name of a journey model")] = None,
        days: Annotated[int, Query(ge=1, le=3650, description="Journeys that started in so many days")] = 30,
        newest: Annotated[int, Query(ge=1, le=MOST, description="Look at so many of each model")] = NEWEST,
    ) -> Response:
        catalog, since = context.catalog(), context.clock() - timedelta(days=days)
        check_journeys(catalog, kind)
        with context.engine.connect() as connection:
            found = queries.find(connection, catalog, since=since, model=kind, newest=newest)
        return answer(
            {
                "items": [_gap(gap) for gap in found.gaps],
                "next_cursor": None,
                "untold": [{"kind": model, "milestone": name} for model, name in found.untold],
                "journeys": found.journeys,
            }
        )


def _gap(gap: queries.Gap) -> dict[str, Any]:
    return {
        "source": gap.source,
        "kind": gap.model,
        "milestone": gap.milestone,
        "expected": gap.expected,
        "missing": gap.missing,
        "share": round(gap.share, 4),
        "examples": [
            {"key": one.key, "namespace": one.namespace, "started_at": one.started_at} for one in gap.examples
        ],
    }
