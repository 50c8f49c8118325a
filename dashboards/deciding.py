"""Why journeys are as they are, over HTTP: explanations, hubs, and decisions with a preview of what they do."""

from __future__ import annotations

from typing import Annotated, Final

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from dashboards import reasons
from dashboards.answers import Number, Who, Why, answer
from dashboards.context import Context
from dashboards.queries import decisions as queries
from dashboards.session import Person
from milepost.catalog.keys import normalise
from milepost.decisions import correlation
from milepost.decisions.correlation import Act, Named
from milepost.explanation import Proposal

RIGHT: Final = "act"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Object(_Body):
    """An object by name: with its namespace where several have the key, with its epoch where the key was split."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    key: Annotated[str, Field(min_length=1, max_length=256)]
    namespace: Annotated[str | None, Field(max_length=512)] = None
    epoch: Annotated[int | None, Field(ge=0)] = None


class Decide(_Body):
    """A decision; `since` is for a split. `dry_run` answers what it would do, and takes none."""

    act: Act
    first: Object
    second: Object | None = None
    since: AwareDatetime | None = None
    reason: Why
    dry_run: bool = False


class Reverse(_Body):
    reason: Why
    dry_run: bool = False


def add(router: APIRouter, context: Context, who: Who) -> None:
    """The explanation of a journey, hubs, and decisions."""
    _add_lists(router, context, who)
    _add_acts(router, context, who)


def _add_lists(router: APIRouter, context: Context, who: Who) -> None:
    # before the route of a journey by kind and key: no kind is a number
    @router.get(
        "/journeys/{journey_id:int}/explanation", tags=["read"], summary="Why a journey is as it is",
        dependencies=[Depends(who)],
    )  # fmt: skip
    def explanation(journey_id: Number) -> Response:
        with context.engine.connect() as connection:
            found = context.correlations.explain(connection, context.catalog(), journey_id)
        return answer(reasons.explanation(found))

    @router.get("/hubs", tags=["read"], summary="List the keys that too many share", dependencies=[Depends(who)])
    def hubs() -> Response:
        with context.engine.connect() as connection:
            found = queries.hub_list(connection)
        return answer({"items": [reasons.hub(one) for one in found], "next_cursor": None})

    @router.get("/decisions", tags=["read"], summary="List decisions", dependencies=[Depends(who)])
    def decisions() -> Response:
        with context.engine.connect() as connection:
            found = queries.ruling_list(connection)
        return answer({"items": [reasons.listed(one) for one in found], "next_cursor": None})


def _add_acts(router: APIRouter, context: Context, who: Who) -> None:
    @router.post("/decisions", tags=["act"], summary="Decide who belongs to whom", status_code=201)
    def decide(wanted: Decide, person: Person = Depends(who)) -> Response:
        person.require(RIGHT)
        with context.engine.begin() as connection:
            first = _named(context, connection, wanted.first)
            second = _named(context, connection, wanted.second) if wanted.second else None
            second_id = second.object_id if second else None
            proposal = Proposal(wanted.act, first.object_id, second_id, since=wanted.since)
            told = {"preview": reasons.preview(context.correlations.preview(connection, context.catalog(), proposal))}
            if wanted.dry_run:
                return answer(told)
            number = take(context, connection, proposal, person, wanted.reason)
        return answer({"decision": number, **told}, 201)

    @router.post("/decisions/{number}/reverse", tags=["act"], summary="Take a decision back")
    def reverse(number: Number, wanted: Reverse, person: Person = Depends(who)) -> Response:
        person.require(RIGHT)
        proposal = Proposal("reverse", reverses=number)
        with context.engine.begin() as connection:
            told = {"preview": reasons.preview(context.correlations.preview(connection, context.catalog(), proposal))}
            if not wanted.dry_run:
                take(context, connection, proposal, person, wanted.reason)
        return answer({"decision": number, **told})


def take(context: Context, connection: sa.Connection, proposal: Proposal, person: Person, reason: str) -> int:
    """Decide as the person who asks; returns the decision's number. Raises NotAllowed, NotFound or Conflict."""
    person.require(RIGHT)
    now = context.clock()
    if proposal.reverses:
        correlation.reverse(connection, proposal.reverses, actor=person.name, reason=reason, now=now)
        return proposal.reverses
    first, second = correlation.pair(connection, proposal.first_id, proposal.second_id)
    return correlation.decide(
        connection, proposal.act, first, second, actor=person.name, reason=reason, now=now, since=proposal.since
    )


def _named(context: Context, connection: sa.Connection, wanted: Object) -> Named:
    key = normalise(context.catalog(), wanted.type, wanted.key) or wanted.key
    return correlation.find(connection, wanted.type, key, wanted.namespace, wanted.epoch)
