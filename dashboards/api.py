"""The read API. Thin routes: authorise, query, answer."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from alerting import commands
from dashboards import (
    deciding,
    exceptions,
    exporting,
    flows,
    gaps,
    mending,
    notifying,
    objectives,
    oncall,
    policies,
    reconciling,
    shapes,
    silencing,
)
from dashboards.answers import Cursor, Limit, Number, Text, Who, answer, answer_page, check_journeys, refused
from dashboards.context import Context
from dashboards.problems import Ambiguous, ProblemRoute
from dashboards.queries import alerts as alert_queries
from dashboards.queries import journey as one
from dashboards.queries import journeys as many
from dashboards.queries import search
from dashboards.queries import sources as source_queries
from dashboards.queries.paging import DEFAULT_LIMIT
from dashboards.session import Person, same_origin
from milepost.errors import NotAllowed, NotAuthenticated, NotFound


def make_router(context: Context) -> APIRouter:
    """The routes under /v1 that read, and what people do with alerts and the quarantine."""
    router = APIRouter(prefix="/v1", route_class=ProblemRoute)
    who = reader(context)
    deciding.add(router, context, who)
    _add_journeys(router, context, who)
    _add_alerts(router, context, who)
    _add_sources(router, context, who)
    exceptions.add(router, context, who)
    flows.add(router, context, who)
    gaps.add(router, context, who)
    exporting.add(router, context, who)
    mending.add(router, context, who)
    notifying.add(router, context, who)
    objectives.add(router, context, who)
    oncall.add(router, context, who)
    policies.add(router, context, who)
    reconciling.add(router, context, who)
    silencing.add(router, context, who)
    return router


def reader(context: Context) -> Who:
    """A dependency: who asks, by API key or session cookie, for parameters that the route has. Raises NotAuthenticated,
    NotAllowed or RequestValidationError."""

    def who(request: Request) -> Person:
        person = _person(context, request)
        _check_names(request)
        return person

    return who


def _person(context: Context, request: Request) -> Person:
    if "authorization" in request.headers or "x-api-key" in request.headers:
        person = context.sessions.key_holder(request.headers, request.client.host if request.client else None)
        person.require("read")
        return person
    known = context.sessions.person(request.cookies)
    if known is None:
        raise NotAuthenticated("send an API key with scope read (Authorization: Bearer mp_…), or log in")
    if request.method not in ("GET", "HEAD") and not same_origin(request.headers, context.settings.public_url):
        raise NotAllowed("this request comes from another site")
    return known


def _check_names(request: Request) -> None:
    """A filter that is ignored answers another question than was asked."""
    known = sorted(field.alias for field in request.scope["route"].dependant.query_params)
    unknown = next((name for name in request.query_params if name not in known), None)
    if unknown is not None:
        raise refused(unknown, f"no parameter of this address; it knows {', '.join(known) or 'none'}")


def _add_journeys(router: APIRouter, context: Context, who: Who) -> None:
    @router.get("/journeys", tags=["read"], summary="List journeys", dependencies=[Depends(who)])
    def journeys(
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
        sort: Annotated[Literal["last_at", "quiet", "started_at", "due", "amount"], Query()] = "last_at",
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        catalog = context.catalog()
        check_journeys(catalog, kind, stage)
        with context.engine.connect() as connection:
            wanted = many.Filter(
                kind, state, stage, None, health, channel, warehouse, carrier, partner, alert=alert,
                ids=search.find(connection, catalog, q) if q else None,
            )  # fmt: skip
            page = many.list_page(connection, wanted, kinds=list(catalog.models), sort=sort, limit=limit, cursor=cursor)
        return answer_page(page, shapes.journey_row)

    @router.get("/journeys/{kind}/{key:path}", tags=["read"], summary="One journey", dependencies=[Depends(who)])
    def journey(
        kind: str, key: str, namespace: Text = None, epoch: Annotated[int | None, Query(ge=0)] = None
    ) -> Response:
        catalog = context.catalog()
        with context.engine.connect() as connection:
            found = one.candidates(connection, catalog, kind, key, namespace, epoch)
            return answer(shapes.journey(connection, catalog, pick(found, kind, key)))


def pick(found: list[one.Head], kind: str, key: str) -> one.Head:
    """The only one. Raises NotFound, or Ambiguous with what tells them apart."""
    if not found:
        raise NotFound(f"there is no journey of kind {kind} with key {key}")
    if len(found) > 1:
        names = ("kind", "key", "namespace", "epoch", "root_type", "state", "started_at")
        choices = [{name: getattr(head, name) for name in names} for head in found]
        what = "namespace" if len({head.namespace for head in found}) > 1 else "epoch"
        raise Ambiguous(f"{len(found)} journeys have the key {key}; add ?{what}= of one of the candidates", choices)
    return found[0]


def _add_alerts(router: APIRouter, context: Context, who: Who) -> None:
    @router.get("/alerts", tags=["read"], summary="List alerts", dependencies=[Depends(who)])
    def alerts(
        state: Annotated[Literal["open", "firing", "acknowledged", "resolved"] | None, Query()] = None,
        kind: Annotated[Literal["sla", "objective", "anomaly", "reconciliation", "platform"] | None, Query()] = None,
        severity: Annotated[Literal["info", "warning", "critical"] | None, Query()] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        with context.engine.connect() as connection:
            page = alert_queries.list_page(
                connection, state=state, kind=kind, severity=severity, limit=limit, cursor=cursor
            )
        return answer_page(page, shapes.alert)

    @router.get("/alerts/{alert_id}", tags=["read"], summary="One alert", dependencies=[Depends(who)])
    def alert(alert_id: Number) -> Response:
        with context.engine.connect() as connection:
            found = alert_queries.one(connection, alert_id)
            if found is None:
                raise NotFound(f"there is no alert {alert_id}")
            parts = (alert_queries.items, alert_queries.changes, alert_queries.deliveries)
            wave = alert_queries.whom(connection, found), alert_queries.related(connection, found)
            return answer(shapes.alert_detail(found, *wave, *(part(connection, alert_id) for part in parts)))

    @router.post("/alerts/{alert_id}/acknowledge", tags=["act"], summary="Acknowledge an alert", status_code=202)
    def acknowledge(alert_id: Number, person: Person = Depends(who)) -> Response:
        person.require("act")
        with context.engine.begin() as connection:
            commands.acknowledge(connection, alert_id, actor=person.name, now=context.clock())
        return Response(status_code=202)

    @router.post("/alerts/{alert_id}/resolve", tags=["act"], summary="Resolve an alert", status_code=202)
    def resolve(
        alert_id: Number,
        person: Person = Depends(who),  # as a default: FastAPI can't resolve the name of a local in an annotation
        reason: Annotated[str, Body(embed=True, max_length=500)] = "",
    ) -> Response:
        person.require("act")
        with context.engine.begin() as connection:
            commands.resolve(connection, alert_id, actor=person.name, now=context.clock(), reason=reason)
        return Response(status_code=202)


def _add_sources(router: APIRouter, context: Context, who: Who) -> None:
    @router.get("/sources", tags=["read"], summary="List sources", dependencies=[Depends(who)])
    def sources() -> Response:
        with context.engine.connect() as connection:
            found = source_queries.source_list(connection, context.catalog(), context.clock())
        return answer({"items": [shapes.source(row) for row in found], "next_cursor": None})
