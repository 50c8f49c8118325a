"""Sources: who sends, how fresh it is, and what was refused; and the quarantine with what was refused, whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import dash_mantine_components as dmc
from dash import html

from dashboards import words
from dashboards.components import filters
from dashboards.components.icons import icon
from dashboards.components.parts import (
    Tone,
    ago,
    badge,
    card,
    empty,
    link,
    list_href,
    live,
    pager,
    state_badge,
    table,
)
from dashboards.context import Context
from dashboards.queries import sources as queries
from dashboards.queries.paging import DEFAULT_LIMIT, Page
from dashboards.view import View
from milepost.errors import Permanent

_NOTE: Final = (
    "The curve is the last hour; rate and lag are of the last ten minutes."
    " Lag is from when it happened to when it was received."
)
QUIET: Final = timedelta(minutes=15)
SILENT: Final = timedelta(hours=2)
_KINDS: Final = (("refused", "Refused"), ("conflict", "Conflict"), ("failed", "Failed later"))
_STATES: Final = (("open", "Open"), ("replayed", "Replayed"), ("discarded", "Discarded"), ("any", "All"))


class Sources:
    name = "sources"
    pattern = r"/sources/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Sources"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        with context.engine.connect() as connection:
            found = queries.source_list(connection, context.catalog(), view.now)
            pollers = queries.poller_list(connection)
        heard = [source for source in found if source.last_received_at is not None]
        if not heard:
            return empty(
                "Nobody has sent anything yet",
                "A source appears here with its first event. Make a key for it: milepost keys create.",
                name="sources",
                action=link("How to send the first event", "/"),
            )
        return [
            _poller_card(pollers),
            live("sources", [_head(), *(_row(source, view.now) for source in found)], "mp-card mp-source-list"),
            html.P(_NOTE, className="mp-note"),
        ]


def _head() -> html.Div:
    names = ("Source", "Latest event", "Events a minute", "Lag", "Events", "Duplicates", "Conflicts", "Quarantine")
    return html.Div([html.Span(name) for name in names], className="mp-source mp-source-head")


def _row(source: queries.Source, now: datetime) -> html.Div:
    text, tone = _freshness(source.last_occurred_at, now)
    below = (source.source if source.title else "", source.owner or "")
    refused = link(
        words.count(source.refused), list_href("/quarantine", source=source.source), className="mp-flag mp-bad"
    )
    return html.Div(
        [
            html.Div(
                [
                    html.B(source.title or source.source),
                    html.Span(" · ".join(part for part in below if part)),
                ],
                className="mp-source-name",
            ),
            _cell("Latest event", [badge(text, tone), ago(source.last_occurred_at)], "mp-two"),
            _cell("Events a minute", [_spark(source, now, tone), html.B(f"{source.rate:,.1f}")], "mp-source-rate"),
            _cell("Lag", _lag(source), "mp-two"),
            _cell("Events", words.count(source.events)),
            _cell("Duplicates", _share(source.duplicates, source.events)),
            _cell("Conflicts", words.count(source.conflicts)),
            _cell("Quarantine", refused if source.refused else html.Span("0", className="mp-dim")),
        ],
        className="mp-source",
    )  # fmt: skip


def _cell(name: str, value: Any, className: str = "") -> html.Div:
    """On a phone the name of the column stands before the value."""
    return html.Div([html.Span(name, className="mp-cell-name"), html.Div(value)], className=className)


def _freshness(latest: datetime | None, now: datetime) -> tuple[str, Tone]:
    """By when its latest event happened: history that comes in now does not bring a silent source to life."""
    if latest is None:
        return "Never", "muted"
    quiet = now - latest
    return ("Live", "ok") if quiet < QUIET else ("Quiet", "warn") if quiet < SILENT else ("Silent", "bad")


def _spark(source: queries.Source, now: datetime, tone: Tone) -> Any:
    """Sixty minutes; a minute without a row is zero."""
    known = dict(source.minutes)
    last = now.replace(second=0, microsecond=0)
    values = [known.get(last - timedelta(minutes=back), 0) for back in range(59, 0, -1)]
    colour = {"ok": "var(--mp-info-fill)", "warn": "var(--mp-warn-fill)"}.get(tone, "var(--mp-muted-fill)")
    return dmc.Sparkline(
        data=values, w=110, h=28, curveType="monotone", color=colour, strokeWidth=1.5, fillOpacity=0.18
    )


def _lag(source: queries.Source) -> Any:
    if source.lag_mean is None:
        return html.Span("–", className="mp-dim")
    longest = words.span(timedelta(seconds=source.lag_max or 0), coarse=True)
    mean = words.span(timedelta(seconds=source.lag_mean), coarse=True)
    return [html.B(mean), html.Span(f"max {longest}", className="mp-dim mp-small")]


def _share(part: int, whole: int) -> Any:
    share = f" {words.percent(part / (whole + part))}" if part and whole else ""
    return [words.count(part), html.Span(share, className="mp-dim mp-small")]


def _poller_card(pollers: Sequence[Mapping[str, Any]]) -> Any:
    """Connections that Milepost polls; only those that fail need attention."""
    failing = [poller for poller in pollers if poller["error"]]
    if not failing:
        return None
    rows = [
        [html.B(poller["name"]), ago(poller["failing_since"]), html.Span(poller["error"], className="mp-small")]
        for poller in failing
    ]
    return card(
        table(["Connection", "Failing since", "Error"], rows),
        name="pollers",
        title="Connections that fail",
        className="mp-block",
    )


class Quarantine:
    name = "quarantine"
    pattern = r"/quarantine/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Quarantine"

    def frame(self, context: Context, view: View) -> Any:
        with context.engine.connect() as connection:
            counts = queries.refusals(connection)
        options = [(name, f"{name} ({words.count(number)})") for name, number in sorted(counts.items())]
        return filters.bar(
            [filters.segments(view, "state", _STATES, "open")],
            [filters.select(view, "source", "Source", options), filters.select(view, "kind", "Kind", _KINDS)],
        )

    def body(self, context: Context, view: View) -> Any:
        state = view.one_of("state", dict(_STATES), "open")
        with context.engine.connect() as connection:

            def page(cursor: str | None) -> Page[queries.Refused]:
                return queries.quarantine_page(
                    connection,
                    source=view.get("source") or None,
                    kind=view.one_of("kind", dict(_KINDS)) or None,
                    state=None if state == "any" else state,
                    limit=DEFAULT_LIMIT,
                    cursor=cursor,
                )

            try:
                found = page(view.get("cursor") or None)
            except Permanent:  # a cursor from an old link: begin anew
                found = page(None)
        if not found.items:
            return empty(
                "Nothing is in quarantine",
                "Events that are refused, or contradict what is stored, are kept here whole.",
                name="quarantine",
                action=link("Show all", "/quarantine?state=any") if state != "any" else None,
            )
        return [
            live("refusals", [_refused(row) for row in found.items], "mp-card mp-refusals"),
            live(
                "pager",
                pager(
                    view.href(cursor=None) if view.get("cursor") else None,
                    view.href(cursor=found.next_cursor) if found.next_cursor else None,
                    words.many(len(found.items), "event"),
                ),
            ),
        ]


def _refused(row: queries.Refused) -> html.Details:
    return html.Details(
        [
            html.Summary(
                [
                    icon("right", 13),
                    html.Div([html.B(row.reason), html.Span(row.event_id or "no id", className="mp-dim mp-small")]),
                    html.Span(row.source, className="mp-refused-source"),
                    state_badge(row.kind if row.state == "open" else row.state),
                    ago(row.received_at),
                ]
            ),
            html.Div(
                [
                    html.P(f"Sent with the key “{row.sender}”", className="mp-dim mp-small") if row.sender else None,
                    html.Pre(_readable(row.body)),
                ],
                className="mp-event-body",
            ),
        ],
        className="mp-event mp-refused",
        id=f"refused-{row.quarantine_id}",
    )


def _readable(body: bytes) -> str:
    """Indented when it is JSON, else as it came."""
    text = body.decode("utf-8", "replace")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
