"""Policies over HTTP: what one said when it had a version, also when it was changed or removed since."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Path, Query, Response

from dashboards.answers import Who, answer
from dashboards.context import Context
from milepost.clock import aware
from milepost.decisions import catalog as decided
from milepost.errors import NotFound

Name = Annotated[str, Path(max_length=64)]


def add(router: APIRouter, context: Context, who: Who) -> None:
    """The route /v1/policies/{policy}/{version}."""

    @router.get(
        "/policies/{policy}/{version}", tags=["read"], summary="A policy as it was", dependencies=[Depends(who)]
    )
    def policy_version(
        policy: Name,
        version: Name,
        at: Annotated[datetime | None, Query(description="When it counted: where to look first")] = None,
        format_: Annotated[Literal["json", "text"], Query(alias="format")] = "json",
    ) -> Response:
        with context.engine.connect() as connection:
            found = decided.policy_of(connection, policy, version, aware(at) or context.clock())
        if found is None:
            raise NotFound(f"no catalog ever had a policy {policy}")
        applied, text = found.catalog, found.text
        if format_ == "text":
            origin = f"of catalog {applied.version}, in force since {applied.at:%Y-%m-%d %H:%M}Z"
            return Response(f"# {policy}, version {version}, {origin}\n{text}", media_type="text/plain; charset=utf-8")
        return answer(
            {
                "policy": policy,
                "version": version,
                "catalog": applied.version,
                "in_force_since": applied.at,
                "by": applied.by,
                "certain": found.certain,
                "text": text,
            }
        )


def text_href(policy: str, version: str, at: datetime) -> str:
    """Where people read it."""
    query = urlencode({"at": at.isoformat(), "format": "text"})
    return f"/v1/policies/{quote(policy)}/{quote(version)}?{query}"
