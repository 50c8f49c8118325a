"""The routes of the read API about objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Path, Query, Response

from dashboards import sla_report
from dashboards.answers import Cursor, Limit, Text, Who, answer, answer_page
from dashboards.context import Context
from dashboards.queries import objectives as queries
from dashboards.queries import sla_report as reports
from dashboards.queries.journey import money_text
from dashboards.queries.objectives import Breach, Day, Standing
from dashboards.queries.paging import DEFAULT_LIMIT
from dashboards.sla_report import Report
from dashboards.sla_report_html import as_html
from milepost.catalog.policy import Policy
from milepost.catalog.schema import Catalog
from milepost.errors import NotFound

DAYS: Final = timedelta(days=30)
_FILES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/html": {}, "text/csv": {}}},
    404: {
        "description": "There is no such policy",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
}
Name = Annotated[str, Path(max_length=64)]


def add(router: APIRouter, context: Context, who: Who) -> None:
    """Add the routes to `router`."""
    options: dict[str, Any] = {"tags": ["read"], "dependencies": [Depends(who)]}

    @router.get("/objectives", summary="List objectives with their error budgets", **options)
    def objectives() -> Response:
        with context.engine.connect() as connection:
            found = queries.standings(connection)
            days = queries.days(connection, first_day(context.clock()))
        items = [
            shape(policy, found.get(policy.name, ()), days.get(policy.name, ()))
            for policy in context.catalog().policies
        ]
        return answer({"items": items, "next_cursor": None})

    @router.get("/objectives/{policy}/breaches", summary="The breaches that ate a budget", **options)
    def breaches(policy: Name, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Response:
        known(context, policy)
        with context.engine.connect() as connection:
            whole = whole_of(queries.standings(connection).get(policy, ()))
            since, until = window_of(whole, context.clock())
            page = queries.eaters(connection, policy, since, until, limit=limit, cursor=cursor)
        return answer_page(page, shape_breach)

    @router.get(
        "/sla/report", summary="A month's attainment and breaches as a file", responses=_FILES, **options
    )  # fmt: skip
    def report(
        month: Annotated[str, Query(pattern=sla_report.MONTH, description="Like 2026-11")],
        format: Annotated[
            Literal["html", "csv", "breaches"], Query(description="A page, who attained what, or every breach")
        ] = "html",
        policy: Text = None,
        partner: Text = None,
        carrier: Text = None,
        warehouse: Text = None,
        channel: Text = None,
    ) -> Response:
        wanted = {"policy": policy, "partner": partner, "carrier": carrier, "warehouse": warehouse, "channel": channel}
        with context.engine.connect() as connection:
            now, url = context.clock(), context.settings.public_url
            made = report_of(connection, context.catalog(), month, wanted, now=now, public_url=url)
        kind = "html" if format == "html" else "csv"
        name = f"sla-{month}{'-breaches' if format == 'breaches' else ''}.{kind}"
        shown = {"content-disposition": f'{"inline" if kind == "html" else "attachment"}; filename="{name}"'}
        return Response(FORMS[format](made), media_type=f"text/{kind}; charset=utf-8", headers=shown)


FORMS: Final[Mapping[str, Callable[[Report], str]]] = {
    "html": as_html,
    "csv": sla_report.attainment_csv,
    "breaches": sla_report.breaches_csv,
}


def report_of(
    connection: sa.Connection,
    catalog: Catalog,
    month: str,
    wanted: Mapping[str, str | None],
    *,
    now: datetime,
    public_url: str = "",
) -> Report:
    """A month's report. Raises Permanent for what is no month, NotFound for a policy that the catalog doesn't have."""
    narrowed = sla_report.checked(wanted, catalog)
    spans = sla_report.spans(catalog, month, now)
    tallies = sla_report.narrow(reports.tallies(connection, spans), narrowed)
    breaches = sla_report.narrow_breaches(reports.found(connection, spans), narrowed)
    return Report(month, now, catalog, narrowed, tallies, breaches, public_url)


def known(context: Context, name: str) -> Policy:
    """Raises NotFound."""
    found = next((policy for policy in context.catalog().policies if policy.name == name), None)
    if found is None:
        raise NotFound(f"there is no policy {name} with an objective")
    return found


def first_day(now: datetime) -> datetime:
    """The first of the days that are shown."""
    return (now - DAYS).replace(hour=0, minute=0, second=0, microsecond=0)


def whole_of(found: Sequence[Standing]) -> Standing | None:
    """How a policy as a whole stands; None while it was not judged."""
    return next((one for one in found if not one.group), None)


def window_of(whole: Standing | None, now: datetime) -> tuple[datetime, datetime]:
    """The window whose breaches count: up to the last judgement."""
    return (whole.since, whole.at) if whole is not None else (now - DAYS, now)


# --- shapes -----------------------------------------------------------------------------------------------------------


def shape(policy: Policy, found: Sequence[Standing], days: Sequence[Day]) -> dict[str, Any]:
    whole = whole_of(found)
    about = {"policy": policy.name, "title": policy.title, "owner": policy.owner}
    objective = {"target": policy.objective.target, "window": policy.objective.window.text}
    groups = [{"group": one.group, **figures(one)} for one in found if one.group]
    judged = {"at": whole.at, "since": whole.since, "until": whole.until} if whole is not None else None
    by_day = [{"day": day.day, "clocks": day.clocks, "misses": day.misses} for day in days]
    return {
        **about, **objective, "judged": judged, "budget": figures(whole) if whole is not None else None,
        "groups": groups, "days": by_day,
    }  # fmt: skip


def figures(one: Standing) -> dict[str, Any]:
    names = ("clocks", "misses", "allowed", "attained", "remaining", "burn", "exhausted_at", "levels")
    return {**{name: getattr(one, name) for name in names}, "firing": sorted(one.firing)}


def shape_breach(found: Breach) -> dict[str, Any]:
    money = None if found.amount is None else {"amount": money_text(found.amount), "currency": found.currency}
    journey = {"kind": found.model, "key": found.key, "namespace": found.namespace}
    times = {name: getattr(found, name) for name in ("started_at", "due_at", "stopped_at", "opened_at", "ended_at")}
    evidence = {"why": found.evidence.get("why"), "events": found.evidence.get("events", [])}
    return {
        "id": found.breach_id, "policy": found.policy, "policy_version": found.policy_version, "journey": journey,
        **times, "end": found.end, "late_known": found.late_known, **evidence, "dimensions": found.dimensions,
        "money": money,
    }  # fmt: skip
