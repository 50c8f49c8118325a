"""Notifications over HTTP: what was given up, sending it after all, and trying a route with a sample."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from alerting import outbox, rehearsal
from dashboards.answers import BIGGEST, Limit, Text, Who, answer
from dashboards.context import Context
from dashboards.queries.paging import DEFAULT_LIMIT
from dashboards.session import Person
from milepost.errors import Permanent

MOST: Final = 10
"""Channels that one request sends samples to."""
Name = Annotated[str, Field(min_length=1, max_length=130)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Again(_Body):
    """These notifications, or all that were given up of a channel."""

    numbers: Annotated[list[Annotated[int, Field(ge=1, le=BIGGEST)]], Field(max_length=1000)] = []
    channel: Name | None = None


class Sample(_Body):
    """`channels`: instead of those of the routes. `dry_run` answers where it would go, and sends nothing."""

    labels: Annotated[dict[Name, Annotated[str, Field(max_length=256)]], Field(max_length=50)] = {}
    channels: Annotated[list[Name], Field(max_length=MOST)] = []
    dry_run: bool = False


def add(router: APIRouter, context: Context, who: Who) -> None:
    """Parked notifications, and samples."""

    @router.get(
        "/notifications/parked", tags=["read"], summary="List notifications that were given up",
        dependencies=[Depends(who)],
    )  # fmt: skip
    def parked(channel: Text = None, limit: Limit = DEFAULT_LIMIT) -> Response:
        with context.engine.connect() as connection:
            found = outbox.parked(connection, limit=limit, channel=channel)
        return answer({"items": [msgspec.to_builtins(one) for one in found], "next_cursor": None})

    @router.post("/notifications/retry", tags=["act"], summary="Send notifications after all that were given up")
    def retry(asked: Again, person: Person = Depends(who)) -> Response:
        person.require("act")
        if bool(asked.numbers) == (asked.channel is not None):
            raise Permanent("give numbers, or else a channel")
        numbers = asked.numbers or None
        with context.engine.begin() as connection:
            count = outbox.requeue(connection, numbers, asked.channel, actor=person.name, now=context.clock())
        return answer({"retried": count})

    @router.post("/alerts/test-route", tags=["act"], summary="Try a route with a sample")
    def try_route(asked: Sample, person: Person = Depends(who)) -> Response:
        person.require("administer")
        return answer(_tried(context, asked, person, context.clock(), os.environ))


def _tried(
    context: Context, asked: Sample, person: Person, now: datetime, environ: Mapping[str, str]
) -> dict[str, Any]:
    catalog = context.catalog()
    with context.engine.connect() as connection:
        plan = rehearsal.plan(connection, catalog, asked.labels, now=now)
    names = asked.channels or plan.channels[:MOST]
    told = {**msgspec.to_builtins(plan), "channels": names}
    if asked.dry_run or not names:
        return {**told, "outcomes": []}
    outcomes = rehearsal.send(
        names, plan.labels, routing=catalog.routing, settings=context.settings, environ=environ, now=now
    )
    with context.engine.begin() as connection:
        rehearsal.note(connection, outcomes, actor=person.name, now=now)
    return {**told, "outcomes": [msgspec.to_builtins(one) for one in outcomes]}
