"""The quarantine over HTTP: list, inspect, edit, replay, discard."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from dashboards import shapes
from dashboards.answers import BIGGEST, Cursor, Limit, Number, Text, Who, Why, answer, answer_page
from dashboards.context import Context
from dashboards.problems import problem
from dashboards.queries import quarantine as queries
from dashboards.queries.paging import DEFAULT_LIMIT
from dashboards.session import Person
from milepost.errors import MalformedBody
from milepost.inbox.quarantine import Kind, mend
from milepost.inbox.quarantine.body import changed
from milepost.inbox.quarantine.mend import State, Verdict, Wanted

AT_ONCE: Final = 20_000
"""Rows that one request may replay or discard."""
MAX_EDIT: Final = 512 * 1024
"""Characters of a body that is edited over HTTP; the command takes larger ones."""
RIGHT: Final = "quarantine"
_STATUS: Final = {"accepted": 202, "duplicate": 200, "conflict": 409, "refused": 422}
_TITLES: Final = {"conflict": "It contradicts what is stored", "refused": "It is refused again"}

Group = Annotated[int | None, Query(ge=1, le=BIGGEST)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Edit(_Body):
    """A new body as text or base64, or values to set in the present one: {"data.keys.order": "S00001"}."""

    body: Annotated[str | None, Field(max_length=MAX_EDIT)] = None
    body_base64: Annotated[str | None, Field(max_length=MAX_EDIT)] = None
    set: Annotated[dict[str, Any] | None, Field(max_length=100)] = None


class Replay(_Body):
    vouch: bool = False
    new_id: bool = False


class Reason(_Body):
    reason: Why


class Filter(_Body):
    """Which open rows; what is given is joined by and."""

    ids: Annotated[list[Annotated[int, Field(ge=1, le=BIGGEST)]] | None, Field(max_length=1000)] = None
    group: Annotated[int | None, Field(ge=1, le=BIGGEST)] = None
    source: Annotated[str | None, Field(max_length=256)] = None
    kind: Kind | None = None
    limit: Annotated[int, Field(ge=1, le=AT_ONCE)] = AT_ONCE

    def wanted(self) -> Wanted:
        return Wanted(self.ids, self.group, self.source, self.kind)


class EditMany(Filter):
    set: Annotated[dict[str, Any], Field(min_length=1, max_length=100)]


class ReplayMany(Filter):
    dry_run: bool = False
    vouch: bool = False


class DiscardMany(Filter):
    reason: Why


def add(router: APIRouter, context: Context, who: Who) -> None:
    """The routes under /quarantine, and the list of events with skewed clocks."""
    _add_lists(router, context, who)
    _add_one(router, context, who)
    _add_many(router, context, who)


def _add_lists(router: APIRouter, context: Context, who: Who) -> None:
    @router.get("/quarantine", tags=["read"], summary="List events in quarantine", dependencies=[Depends(who)])
    def rows(
        group: Group = None,
        source: Text = None,
        kind: Annotated[Kind | None, Query()] = None,
        state: Annotated[State | None, Query()] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        with context.engine.connect() as connection:
            page = queries.row_page(
                connection, group_id=group, source=source, kind=kind, state=state, limit=limit, cursor=cursor
            )
        return answer_page(page, shapes.quarantine_row)

    @router.get("/quarantine/groups", tags=["read"], summary="List what fails alike", dependencies=[Depends(who)])
    def groups(
        source: Text = None,
        kind: Annotated[Kind | None, Query()] = None,
        state: Annotated[Literal["open", "any"], Query(description="any: also those with nothing open")] = "open",
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        with context.engine.connect() as connection:
            page = queries.group_page(
                connection, source=source, kind=kind, closed=state == "any", limit=limit, cursor=cursor
            )
        return answer_page(page, shapes.quarantine_group)

    @router.get("/skewed", tags=["read"], summary="List events with skewed clocks", dependencies=[Depends(who)])
    def skewed(source: Text = None, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
        with context.engine.connect() as connection:
            page = queries.skewed_page(connection, source=source, limit=limit, cursor=cursor)
        return answer_page(page, shapes.skewed)


def _add_one(router: APIRouter, context: Context, who: Who) -> None:
    @router.get("/quarantine/{number}", tags=["read"], summary="One event in quarantine, whole")
    def one(number: Number, person: Person = Depends(who)) -> Response:
        person.require(RIGHT)
        return answer(shapes.quarantine_detail(_detail(context, number)))

    @router.post("/quarantine/{number}/edit", tags=["act"], summary="Edit an event in quarantine", status_code=201)
    def edit(number: Number, wanted: Edit, person: Person = Depends(who)) -> Response:
        person.require(RIGHT)
        body = _edited(context, number, wanted)
        with context.engine.begin() as connection:
            revision = mend.edit(connection, number, body, actor=person.name, now=context.clock())
        return answer({"id": number, "revision": revision}, 201)

    @router.post("/quarantine/{number}/replay", tags=["act"], summary="Replay an event", status_code=202)
    def replay(number: Number, wanted: Replay | None = None, person: Person = Depends(who)) -> Response:
        wanted = wanted or Replay()
        _check(person, vouch=wanted.vouch)
        verdict = context.replays.one(number, actor=person.name, vouch=wanted.vouch, new_id=wanted.new_id)
        return _answer_verdict(verdict)

    @router.post("/quarantine/{number}/discard", tags=["act"], summary="Discard an event")
    def discard(number: Number, wanted: Reason, person: Person = Depends(who)) -> Response:
        person.require(RIGHT)
        with context.engine.begin() as connection:
            done = mend.discard(
                connection, Wanted(ids=[number]), reason=wanted.reason, actor=person.name, now=context.clock()
            )
            if not done:
                raise mend.closed(connection, number)
        return answer({"discarded": done, "more": False})


def _add_many(router: APIRouter, context: Context, who: Who) -> None:
    @router.post("/quarantine/edit", tags=["act"], summary="Edit events by group, source or kind")
    def edit_many(wanted: EditMany, person: Person = Depends(who)) -> Response:
        person.require(RIGHT)
        change = partial(changed, changes=_values(wanted.set))
        with context.engine.begin() as connection:
            done = mend.edit_many(
                connection, wanted.wanted(), change, actor=person.name, now=context.clock(), limit=wanted.limit
            )
        return answer({"edited": done.rows, "of": done.seen, "more": done.last is not None})

    @router.post("/quarantine/replay", tags=["act"], summary="Replay events by group, source or kind")
    def replay_many(wanted: ReplayMany, person: Person = Depends(who)) -> Response:
        _check(person, vouch=wanted.vouch)
        report = context.replays.many(
            wanted.wanted(), actor=person.name, vouch=wanted.vouch, dry_run=wanted.dry_run, limit=wanted.limit
        )
        return answer(shapes.quarantine_report(report))

    @router.post("/quarantine/discard", tags=["act"], summary="Discard events by group, source or kind")
    def discard_many(wanted: DiscardMany, person: Person = Depends(who)) -> Response:
        person.require(RIGHT)
        with context.engine.begin() as connection:
            done = mend.discard(
                connection, wanted.wanted(), reason=wanted.reason, actor=person.name, now=context.clock(),
                limit=wanted.limit,
            )  # fmt: skip
        return answer({"discarded": done, "more": done == wanted.limit})


def _check(person: Person, *, vouch: bool) -> None:
    """Raises NotAllowed. To vouch is to send what the sender may not."""
    person.require(RIGHT)
    if vouch:
        person.require("administer")


def _detail(context: Context, number: int) -> queries.Detail:
    with context.engine.connect() as connection:
        return queries.known(connection, number)


def _edited(context: Context, number: int, wanted: Edit) -> bytes:
    """Raises MalformedBody unless exactly one of the three is given."""
    given = [wanted.body, wanted.body_base64, wanted.set]
    if sum(value is not None for value in given) != 1:
        raise MalformedBody("give one of body, body_base64 and set")
    if wanted.body is not None:
        return wanted.body.encode("utf-8", "surrogatepass")
    if wanted.set is not None:
        return changed(_detail(context, number).present, _values(wanted.set))
    try:
        return base64.b64decode(wanted.body_base64 or "", validate=True)
    except ValueError as error:
        raise MalformedBody(f"body_base64: {error}") from error


def _values(given: Mapping[str, Any]) -> dict[str, str]:
    """As `changed` takes them."""
    return {f"{path}:": msgspec.json.encode(value).decode() for path, value in given.items()}


def _answer_verdict(verdict: Verdict) -> Response:
    """What did not pass is an error, and stays open."""
    shown, status = shapes.quarantine_verdict(verdict), _STATUS[verdict.outcome]
    if status < 400:
        return answer(shown, status)
    return problem(status, _TITLES[verdict.outcome], verdict.note, **shown)
