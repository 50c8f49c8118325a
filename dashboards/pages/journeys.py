"""Journeys: find any order or shipment, narrow the list down, and see what is late first."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from dash import html

from dashboards import words
from dashboards.components import filters
from dashboards.components.grid import column, grid
from dashboards.components.parts import empty, journey_href, link, list_href, live, pager, tone_of
from dashboards.context import Context
from dashboards.queries import journeys as queries
from dashboards.queries import overview, search
from dashboards.queries.paging import DEFAULT_LIMIT, Page
from dashboards.view import View
from milepost.catalog.schema import Catalog
from milepost.errors import Permanent

ANY: Final = "any"
MAX_DIGITS: Final = 18
"""Of an alert's number."""
_SORTS: Final = (
    ("last_at", "Latest activity"), ("quiet", "Quietest first"), ("due", "Warns or is due next"),
    ("amount", "Highest value"), ("started_at", "Newest"),
)  # fmt: skip
_HEALTHS: Final = (
    (ANY, "All"),
    ("on_track", "On track"),
    ("off_track", "Off track"),
    ("at_risk", "At risk"),
    ("breached", "Breached"),
)
_DOWNLOADS: Final[tuple[tuple[str, str, dict[str, str]], ...]] = (
    ("CSV", "csv", {}), ("Step durations", "csv", {"table": "durations"}), ("OCEL 2.0", "ocel-json", {}),
)  # fmt: skip
_TONES: Final = {"on_track": ("On track", "ok"), "at_risk": ("At risk", "warn"), "breached": ("Breached", "bad")}


class Journeys:
    name = "journeys"
    pattern = r"/journeys/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Journeys"

    def frame(self, context: Context, view: View) -> Any:
        catalog = context.catalog()
        with context.engine.connect() as connection:
            values = queries.choices(connection, list(catalog.models))
        kinds = [(name, model.title or words.title(name)) for name, model in catalog.models.items()]
        states = [(state, words.title(state)) for state in queries.STATES]
        return filters.bar(
            [
                filters.search_box(view),
                filters.segments(view, "health", _HEALTHS, ANY),
                html.Div(filters.select(view, "sort", "Sort", _SORTS, "last_at"), className="mp-sort"),
            ],
            [
                filters.select(view, "kind", "Kind", [*kinds, (ANY, "Every kind")], default_kind(catalog)),
                filters.select(view, "state", "State", [*states, (ANY, "Every state")], "open"),
                filters.select(view, "stage", "Stage", stages(catalog)),
                *_alert_filter(view),
                *(
                    filters.select(view, name, words.title(name), [(value, value) for value in values[name]])
                    for name in queries.DIMENSIONS
                ),
            ],
        )

    def body(self, context: Context, view: View) -> Any:
        catalog = context.catalog()
        with context.engine.connect() as connection:
            try:
                page = _page(connection, catalog, view)
            except Permanent:  # a cursor from an old link: begin anew
                page = _page(connection, catalog, View(**{**vars(view), "params": _without_cursors(view)}))
            if not page.items:
                return _nothing(connection, view)
        return [
            grid("journeys", _columns(), [_row(row) for row in page.items], height=46),
            live(
                "pager",
                pager(
                    view.href(before=page.previous_cursor, cursor=None) if page.previous_cursor else None,
                    view.href(cursor=page.next_cursor, before=None) if page.next_cursor else None,
                    _shown(page, view),
                ),
            ),
            live("downloads", downloads(view, default_kind(catalog))) if view.person.may("export") else None,
        ]


def _alert_filter(view: View) -> list[Any]:
    """Shown while it is set: an alert's page sets it."""
    number = view.get("alert")
    return [filters.select(view, "alert", "Alert", [(number, f"Alert {number}")])] if number else []


def alert_of(view: View) -> int | None:
    """The alert whose journeys are listed."""
    number = view.get("alert")
    return int(number) if number.isdecimal() and len(number) <= MAX_DIGITS else None


def downloads(view: View, kind: str) -> html.Div:
    """All that the filters leave, not this page alone; the API answers, which knows the reader's session too."""
    params = {
        name: value
        for name, value in view.params.items()
        if name in ("q", "stage", "health", "alert", *queries.DIMENSIONS)
    }
    params |= {"kind": view.get("kind", kind), "state": view.one_of("state", (*queries.STATES, ANY), "open")}
    params = {name: value for name, value in params.items() if value and value != ANY}
    links = [
        html.A(text, href=list_href(f"/v1/export/{form}", **more, **params), className="mp-link", download="")
        for text, form, more in _DOWNLOADS
    ]
    return html.Div([html.Span("Download all of these:"), *links], className="mp-downloads")


def _shown(page: Page[queries.Row], view: View) -> str:
    text = words.many(len(page.items), "journey") + (", more on the next page" if page.next_cursor else "")
    if view.get("sort") in queries.OPEN_ONLY and view.get("state", "open") != "open":
        text += ". By latest activity: deadline and value sort open journeys only"
    return text


