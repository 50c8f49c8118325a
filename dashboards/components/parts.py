"""Small parts: times that keep themselves up to date, badges, cards, empty states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

import dash_mantine_components as dmc
from dash import dcc, html

from dashboards import words
from dashboards.components.attributes import attrs
from dashboards.components.icons import icon
from dashboards.drawing import LIVE

Tone = Literal["ok", "warn", "bad", "info", "muted"]
_HEALTH: Final[Mapping[str, tuple[str, Tone]]] = {
    "on_track": ("On track", "ok"),
    "at_risk": ("At risk", "warn"),
    "breached": ("Breached", "bad"),
}
_STATES: Final[Mapping[str, Tone]] = {
    "open": "info", "completed": "ok", "cancelled": "muted", "firing": "bad", "acknowledged": "warn",
    "resolved": "ok", "met": "ok", "missed": "bad", "breached": "bad", "late_known": "bad", "warned": "warn",
    "running": "info", "stopped": "muted", "retracted": "muted", "absorbed": "muted", "sent": "ok", "pending": "info",
    "sending": "info", "parked": "bad", "dropped": "muted",
    "malformed": "bad", "forbidden": "bad", "mapping": "warn", "conflict": "warn", "failed": "bad",
    "replayed": "ok", "discarded": "muted",
    "critical": "bad", "warning": "warn", "info": "info", "rejected": "bad", "retried": "warn", "ok": "ok",
}  # fmt: skip
_NAMES: Final = {"late_known": "Late when received", "missed": "Missed", "warned": "At risk", "retracted": "Taken back"}


def ago(at: datetime | None, mode: str = "ago") -> Any:
    """How long ago, kept up to date in the browser (assets/times.js). Modes: ago, left, time, day."""
    if at is None:
        return html.Span("–", className="mp-dim")
    return html.Time(words.plain_time(at), dateTime=words.iso(at), **attrs(data_mode=mode))


def badge(text: str, tone: Tone, *, dot: bool = True) -> html.Span:
    return html.Span([html.I(), text] if dot else text, className=f"mp-badge mp-{tone}")


def state_badge(state: str) -> html.Span:
    return badge(_NAMES.get(state, words.title(state)), _STATES.get(state, "muted"))


def health_badge(health: str) -> html.Span:
    return badge(*_HEALTH[health])


def tone_of(state: str) -> Tone:
    return _STATES.get(state, "muted")


def link(children: Any, href: str, **more: Any) -> dcc.Link:
    return dcc.Link(children, href=href, **more)


def journey_href(kind: str, key: str, namespace: str = "") -> str:
    """Keys contain slashes; they stay readable in the address, except where a browser would take the key's own
    dots for steps up."""
    query = f"?{urlencode({'namespace': namespace})}" if namespace else ""
    safe = "" if {".", ".."} & set(key.split("/")) else "/"
    return f"/journeys/{quote(kind, safe='')}/{quote(key, safe=safe)}{query}"


def list_href(path: str, **params: str | None) -> str:
    given = {name: value for name, value in params.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def live(name: str, children: Any, className: str = "") -> html.Div:
    """An element whose children change with the data while all around it stays. `name` is unique on its page."""
    return html.Div(children, id=LIVE + name, className=className)


def card(
    children: Any, *, name: str, title: Any = None, aside: Any = None, className: str = "", alive: bool = True
) -> html.Section:
    """A surface with an optional heading and something at its right.

    `name` is unique on its page. Not `alive`: what is inside is a part by itself, a grid or a chart.
    """
    side = live(f"{name}-aside", aside, "mp-card-aside")
    head = html.Header([html.H2(title), side]) if title else None
    body = live(name, children, "mp-card-body") if alive else html.Div(children, className="mp-card-body")
    return html.Section([head, body] if head else [body], className=f"mp-card {className}".strip())


def stat(label: str, value: Any, note: Any, *, tone: Tone = "muted", href: str | None = None) -> Any:
    """One number that matters."""
    inside = [
        html.Span(label, className="mp-stat-label"),
        html.Span(value, className="mp-stat-value"),
        html.Span(note, className="mp-stat-note"),
    ]
    name = f"mp-card mp-stat mp-stat-{tone}"
    return link(inside, href, className=name) if href else html.Div(inside, className=name)


def amount(value: Decimal | str | None, currency: str | None) -> html.Span:
    return html.Span(words.money(value, currency), className="mp-money")


def empty(title: str, text: Any, *, name: str = "search", action: Any = None, className: str = "") -> html.Div:
    """Nothing here, and what to do next."""
    return html.Div(
        [
            html.Div(icon(name, 26), className="mp-empty-mark"),
            html.H3(title),
            html.P(text),
            html.Div(action) if action is not None else None,
        ],
        className=f"mp-empty {className}".strip(),
    )


def facts(pairs: Sequence[tuple[str, Any]]) -> html.Dl:
    """Names and values in a row; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value is not None]
    return html.Dl(
        [html.Div([html.Dt(name), html.Dd(value)]) for name, value in shown],
        className="mp-facts",
    )


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]], *, className: str = "") -> html.Div:
    """A plain table; on a phone it scrolls sideways within itself."""
    return html.Div(
        html.Table(
            [
                html.Thead(html.Tr([html.Th(cell) for cell in head])),
                html.Tbody([html.Tr([html.Td(cell) for cell in row]) for row in rows]),
            ]
        ),
        className=f"mp-table {className}".strip(),
    )


def pager(previous: str | None, following: str | None, shown: str) -> html.Nav:
    """Links to the pages before and after, with what is shown between them."""

    def step(name: str, mark: str, href: str | None) -> Any:
        if href is None:
            return html.Span(icon(mark, 16), className="mp-step mp-step-off")
        return link(icon(mark, 16), href, className="mp-step", title=name)

    return html.Nav(
        [html.Span(shown), html.Div([step("Previous page", "left", previous), step("Next page", "right", following)])],
        className="mp-pager",
    )


def copy_line(text: str, ident: str) -> html.Div:
    """A line to be pasted into a terminal, with a button that copies it."""
    return html.Div(
        [
            html.Pre(html.Code(text), id=ident),
            dmc.CopyButton(
                value=text, children="Copy", copiedChildren="Copied", size="xs", variant="default", color="teal"
            ),
        ],
        className="mp-copy",
    )
