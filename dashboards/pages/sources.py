"""Sources: who sends, how fresh it is, and what was refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import dash_mantine_components as dmc
from dash import html

from dashboards import words
from dashboards.components.parts import (
    Tone,
    ago,
    badge,
    card,
    empty,
    link,
    list_href,
    live,
    table,
)
from dashboards.context import Context
from dashboards.pages.shortfall import Gaps
from dashboards.queries import feeds
from dashboards.queries import sources as queries
from dashboards.view import View
from milepost.catalog import flow

_NOTE: Final = (
    "The curve is the last hour; rate and lag are of the last ten minutes."
    " Lag is from when it happened to when it was received."
    " Quiet: for longer than the usual gap (p99) at this hour; silent: by a policy."
    " Clock ahead: events that claim a time over five minutes in the future; they count as of their reception."
)
QUIET: Final = timedelta(minutes=15)
SILENT: Final = timedelta(hours=2)
_FEW: Final = 3
"""Kinds of refusal that are told one by one."""


class Sources:
    name = "sources"
    pattern = r"/sources/?"

    def __init__(self) -> None:
        self._gaps = Gaps()

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
            self._gaps.card(context, view),
        ]


def _head() -> html.Div:
    names = ("Source", "Latest event", "Events a minute", "Lag", "Events", "Duplicates", "Clock ahead", "Quarantine")
    return html.Div([html.Span(name) for name in names], className="mp-source mp-source-head")


def _row(source: queries.Source, now: datetime) -> html.Div:
    text, tone = _freshness(source, now)
    below = (source.source if source.title else "", source.owner or "")
    return html.Div(
        [
            html.Div(
                [
                    html.B(source.title or source.source),
                    html.Span(" · ".join(part for part in below if part)),
                ],
                className="mp-source-name",
            ),
            _cell("Latest event", [badge(text, tone), ago(source.last_occurred_at), *_promised(source)], "mp-two"),
            _cell("Events a minute", [_spark(source, now, tone), html.B(f"{source.rate:,.1f}")], "mp-source-rate"),
            _cell("Lag", _lag(source), "mp-two"),
            _cell("Events", words.count(source.events)),
            _cell("Duplicates", _share(source.duplicates, source.events)),
            _cell("Clock ahead", _share(source.skewed, source.events - source.skewed)),
            _cell("Quarantine", _quarantined(source), "mp-two"),
        ],
        className="mp-source",
    )  # fmt: skip


def _cell(name: str, value: Any, className: str = "") -> html.Div:
    """On a phone the name of the column stands before the value."""
    return html.Div([html.Span(name, className="mp-cell-name"), html.Div(value)], className=className)


def _freshness(source: queries.Source, now: datetime) -> tuple[str, Tone]:
    """By what policies say and what is usual; else by when its latest event happened: history that comes in now does
    not bring a silent source to life. Milepost itself speaks only when something differs."""
    feed, latest = source.feed, source.last_occurred_at
    if feed.silences:
        return "Silent", "bad"
    if source.own:
        return "Milepost itself", "muted"
    if latest is None:
        return "Never", "muted"
    if feed.usual_gap is not None and feed.heard_at is not None:
        return ("Quiet", "warn") if now - feed.heard_at > max(QUIET, feed.usual_gap) else ("Live", "ok")
    quiet = now - latest
    return ("Live", "ok") if quiet < QUIET else ("Quiet", "warn") if quiet < SILENT else ("Silent", "bad")


def _promised(source: queries.Source) -> list[Any]:
    """What is usual and promised of it, its silences, and what it holds back."""
    feed = source.feed
    usual = f"usual gap {words.span(feed.usual_gap, coarse=True)}" if feed.usual_gap is not None else ""
    said = [f"{one.policy}: every {one.within}" for one in feed.promises if one.within != flow.AUTO]
    told = [_silence(one) for one in feed.silences]
    held = f"holds back {words.count(feed.held)} stuck" if feed.held else ""
    return [*told, *(html.Span(text, className="mp-dim mp-small") for text in (held, usual, *said) if text)]


def _silence(one: feeds.Silent) -> Any:
    part = ", ".join(one.labels.values())
    text = f"{one.policy}{f' ({part})' if part else ''}"
    return html.Span(text) if one.alert_id is None else link(text, f"/alerts/{one.alert_id}", className="mp-small")


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


def _quarantined(source: queries.Source) -> Any:
    """What is open, by kind; and what was refused and only counted."""
    if not source.refused and not source.unkept:
        return html.Span("0", className="mp-dim")
    by_count = sorted(source.quarantined.items(), key=lambda item: -item[1])
    told = ", ".join(f"{words.count(number)} {kind}" for kind, number in by_count[:_FEW])
    lost = f"{words.count(source.unkept)} not kept" if source.unkept else ""
    href = list_href("/quarantine", source=source.source)
    return [
        link(words.count(source.refused), href, className="mp-flag mp-bad") if source.refused else None,
        html.Span(", ".join(part for part in (told, lost) if part), className="mp-dim mp-small"),
    ]


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