def default_kind(catalog: Catalog) -> str:
    return next(iter(catalog.models))


def stages(catalog: Catalog) -> list[tuple[str, str]]:
    """Every stage of every model, in the order of the first that has it."""
    names = {
        step.name: step.title or words.title(step.name)
        for model in catalog.models.values()
        for step in model.milestones
        if not step.beside
    }
    return [(queries.NO_STAGE, "No milestone yet"), *names.items()]  # fmt: skip


def _without_cursors(view: View) -> dict[str, str]:
    return {name: value for name, value in view.params.items() if name not in ("cursor", "before")}


def _page(connection: sa.Connection, catalog: Catalog, view: View) -> Page[queries.Row]:
    kind = view.get("kind", default_kind(catalog))
    kind = kind if kind in catalog.models else ANY
    state = view.one_of("state", (*queries.STATES, ANY), "open")
    stage = view.get("stage")
    ranks = {step.name: rank for rank, step in enumerate(catalog.models[kind].milestones)} if kind != ANY else {}
    text = view.get("q")
    wanted = queries.Filter(
        kind=None if kind == ANY else kind,
        state=None if state == ANY else state,
        stage=stage or None,
        stage_rank=ranks.get(stage),
        health=next((one for one in queries.HEALTHS if one == view.get("health")), None),
        **_dimensions(view),
        alert=alert_of(view),
        ids=search.find(connection, catalog, text) if text else None,
    )
    before = view.get("before")
    sort = view.one_of("sort", queries.ORDERS, "last_at")
    return queries.list_page(
        connection,
        wanted,
        kinds=list(catalog.models),
        sort="last_at" if sort in queries.OPEN_ONLY and state != "open" else sort,
        limit=DEFAULT_LIMIT,
        cursor=before or view.get("cursor") or None,
        backwards=bool(before),
    )


def _dimensions(view: View) -> dict[str, Any]:
    return {name: view.get(name) or None for name in queries.DIMENSIONS}


def _columns() -> list[dict[str, Any]]:
    return [
        column("key", "Journey", flex=1.2, width=128, cell="MpKey", wide=False),
        column("health", "Health", width=108, cell="MpBadge", wide=False),
        column("stage", "Stage", flex=1, width=112, cell="MpText"),
        column("origin", "Channel", flex=1.6, width=106, cell="MpText"),
        column("warehouse", "Warehouse", width=98, cell="MpText"),
        column("carrier", "Carrier", width=76, cell="MpText"),
        column("amount", "Value", width=136, right=True, cell="MpText"),
        column("due", "Next deadline", width=140, cell="MpTime"),
        column("last", "Last activity", width=124, cell="MpTime"),
    ]


def _row(row: queries.Row) -> dict[str, Any]:
    text, tone = _TONES[row.health] if row.state == "open" else (words.title(row.state), tone_of(row.state))
    stage = words.title(row.stage) if row.stage else "No milestone yet"
    return {
        "id": str(row.journey_id),
        "href": journey_href(row.kind, row.key, row.namespace),
        "key": row.key,
        "kind": words.title(row.kind),
        "space": row.namespace.partition("=")[2],
        "health": {"text": text, "tone": tone},
        "stage": stage,
        "origin": " · ".join(part for part in (row.channel, row.partner) if part),
        "warehouse": row.warehouse,
        "carrier": row.carrier,
        "amount": words.money(row.amount, row.currency) if row.amount is not None else None,
        "due": _deadline(row),
        "last": _time(row.last_at, "ago"),
    }


def _deadline(row: queries.Row) -> dict[str, Any] | None:
    """The one that passed, else the next."""
    if row.late_since:
        return _time(row.late_since, "left", "bad")
    return _time(row.due_at, "left", "warn" if row.at_risk else None)


def _time(at: Any, mode: str, tone: str | None = None) -> dict[str, Any] | None:
    return {"at": words.iso(at), "mode": mode, "plain": words.plain_time(at), "tone": tone} if at else None


def _nothing(connection: sa.Connection, view: View) -> html.Div:
    if not overview.has_data(connection):
        return empty(
            "No journeys yet", "Send a first event; the overview shows how.", action=link("To the overview", "/")
        )
    if view.get("q"):
        wider = view.href(kind=ANY, state=ANY, health=None, stage=None, cursor=None, before=None)
        text = "No member of any journey has a key that begins like this. Keys are compared as the catalog says."
        return empty(f"Nothing found for {view.get('q')}", text, action=link("Search every kind and state", wider))
    return empty(
        "No journey matches", "Take a filter away, or look at every state.", name="filter",
        action=link("Show every journey", f"/journeys?kind={ANY}&state={ANY}"),
    )  # fmt: skip
