"""The routes of the read API about reconciliations."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Path, Query, Response

from dashboards import reconciliation_report as reports
from dashboards.answers import Cursor, Limit, Who, answer, answer_page
from dashboards.context import Context
from dashboards.queries import reconciliation as queries
from dashboards.queries.journey import money_text
from dashboards.queries.paging import DEFAULT_LIMIT
from dashboards.reconciliation_report import Report
from milepost.catalog.reconciliation import Reconciliation
from milepost.errors import NotFound

SHOWN: Final = timedelta(days=30)
"""Days that are answered unless others are asked for."""
Name = Annotated[str, Path(max_length=64)]
From = Annotated[date | None, Query(description="The first day; without it, the last 30 days")]
To = Annotated[date | None, Query(description="The last day")]


def add(router: APIRouter, context: Context, who: Who) -> None:
    """Add the routes to `router`."""
    options: dict[str, Any] = {"tags": ["read"], "dependencies": [Depends(who)]}

    @router.get("/reconciliations", summary="List reconciliations", **options)
    def reconciliations() -> Response:
        with context.engine.connect() as connection:
            runs, counts = queries.last_runs(connection), queries.open_counts(connection)
        specs = context.catalog().reconciliations
        items = [summary(name, spec, runs.get(name), counts.get(name, 0)) for name, spec in specs.items()]
        return answer({"items": items, "next_cursor": None})

    @router.get("/reconciliations/{name}/days", summary="What a reconciliation counted, by day", **options)
    def days(name: Name, since: From = None, until: To = None) -> Response:
        spec_of(context, name)
        first, last = span(context, since, until)
        with context.engine.connect() as connection:
            found = queries.days(connection, name, first, last)
        return answer({"items": [_day(item) for item in found], "next_cursor": None})

    @router.get("/reconciliations/{name}/discrepancies", summary="Objects that do not agree", **options)
    def discrepancies(
        name: Name,
        state: Annotated[Literal["open", "gone"] | None, Query()] = None,
        kind: Annotated[Literal["missing_left", "missing_right", "amount"] | None, Query()] = None,
        day: Annotated[date | None, Query(description="Those of one day")] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Response:
        spec_of(context, name)
        with context.engine.connect() as connection:
            page = queries.list_page(connection, name, state=state, kind=kind, day=day, limit=limit, cursor=cursor)
        return answer_page(page, _discrepancy)

    @router.get("/reconciliations/{name}/report", summary="A report as a file", **options)
    def report(
        name: Name,
        since: From = None,
        until: To = None,
        format: Annotated[Literal["csv", "days", "html"], Query(description="Of objects, of days, or a page")] = "csv",
    ) -> Response:
        spec = spec_of(context, name)
        first, last = span(context, since, until)
        with context.engine.connect() as connection:
            made = report_of(connection, name, spec, first, last)
        text = {"csv": reports.objects_csv, "days": reports.days_csv, "html": reports.as_html}[format](made)
        kind = "html" if format == "html" else "csv"
        shown = {"content-disposition": f'attachment; filename="{name}-{first}-{last}.{kind}"'}
        return Response(text, media_type=f"text/{kind}; charset=utf-8", headers=shown)


def spec_of(context: Context, name: str) -> Reconciliation:
    """Raises NotFound."""
    found = context.catalog().reconciliations.get(name)
    if found is None:
        raise NotFound(f"there is no reconciliation {name}")
    return found


def span(context: Context, since: date | None, until: date | None) -> tuple[date, date]:
    """The days that are meant: MAX_DAYS at most, the last ones."""
    last = until or context.clock().date() + timedelta(days=1)  # further east it is tomorrow already
    return max(since or last - SHOWN, last - timedelta(days=queries.MAX_DAYS)), last


def report_of(connection: sa.Connection, name: str, spec: Reconciliation, first: date, last: date) -> Report:
    found = list(queries.of_days(connection, name, first, last))
    return Report(name, spec, first, last, queries.days(connection, name, first, last), found)


# --- shapes -----------------------------------------------------------------------------------------------------------


def state_of(run: queries.Run | None) -> str:
    """not_run, failed, over (its tolerance), or ok."""
    if run is None:
        return "not_run"
    return "failed" if run.until is None else "over" if run.over else "ok"


def summary(name: str, spec: Reconciliation, run: queries.Run | None, open_now: int) -> dict[str, Any]:
    sides = {"left": spec.name_of("left"), "right": spec.name_of("right")}
    last = None
    if run is not None:
        last = {key: value for key, value in asdict(run).items() if key not in ("run_id", "name", "scheduled")}
    about = {"name": name, "title": spec.title, "compare": spec.compare, "match": spec.by, "owner": spec.owner}
    return {**about, **sides, "state": state_of(run), "open": open_now, "last_run": last}


def _day(day: queries.Day) -> dict[str, Any]:
    values = {key: value for key, value in asdict(day).items() if key != "name"}
    amounts = [{"currency": name, "left": left, "right": right} for name, (left, right) in day.amounts.items()]
    return {**values, "amounts": amounts}


def _discrepancy(found: queries.Discrepancy) -> dict[str, Any]:
    object_ = {"type": found.type, "key": found.key, "namespace": found.namespace} if found.type else None
    journey = None
    if found.journey_key is not None:
        names = (found.journey_kind, found.journey_key, found.journey_namespace)
        journey = dict(zip(("kind", "key", "namespace"), names, strict=True))
    money = {
        side: None if amount is None else {"amount": money_text(amount), "currency": currency}
        for side, amount, currency in (
            ("left", found.left_amount, found.left_currency),
            ("right", found.right_amount, found.right_currency),
        )
    }
    times = {"since": found.at, "day": found.day, "found_at": found.found_at, "gone_at": found.gone_at}
    return {"id": found.discrepancy_id, "kind": found.kind, "object": object_, "journey": journey, **money, **times,
            "why": found.why}  # fmt: skip
