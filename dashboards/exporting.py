"""Downloads: exports over HTTP. They stream, a few at a time, and leave half of the processor to everybody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from itertools import chain
from typing import Annotated, Any, Final, Literal

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from dashboards.answers import Text, Who, check_journeys, refused
from dashboards.context import Context
from dashboards.queries import journeys as many
from dashboards.queries import search
from dashboards.session import Person
from exports import csv, ocel_json, snapshot, tables, xes
from exports.snapshot import Patience, Snapshot
from milepost.catalog.schema import Catalog
from milepost.clock import aware
from milepost.decisions import audit
from milepost.errors import Overloaded

Form = Literal["ocel-json", "xes", "csv"]
AT_ONCE: Final = 2
SECONDS: Final = 15 * 60
"""How long one download may take; then it breaks off, and its reader knows by that that it isn't whole."""
_PATIENCE: Final = Patience(statement=60, idle=60)
_PIECE: Final = 500
_MEDIA: Final[dict[Form, tuple[str, str]]] = {
    "ocel-json": ("application/json", "jsonocel"),
    "xes": ("application/xml", "xes"),
    "csv": ("text/csv; charset=utf-8", "csv"),
}


def add(router: APIRouter, context: Context, who: Who) -> None:
    """Add the route to `router`."""
    slots = Slots(AT_ONCE, SECONDS)

    @router.get(
        "/export/{form}", tags=["read"], summary="Export to a file",
        responses={200: {"content": {media.partition(";")[0]: {} for media, _ in _MEDIA.values()}}},
    )  # fmt: skip
    def export(
        form: Form,
        table: Annotated[tables.What | None, Query(description="What the rows of csv are: journeys by default")] = None,
        kind: Annotated[str | None, Query(max_length=64, description="Name of a journey model")] = None,
        state: Annotated[Literal["open", "completed", "cancelled"] | None, Query()] = None,
        stage: Annotated[str | None, Query(max_length=64, description="The highest milestone reached, or none")] = None,
        health: Annotated[many.Health | None, Query()] = None,
        channel: Text = None,
        warehouse: Text = None,
        carrier: Text = None,
        partner: Text = None,
        alert: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="An alert: its journeys")] = None,
        q: Annotated[str | None, Query(max_length=256, description="A key, or its beginning, of any member")] = None,
        since: Annotated[datetime | None, Query(description="Journeys that started then or later")] = None,
        until: Annotated[datetime | None, Query(description="Journeys that started before then")] = None,
        person: Person = Depends(who),  # as a default: FastAPI can't resolve the name of a local in an annotation
    ) -> Response:
        if person.role:  # a program with the scope read may read everything, however it asks
            person.require("export")
        catalog = context.catalog()
        check_journeys(catalog, kind, stage)
        if table is not None and form != "csv":
            raise refused("table", "for csv alone")
        with context.engine.connect() as connection:
            found = search.find(connection, catalog, q) if q else None
        wanted = many.Filter(
            kind,
            state,
            stage,
            None,
            health,
            channel,
            warehouse,
            carrier,
            partner,
            found,
            aware(since),
            aware(until),
            alert,
        )
        what = table or "journeys"
        made = _writer(context, catalog, form, what, kind or next(iter(catalog.models)))
        return _answer(_chunks(context, slots, wanted, made, lambda: _note(context, person, form, wanted)), form, what)


def _note(context: Context, person: Person, form: Form, wanted: many.Filter) -> None:
    """Who takes how much out is an act for the audit."""
    detail = {name: str(value) for name, value in asdict(wanted).items() if value is not None and name != "ids"}
    with context.engine.begin() as connection:
        audit.record(
            connection, actor=person.name, action="export.begun", target=form, now=context.clock(), detail=detail
        )


def _writer(
    context: Context, catalog: Catalog, form: Form, table: tables.What, model: str
) -> Callable[[Snapshot], Iterator[bytes]]:
    written: dict[Form, Callable[[Snapshot], Iterator[bytes]]] = {
        "ocel-json": lambda view: ocel_json.chunks(view, context.exports.reader(catalog)),
        "xes": lambda view: xes.chunks(view, model),
        "csv": lambda view: csv.chunks(tables.table(table, view, catalog, context.exports.business(catalog, None))),
    }
    return written[form]


def _chunks(
    context: Context,
    slots: Slots,
    wanted: many.Filter,
    write: Callable[[Snapshot], Iterator[bytes]],
    note: Callable[[], None],
) -> Generator[bytes, None, None]:
    """Each piece is followed by as long a rest as it took. Raises Overloaded."""
    chosen = many.select_ids(wanted) if wanted.narrow else None
    with slots.one() as ends, snapshot.opened(context.engine, chosen, _PATIENCE, _PIECE) as view:
        note()
        begun = time.monotonic()
        for chunk in write(view):
            yield chunk
            now = time.monotonic()
            if now > ends:
                raise Overloaded(f"a download may take {SECONDS // 60} minutes; use the command line, or a filter")
            time.sleep(min(now - begun, 1))
            begun = time.monotonic()


class Slots:
    """So many downloads at once. One whose reader stands still gives its place up when its time is over."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._lock = threading.Lock()
        self._taken: dict[object, float] = {}

    @contextmanager
    def one(self) -> Iterator[float]:
        """Take a place; gives the end of its time by the monotonic clock. Raises Overloaded."""
        me, now = object(), time.monotonic()
        with self._lock:
            self._taken = {other: ends for other, ends in self._taken.items() if ends > now}
            if len(self._taken) >= self._limit:
                raise Overloaded("other downloads are under way; try again in a minute", retry_after=60)
            ends = self._taken[me] = now + self._seconds
        try:
            yield ends
        finally:
            with self._lock:
                self._taken.pop(me, None)


class Download(StreamingResponse):
    """A stream that is closed when its reader has gone: the transaction behind it must not stay open.

    Its first piece is made before the answer begins, so that what can't be exported is told as a problem.
    """

    def __init__(self, chunks: Generator[bytes, None, None], **options: Any) -> None:
        super().__init__(chain((next(chunks),), chunks), **options)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._chunks.close)


def _answer(chunks: Generator[bytes, None, None], form: Form, table: str) -> Response:
    media, suffix = _MEDIA[form]
    name = f"milepost-{table}" if form == "csv" else "milepost"
    headers = {"content-disposition": f'attachment; filename="{name}.{suffix}"', "cache-control": "no-store"}
    return Download(chunks, media_type=media, headers=headers)
