"""Who is on call, over HTTP: rotations, and who stands in."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from alerting import overrides
from alerting.oncall import Duty, Override
from alerting.overrides import Roster
from dashboards.answers import Number, Who, Why, answer
from dashboards.context import Context
from dashboards.session import Person

RIGHT: Final = "act"


class StandIn(BaseModel):
    """Somebody else is on call from `since` (now) until before `until`."""

    model_config = ConfigDict(extra="forbid")

    rotation: Annotated[str, Field(min_length=1, max_length=64)]
    person: Annotated[str, Field(min_length=1, max_length=64)]
    until: AwareDatetime
    since: AwareDatetime | None = None
    reason: Why


def add(router: APIRouter, context: Context, who: Who) -> None:
    """Rotations, and overrides of them."""

    @router.get("/oncall", tags=["read"], summary="Who is on call", dependencies=[Depends(who)])
    def listed(days: Annotated[int, Query(ge=1, le=400, description="So far ahead")] = 28) -> Response:
        now, routing = context.clock(), context.catalog().routing
        with context.engine.connect() as connection:
            found = overrides.rosters(connection, routing, now, now + timedelta(days=days))
        return answer({"items": [_roster(one) for one in found], "next_cursor": None})

    @router.post("/oncall/overrides", tags=["act"], summary="Put somebody else on call for a while", status_code=201)
    def stand_in(asked: StandIn, person: Person = Depends(who)) -> Response:
        return answer({"id": take(context, asked, person)}, 201)

    @router.post("/oncall/overrides/{number}/end", tags=["act"], summary="End an override", status_code=204)
    def end(number: Number, person: Person = Depends(who)) -> Response:
        give_back(context, number, person)
        return Response(status_code=204)


def take(context: Context, asked: StandIn, person: Person) -> int:
    """Put somebody on call as the person who asks; the override's number. Raises NotAllowed, NotFound or Conflict."""
    person.require(RIGHT)
    now = context.clock()
    with context.engine.begin() as connection:
        return overrides.add(
            connection, context.catalog().routing, rotation=asked.rotation, person=asked.person,
            since=asked.since or now, until=asked.until, reason=asked.reason, actor=person.name, now=now,
        )  # fmt: skip


def give_back(context: Context, number: int, person: Person) -> None:
    """End an override as the person who asks. Raises NotAllowed, NotFound or Conflict."""
    person.require(RIGHT)
    with context.engine.begin() as connection:
        overrides.end(connection, number, actor=person.name, now=context.clock())


def _roster(one: Roster) -> dict[str, Any]:
    spec = one.rotation
    return {
        "rotation": one.name,
        "title": spec.title or None,
        "zone": spec.zone,
        "now": _duty(one.now),
        "next": _duty(one.following),
        "schedule": [_duty(duty) for duty in one.duties],
        "overrides": [_override(each) for each in one.overrides],
    }


def _duty(one: Duty) -> dict[str, Any]:
    about = {"instead_of": one.instead_of, "override": one.override}
    return {"person": one.person, "since": one.since, "until": one.until, **about}


def _override(one: Override) -> dict[str, Any]:
    about = {"reason": one.reason, "by": one.actor}
    return {"id": one.number, "person": one.person, "since": one.since, "until": one.until, **about}
