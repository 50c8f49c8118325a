"""Silences and maintenance windows: what is kept from people, by whom, and what that hides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final
from urllib.parse import urlencode

import sqlalchemy as sa
from dash import html

from alerting import silences, windows
from alerting.silence import Silence
from alerting.silence_preview import Sum, preview
from dashboards import words
from dashboards.components.icons import icon
from dashboards.components.parts import Tone, ago, badge, card, empty, facts, journey_href, link, table
from dashboards.context import Context
from dashboards.queries import hidden
from dashboards.silencing import LOOK_BACK, RIGHT, STATES
from dashboards.view import View
from milepost.catalog import matcher
from milepost.catalog.matcher import Matcher
from milepost.catalog.window import Window
from milepost.errors import NotFound

_OVER: Final = 20
"""So many silences that are over are shown."""
_TONES: Final[dict[str, Tone]] = {"active": "warn", "upcoming": "info", "expired": "muted", "ended": "muted"}
_ENDS: Final[dict[str, tuple[str, Tone]]] = {
    "told": ("Told then", "info"), "cleared": ("Right again before", "ok"), "handed on": ("Handed on", "muted"),
}  # fmt: skip
Line = tuple[Silence, hidden.Count]


def new_href(labels: Iterable[tuple[str, str]]) -> str:
    """Where something with these labels is silenced."""
    what = "; ".join(str(Matcher(name, "=", (value,))).replace(";", r"\;") for name, value in labels)
    return f"/silences/new?{urlencode({'what': what})}"


def hider_href(stage: str, by_id: int | None, by_name: str) -> str | None:
    """The page of what hides something."""
    if stage == "silence":
        return f"/silences/{by_id}" if by_id else f"/silences/window/{by_name.removeprefix('window ')}"
    return f"/alerts/{by_id}" if stage == "inhibit" and by_id else None


class Silences:
    name = "silences"
    pattern = r"/silences/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Silences"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        may_act, catalog = view.person.may(RIGHT), context.catalog()
        with context.engine.connect() as connection:
            now_or_soon = _listed(connection, silences.some(connection, STATES["open"], now=view.now, limit=200))
            over = _listed(connection, silences.some(connection, STATES["over"], now=view.now, limit=_OVER))
            counts = hidden.counts(connection, "silence", [f"window {name}" for name in catalog.windows])
        planned = [(name, one, counts[f"window {name}"]) for name, one in catalog.windows.items()]
        return [
            _silence_card(now_or_soon, view.now, may_act=may_act),
            _window_card(planned, view.now),
            _over_card(over, view.now) if over else None,
        ]


def _listed(connection: sa.Connection, found: Sequence[Silence]) -> list[Line]:
    counts = hidden.counts(connection, "silence", [one.cover().name for one in found])
    return [(one, counts[one.cover().name]) for one in found]


def _silence_card(found: Sequence[Line], now: datetime, *, may_act: bool) -> html.Section:
    if found:
        rows = [[*_cells(one, count, now), _end_button(one) if may_act else ""] for one, count in found]
        body: Any = table(["", "", "What", "Why", "By", "Until", "Hides now", "Kept", ""], rows)
    else:
        body = empty(
            "Nothing is silenced", "Whatever is wrong is told to whom it is routed.", name="check",
            className="mp-empty-small",
        )  # fmt: skip
    aside = link([icon("silence", 16), "New silence"], "/silences/new", className="mp-button") if may_act else None
    return card(body, name="silences", title="Silences", aside=aside, className="mp-block")


def _over_card(found: Sequence[Line], now: datetime) -> html.Section:
    rows = [_cells(one, count, now) for one, count in found]
    return card(table(["", "", "What", "Why", "By", "Until", "", "Kept"], rows), name="over", title="Over")


def _cells(one: Silence, count: hidden.Count, now: datetime) -> list[Any]:
    state, href = one.state(now), f"/silences/{one.silence_id}"
    return [
        link(str(one.silence_id), href, className="mp-link"),
        badge(words.title(state), _TONES[state]),
        link(html.B(matcher.said(one.matchers)), href),
        one.reason,
        one.created_by,
        ago(one.over_at, "ago" if one.over_at <= now else "left"),
        words.count(count.hides) if state == "active" else "",
        words.count(count.kept),
    ]


def _end_button(one: Silence) -> html.Button:
    return html.Button("End", id={"type": "silence-end", "silence": one.silence_id}, n_clicks=0, className="mp-button")


def _window_card(found: Sequence[tuple[str, Window, hidden.Count]], now: datetime) -> html.Section:
    if not found:
        body: Any = empty(
            "No maintenance windows", "Times at which something is down on purpose stand in windows.yaml.",
            name="clock", className="mp-empty-small",
        )  # fmt: skip
    else:
        rows = [_window_cells(name, one, count, now) for name, one, count in found]
        body = table(["", "What", "Title", "Next", "Hides now", "Kept"], rows)
    return card(body, name="windows", title="Maintenance windows", className="mp-block")


def _window_cells(name: str, one: Window, count: hidden.Count, now: datetime) -> list[Any]:
    span, following = windows.open_span(one, now), windows.next_span(one, now)
    when = html.Span(["until ", ago(span[1], "time")]) if span else ago(following[0], "time") if following else "never"
    return [
        badge("Open", "warn") if span else badge("Closed", "muted"),
        link(
            [html.B(name), " ", html.Span(matcher.said(one.matchers), className="mp-dim")], f"/silences/window/{name}"
        ),
        one.title,
        when,
        words.count(count.hides),
        words.count(count.kept),
    ]


# --- one of them ------------------------------------------------------------------------------------------------------


class One:
    """One silence, and what it keeps."""

    name = "silence"
    pattern = r"/silences/(?P<number>\d{1,18})"

    def title(self, view: View) -> str:
        return f"Silence {view.parts['number']}"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        with context.engine.connect() as connection:
            try:
                one = silences.one(connection, int(view.parts["number"]))
            except NotFound as error:
                return empty("There is no such silence", str(error), action=link("All silences", "/silences"))
            kept = hidden.by(connection, "silence", one.cover().name)
        state = one.state(view.now)
        may_end = view.person.may(RIGHT) and state in ("active", "upcoming")
        values = [
            ("State", badge(words.title(state), _TONES[state])),
            ("By", one.created_by),
            ("From", ago(one.starts_at, "time")),
            ("Until", ago(one.ends_at, "time")),
            ("Ended", html.Span([one.ended_by, ", ", ago(one.ended_at, "time")]) if one.ended_at else None),
            ("Reminder to", one.owner or one.created_by),
        ]
        head = [
            html.P(f"Keeps {matcher.said(one.matchers)} from being told: {one.reason}", className="mp-sentence"),
            facts(values),
            html.Div(_end_button(one), className="mp-acts") if may_end else None,
        ]
        return [card(head, name="head", className="mp-block"), _kept_card(kept)]


class OneWindow:
    """One maintenance window: when it is open, and what it keeps."""

    name = "window"
    pattern = r"/silences/window/(?P<name>[a-z][a-z0-9_\-]{0,63})"

    def title(self, view: View) -> str:
        return f"Window {view.parts['name']}"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        name = view.parts["name"]
        one = context.catalog().windows.get(name)
        since = view.now - LOOK_BACK
        with context.engine.connect() as connection:
            kept = hidden.by(connection, "silence", f"window {name}")
            if one is None:
                gone = empty("The catalog has no such window", "What it kept while there was one stands below.")
                return [gone, _kept_card(kept)]
            spans = list(windows.spans(one, since, view.now))
            seen = preview(connection, one.matchers, since=since, spans=spans)
        following = list(islice(windows.spans(one, view.now, view.now + windows.FAR), 4))
        values = [
            ("Zone", one.zone),
            ("Owner", one.owner),
            *((f"{'Next' if start > view.now else 'Open'} {index}", _span(start, end))
              for index, (start, end) in enumerate(following, 1)),
        ]  # fmt: skip
        text = f"Keeps {matcher.said(one.matchers)} from being told" + (f": {one.title}" if one.title else "")
        head = [html.P(text, className="mp-sentence"), facts(values)]
        return [card(head, name="head", className="mp-block"), seen_card(seen.now, seen.past, "came while it was open"),
                _kept_card(kept)]  # fmt: skip


def _span(start: datetime, end: datetime) -> html.Span:
    return html.Span([ago(start, "time"), " to ", ago(end, "time")])


def _kept_card(kept: Sequence[hidden.Row]) -> html.Section:
    if not kept:
        body: Any = empty(
            "It has kept nothing from anybody", "What it hides is listed here.", className="mp-empty-small"
        )
    else:
        body = table(["What", "Alert", "Why", "Value", "Since", ""], [_kept_cells(row) for row in kept])
    aside = f"the latest {words.many(len(kept), 'item')}" if kept else None
    return card(body, name="kept", title="What it kept from people", aside=aside)


def _kept_cells(row: hidden.Row) -> list[Any]:
    key: Any = row.item
    if row.journey_key is not None and row.journey_kind is not None:
        href = journey_href(row.journey_kind, row.journey_key, row.journey_namespace or "")
        key = link(row.journey_key, href, className="mp-link")
    return [
        key,
        link(row.title, f"/alerts/{row.alert_id}", className="mp-link"),
        row.summary,
        words.money(row.amount, row.currency) if row.amount is not None else "",
        ago(row.since),
        badge("Hidden", "warn") if row.end is None else badge(*_ENDS[row.end]),
    ]


def seen_card(now: Sum, past: Sum, how: str) -> html.Section:
    rows = [
        [
            link(f"{one.title}", f"/alerts/{one.alert_id}", className="mp-link"),
            badge(words.title(one.state), "muted" if one.state == "resolved" else "bad"),
            words.count(one.items),
        ]
        for one in (now.found or past.found)
    ]
    values = [("Open now", _summed(now)), ("Of the last 7 days", f"{_summed(past)} {how}")]
    shown = table(["Alert", "", "Items"], rows) if rows else html.P("Nothing matches.", className="mp-dim")
    inside = [facts(values), html.Div(shown, className="mp-below")]
    return card(inside, name="preview", title="What it is about", className="mp-block")


def _summed(one: Sum) -> str:
    worth = f", {words.moneys({name: str(amount) for name, amount in one.money.items()})}" if one.money else ""
    return f"{words.many(one.items, 'item')} of {words.many(one.alerts, 'alert')}{worth}"
