"""The collector's ASGI app. A pure factory: everything opens in the lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from collector import openapi
from collector.catalogs import CurrentCatalog
from collector.commit import Writer
from collector.health import Health, response_of
from collector.intake import Intake
from collector.keys import KeyRing
from collector.masking import no_key
from collector.metrics import Metrics
from collector.problems import INTERNAL, problem
from collector.spool import Spool
from collector.store import Store
from collector.ways import Endpoint, Way, edi, epcis, hooks, otlp
from collector.ways.events import Events
from milepost import settings
from milepost.clock import Clock, Steady, utc_now
from milepost.errors import MilepostError

PATH: Final = "/v1/events"
_FLUSH_SECONDS: Final = 30
_COUNT_SECONDS: Final = 5
_DRAIN_SECONDS: Final = 20
_METHODS: Final = ("POST", "OPTIONS")
_OPERATE: Final = ("/healthz", "/readyz", "/metrics", "/openapi.json")
_ANY_METHOD: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""For protocols that have a shape of their own for 405."""

_log = logging.getLogger(__name__)


class CollectorApp(FastAPI):
    """FastAPI with a short cut: events pass by the middleware and the routes, which cost more than taking them."""

    events: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] in _METHODS:
            await self.events(scope, receive, send)
            return
        if scope["type"] == "http" and scope["method"] == "HEAD" and scope["path"] in _OPERATE:
            scope = {**scope, "method": "GET"}  # the server leaves the body out
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """FastAPI's description with the events route in it."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.describe(super().openapi(), self.state.limits)
        return self.openapi_schema


def make_app(
    *,
    database_url: str,
    store: Store,
    limits: settings.Ingest | None = None,
    clock: Clock = utc_now,
    spool_dir: Path | None = None,
    privacy_key: Callable[[], bytes] = no_key,
) -> FastAPI:
    """The app with /v1/events, /healthz, /readyz, /metrics and /openapi.json.

    `store` answers for keys and readiness; `database_url` is where the writer opens its own connection, in the lifespan
    and again whenever it is lost: the app starts without a database, and answers 503 until there is one. `privacy_key`
    gives what fields are hashed with. `spool_dir`: where events are kept while the database is away, nowhere if None.
    """
    limits = limits or settings.Ingest()
    metrics = Metrics()
    clock = Steady(clock)
    spool = Spool(spool_dir, limits.spool_bytes) if spool_dir is not None else None
    writer = Writer(
        database_url,
        metrics,
        queue_events=limits.queue_events,
        commit_events=limits.commit_events,
        clock=clock,
        spool=spool,
    )
    keys, catalog = KeyRing(store, away=lambda: writer.away), CurrentCatalog(store.catalog)
    intake = Intake(limits, keys, writer, catalog, clock, metrics, privacy_key)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with _running(writer, keys, catalog, partial(intake.flush, store.count_refusals)):
            yield

    app = CollectorApp(
        title="Milepost", version="1", lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,  # it would send a key to http:// behind a proxy that ends TLS
    )  # fmt: skip
    app.state.limits = limits
    for name, path, methods, way in _ways(intake, store):
        endpoint = ServerErrorMiddleware(Endpoint(name, way, metrics), handler=_failure_of(way))
        app.router.routes.append(Route(path, endpoint, methods=methods, include_in_schema=False))
        if path == PATH:
            app.events = endpoint
    app.add_exception_handler(HTTPException, _http_error)
    _add_health(app, Health(store, metrics, writer))
    return app


def _ways(intake: Intake, store: Store) -> list[tuple[str, str, Sequence[str], Way]]:
    """Every way in: its name in the metrics, path, methods, and who answers."""
    return [
        ("events", PATH, _METHODS, Events(intake)),
        ("hooks", hooks.PATH, _METHODS, hooks.Webhooks(intake, os.environ)),
        ("edi", edi.PATH, ("POST",), edi.Interchanges(intake)),
        *((f"otlp {kind.name}s", kind.path, _ANY_METHOD, otlp.Otlp(intake, kind)) for kind in otlp.KINDS),
        *(("epcis", path, _ANY_METHOD, way) for path, way in epcis.resources(intake, store).items()),
    ]


@contextlib.asynccontextmanager
async def _running(
    writer: Writer, keys: KeyRing, catalog: CurrentCatalog, count: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    if writer.spool is not None:
        writer.spool.open()
    writing = asyncio.create_task(writer.run(), name="writer")
    beside = [
        asyncio.create_task(_flush_forever(keys), name="key use"),
        asyncio.create_task(catalog.refresh(), name="catalog"),
        asyncio.create_task(_count_forever(count), name="what was not kept"),
    ]
    try:
        yield
    finally:
        writer.close()
        await _finish(writing)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await keys.flush()
        await count()
        if writer.spool is not None:
            writer.spool.close()


async def _finish(writing: asyncio.Task[None]) -> None:
    """Let the writer empty its queue, within bounds."""
    _, late = await asyncio.wait({writing}, timeout=_DRAIN_SECONDS)
    if late:
        _log.warning(
            "events were still waiting for their commit after %s seconds; they were not acknowledged", _DRAIN_SECONDS
        )
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def _flush_forever(keys: KeyRing) -> None:
    while True:
        await keys.learn()
        await asyncio.sleep(_FLUSH_SECONDS)
        await keys.flush()


async def _count_forever(count: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(_COUNT_SECONDS)
        await count()


def _add_health(app: FastAPI, health: Health) -> None:
    for path, answer, summary in (
        ("/healthz", health.live, "The process lives"),
        ("/readyz", health.ready, "The database answers and has the right schema"),
        ("/metrics", health.metrics, "Metrics for Prometheus"),
    ):
        app.add_api_route(path, answer, methods=["GET"], summary=summary, tags=["operate"], response_class=Response)


def _failure_of(way: Way) -> Callable[[Request, Exception], Response]:
    """What a bug of ours is answered with, in the way's own shape."""
    return lambda _, __: response_of(way.refuse(MilepostError(INTERNAL)))


def _http_error(_: Request, error: Exception) -> Response:
    """What Starlette refuses by itself: no such path, no such method."""
    assert isinstance(error, HTTPException)
    if error.status_code < HTTPStatus.BAD_REQUEST:
        return Response(status_code=error.status_code, headers=error.headers)
    made = response_of(problem(error.status_code, str(error.detail)))
    made.headers.update(error.headers or {})
    return made
