"""Anomalies: what is not as usual, in plain words, with the series it was found in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from dash import html

from dashboards import figures, words
from dashboards.components import filters
from dashboards.components.charts import chart
from dashboards.components.parts import ago, card, empty, facts, journey_href, link, live, pager, state_badge, tone_of
from dashboards.context import Context
from dashboards.queries import anomalies as queries
from dashboards.queries.paging import DEFAULT_LIMIT, Page
from dashboards.view import View
from milepost.errors import Permanent

AROUND: Final = timedelta(days=4)
_DETECTORS: Final = (("volume", "Event volume"), ("duration", "Stage duration"), ("journey", "Odd journeys"))


class Anomalies:
    name = "anomalies"
    pattern = r"/anomalies/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Anomalies"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return filters.bar([filters.segments(view, "detector", [("any", "All"), *_DETECTORS], "any")])

    def body(self, context: Context, view: View) -> Any:
        detector = view.one_of("detector", dict(_DETECTORS)) or None
        with context.engine.connect() as connection:

            def page(cursor: str | None) -> Page[queries.Anomaly]:
                return queries.list_page(connection, detector=detector, limit=DEFAULT_LIMIT, cursor=cursor)

            try:
                found = page(view.get("cursor") or None)
            except Permanent:  # a cursor from an old link: begin anew
                found = page(None)
        if not found.items:
            return empty(
                "Nothing odd",
                "Milepost learns what is usual for each source and step from some weeks of events; what departs from it"
                " appears here.",
                name="anomalies",
                action=link("Import history to learn from", "/"),
            )
        return [
            live("anomalies", [_row(item) for item in found.items], "mp-card mp-alert-list"),
            live(
                "pager",
                pager(
                    view.href(cursor=None) if view.get("cursor") else None,
                    view.href(cursor=found.next_cursor) if found.next_cursor else None,
                    words.many(len(found.items), "anomaly", "anomalies"),
                ),
            ),
        ]


def _row(item: queries.Anomaly) -> Any:
    return link(
        [
            html.I(className=f"mp-bar mp-{tone_of(item.severity)}"),
            html.Div([html.B(item.reason), html.P(_subtitle(item))], className="mp-alert-what"),
            _pair("Expected", _value(item, item.expected)),
            _pair("Observed", _value(item, item.observed)),
            _pair("Off by", f"{abs(item.score):.1f} σ"),
            _pair("When", ago(item.at)),
            state_badge(item.severity),
        ],
        f"/anomalies/{item.anomaly_id}",
        className="mp-alert-row mp-anomaly-row",
    )


def _subtitle(item: queries.Anomaly) -> str:
    if item.journey_key:
        return f"{words.title(item.journey_kind or '')} {item.journey_key}"
    parts = [part for part in item.series.split("|") if part]
    return " · ".join([dict(_DETECTORS).get(item.detector, words.title(item.detector)), *parts])


def _pair(name: str, value: Any) -> html.Div:
    return html.Div([html.Span(name), html.B(value)], className="mp-pair")


def _value(item: queries.Anomaly, value: float | None) -> str:
    """Events, or how long a step took; a journey is odd as a whole and has neither."""
    if value is None or item.detector == "journey":
        return "–"
    if item.detector == "duration":
        return words.span(timedelta(seconds=value), coarse=True)
    return f"{value:,.0f}" if abs(value) >= 10 or value == round(value) else f"{value:,.1f}"


class Anomaly:
    name = "anomaly"
    pattern = r"/anomalies/(?P<id>\d{1,18})"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Anomaly"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        with context.engine.connect() as connection:
            item = queries.one(connection, int(view.parts["id"]))
            if item is None:
                return empty("There is no such anomaly", "", action=link("All anomalies", "/anomalies"))
            return [_head(item), _series_card(connection, item, view)]


def _head(item: queries.Anomaly) -> Any:
    journey = None
    if item.journey_kind and item.journey_key:
        href = journey_href(item.journey_kind, item.journey_key, item.journey_namespace or "")
        journey = link(item.journey_key, href, className="mp-link")
    values = [
        ("Expected", None if item.detector == "journey" else _value(item, item.expected)),
        ("Observed", None if item.detector == "journey" else _value(item, item.observed)),
        ("Off by", f"{abs(item.score):.1f} robust standard deviations"),
        ("When", ago(item.at, "time")),
        ("Found", ago(item.found_at)),
        ("Over", ago(item.ended_at) if item.ended_at else None),
        ("Journey", journey),
        *((words.title(name), str(value)) for name, value in item.labels.items()),
    ]
    return card(
        [
            html.Div(
                [
                    html.Div([html.H2(item.reason), html.Span(_subtitle(item), className="mp-dim")]),
                    html.Div(state_badge(item.severity), className="mp-head-badges"),
                ],
                className="mp-head mp-alert-title",
            ),
            facts(values),
        ],
        name="head",
        className="mp-block",
    )


def _series_card(connection: sa.Connection, item: queries.Anomaly, view: View) -> Any:
    """The hours around it, for a series of event counts."""
    parts = item.series.split("|")
    if item.detector != "volume" or len(parts) != 3:
        return None
    since, until = item.at - AROUND, min(view.now, item.at + timedelta(days=1))
    source, event_type, dimension = parts
    hours = queries.hours(connection, source, event_type, dimension, since, until)
    odd = queries.odd_hours(connection, item.detector, item.series, since, until)
    figure = figures.expectation(
        figures.fill_hours(hours, since, until),
        queries.baseline(connection, item.detector, item.series),
        view.zone,
        odd,
    )
    what = f"{event_type or 'Events'} from {source}" + (f", {dimension}" if dimension else "")
    title = f"{what}, per hour"
    return card(
        chart(figure, "series", title), name="series-card", alive=False, title=title, aside="the band is what is usual"
    )
