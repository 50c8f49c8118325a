"""Silences and maintenance windows over HTTP: list, preview, make and end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from alerting import silences, windows
from alerting.silence import Silence, State
from alerting.silence_preview import Preview, Sum, preview
from alerting.silences import Wanted
from dashboards.answers import Limit, Number, Who, Why, answer
from dashboards.context import Context
from dashboards.queries import hidden
from dashboards.queries.paging import DEFAULT_LIMIT
from dashboards.session import Person
from milepost.catalog.matcher import MOST, Matcher
from milepost.catalog.window import Window

STATES: Final[dict[str, tuple[State, ...]]] = {
    "open": ("active", "upcoming"),
    "active": ("active",),
    "upcoming": ("upcoming",),
    "over": ("expired", "ended"),
}
RIGHT: Final = "act"
LOOK_BACK: Final = timedelta(days=7)
"""A preview looks so far back."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Condition(_Body):
    """A condition on a label. A value that ends in `*` stands for all that begin so."""

    label: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]
    op: Literal["=", "!="] = "="
    values: Annotated[list[Annotated[str, Field(max_length=256)]], Field(min_length=1, max_length=MOST)]


class Silencing(_Body):
    """A silence. Without `starts_at` it starts now; `everything` confirms that it may match whatever happens.
    `dry_run` answers what it would hide, and makes none."""

    matchers: Annotated[list[Condition], Field(max_length=MOST)]
    reason: Why
    ends_at: AwareDatetime
    starts_at: AwareDatetime | None = None
    owner: Annotated[str | None, Field(max_length=200)] = None
    everything: bool = False
    dry_run: bool = False


def add(router: APIRouter, context: Context, who: Who) -> None:
    """Silences and windows."""
    _add_lists(router, context, who)
    _add_acts(router, context, who)


def _add_lists(router: APIRouter, context: Context, who: Who) -> None:
    @router.get("/silences", tags=["read"], summary="List silences", dependencies=[Depends(who)])
    def listed(
        state: Annotated[Literal["open", "active", "upcoming", "over"], Query()] = "open", limit: Limit = DEFAULT_LIMIT
    ) -> Response:
        now = context.clock()
        with context.engine.connect() as connection:
            found = silences.some(connection, STATES[state], now=now, limit=limit)
            counts = hidden.counts(connection, "silence", [one.cover().name for one in found])
        items = [{**shape(one, now), **_counted(counts[one.cover().name])} for one in found]
        return answer({"items": items, "next_cursor": None})

    @router.get("/silences/{number}", tags=["read"], summary="One silence", dependencies=[Depends(who)])
    def one(number: Number) -> Response:
        now = context.clock()
        with context.engine.connect() as connection:
            found = silences.one(connection, number)
            name = found.cover().name
            counted = _counted(hidden.counts(connection, "silence", [name])[name])
            kept = hidden.by(connection, "silence", name)
        return answer({**shape(found, now), **counted, "kept_items": [asdict(row) for row in kept]})

    @router.get("/windows", tags=["read"], summary="List maintenance windows", dependencies=[Depends(who)])
    def windowed() -> Response:
        now, catalog = context.clock(), context.catalog()
        with context.engine.connect() as connection:
            counts = hidden.counts(connection, "silence", [f"window {name}" for name in catalog.windows])
        items = [
            {**window(name, spec, now), **_counted(counts[f"window {name}"])} for name, spec in catalog.windows.items()
        ]
        return answer({"items": items, "next_cursor": None})


def _add_acts(router: APIRouter, context: Context, who: Who) -> None:
    @router.post("/silences", tags=["act"], summary="Silence what matches", status_code=201)
    def make(asked: Silencing, person: Person = Depends(who)) -> Response:
        person.require(RIGHT)
        now = context.clock()
        matchers = tuple(Matcher(one.label, one.op, tuple(one.values)) for one in asked.matchers)
        wanted = Wanted(matchers, asked.reason, asked.starts_at or now, asked.ends_at, asked.owner, asked.everything)
        with context.engine.begin() as connection:
            told = {"preview": seen(preview(connection, matchers, since=now - LOOK_BACK))}
            if asked.dry_run:
                silences.check(wanted, now=now, admin=person.may("administer"))
                return answer(told)
            number = take(connection, wanted, person, now)
        return answer({"silence": number, **told}, 201)

    @router.post("/silences/{number}/end", tags=["act"], summary="End a silence before its time", status_code=202)
    def end(number: Number, person: Person = Depends(who)) -> Response:
        person.require(RIGHT)
        with context.engine.begin() as connection:
            silences.end(connection, number, actor=person.name, now=context.clock())
        return Response(status_code=202)


def take(connection: sa.Connection, wanted: Wanted, person: Person, now: datetime) -> int:
    """Silence as the person who asks; returns the number. Raises NotAllowed or Permanent."""
    person.require(RIGHT)
    return silences.add(connection, wanted, actor=person.name, now=now, admin=person.may("administer"))


def shape(one: Silence, now: datetime) -> dict[str, Any]:
    """A silence as the API tells it."""
    values = {name: getattr(one, name) for name in Silence.__slots__ if name not in ("silence_id", "matchers")}
    return {"id": one.silence_id, "state": one.state(now), "matchers": _matchers(one.matchers), **values}


def window(name: str, spec: Window, now: datetime) -> dict[str, Any]:
    """A maintenance window as the API tells it."""
    span, following = windows.open_span(spec, now), windows.next_span(spec, now)
    return {
        "name": name,
        "title": spec.title,
        "matchers": _matchers(spec.matchers),
        "open_until": span[1] if span else None,
        "next_from": following[0] if following else None,
        "next_until": following[1] if following else None,
        "owner": spec.owner,
    }


def seen(found: Preview) -> dict[str, Any]:
    """A preview as the API tells it."""
    return {"open": _sum(found.now), "past": {"since": found.since, **_sum(found.past)}}


def _sum(one: Sum) -> dict[str, Any]:
    alerts = [asdict(each) for each in one.found]
    return {"items": one.items, "alerts": one.alerts, "money": dict(one.money), "most": alerts}


def _matchers(matchers: Sequence[Matcher]) -> list[Any]:
    return [msgspec.to_builtins(one) for one in matchers]


def _counted(one: hidden.Count) -> dict[str, int]:
    return {"hides": one.hides, "kept": one.kept}
