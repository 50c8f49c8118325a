"""Exceptions: what is open, by class, code and source, with what is at stake; and the objects behind a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dash import html

from dashboards import words
from dashboards.components import filters
from dashboards.components.parts import Tone, ago, badge, card, empty, journey_href, link, live, pager, state_badge
from dashboards.context import Context
from dashboards.queries import exceptions as queries
from dashboards.queries.journey import Member
from dashboards.queries.paging import DEFAULT_LIMIT, Page
from dashboards.view import View
from milepost.errors import Permanent

_KINDS: Final[Mapping[str, tuple[str, Tone]]] = {
    "business": ("Business", "warn"),
    "technical": ("Technical", "bad"),
    "held": ("On hold", "info"),
}
_NO_CODE: Final = "-"
"""In an address: the exceptions of a group that has no code."""
_NOTE: Final = (
    "Business: a rule of the business said no. Technical: a system failed or tries again; that is no progress."
    " On hold: it waits on purpose. Value: of the open journeys, each counted once."
)


class Exceptions:
    name = "exceptions"
    pattern = r"/exceptions/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Exceptions"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        choices = [("any", "All"), *((name, title) for name, (title, _) in _KINDS.items())]
        return filters.bar([filters.segments(view, "class", choices, "any")])

    def body(self, context: Context, view: View) -> Any:
        kind = view.one_of("class", _KINDS) or None
        with context.engine.connect() as connection:
            if view.get("type"):
                return _members(view, _page(context, view, kind))
            found = queries.groups(connection, kind)
        if not found:
            return empty(
                "No open exceptions",
                "What is rejected, fails or is put on hold appears here until it is resolved.",
                name="check",
            )
        return [
            live("exceptions", [_group(view, group) for group in found], "mp-card mp-alert-list"),
            html.P(_NOTE, className="mp-note"),
        ]


def _page(context: Context, view: View, kind: str | None) -> Page[queries.Row]:
    code = view.get("code") or None
    wanted = queries.Filter(True, kind, view.get("type"), "" if code == _NO_CODE else code, view.get("source") or None)
    with context.engine.connect() as connection:
        try:
            cursor = view.get("cursor") or None
            return queries.list_page(connection, wanted, limit=DEFAULT_LIMIT, cursor=cursor)
        except Permanent:  # a cursor from an old link: begin anew
            return queries.list_page(connection, wanted, limit=DEFAULT_LIMIT)


def _group(view: View, group: queries.Group) -> Any:
    title, tone = _KINDS[group.kind]
    params = {"class": group.kind, "type": group.type, "code": group.code or _NO_CODE, "source": group.source}
    about = " · ".join(part for part in (group.type, group.source) if part)
    return link(
        [
            html.I(className=f"mp-bar mp-{tone}"),
            html.Div([html.B(_words(group.type, group.code, group.reason)), html.P(about)], className="mp-alert-what"),
            _pair("Open", words.count(group.count)),
            _pair("Journeys", words.count(group.journeys)),
            _pair("Value", words.moneys(group.money)),
            _pair("Oldest", ago(group.oldest_at)),
            badge(title, tone),
        ],
        view.href(**params, cursor=None),
        className="mp-alert-row mp-exception-row",
    )


def _words(kind: str, code: str | None, reason: str | None) -> str:
    """What it is about, as short as its source said it. The codes of a reconciliation say less than its reasons."""
    if kind.startswith("reconciliation.") and reason:
        return reason
    return ": ".join(part for part in (code, reason) if part) or words.title(kind.replace(".", " "))


def _pair(name: str, value: Any) -> html.Div:
    return html.Div([html.Span(name), html.B(value)], className="mp-pair")


def _members(view: View, found: Page[queries.Row]) -> Any:
    back = link("All open exceptions", view.href(type=None, code=None, source=None, cursor=None), className="mp-link")
    if not found.items:
        return empty("Nothing of this kind is open", "It was resolved in the meantime.", name="check", action=back)
    return [
        html.P([back, f" / {view.get('type')}"], className="mp-note"),
        live("exceptions", [_row(row) for row in found.items], "mp-card mp-alert-list"),
        live(
            "pager",
            pager(
                view.href(cursor=None) if view.get("cursor") else None,
                view.href(cursor=found.next_cursor) if found.next_cursor else None,
                words.many(len(found.items), "exception"),
            ),
        ),
    ]


def _row(row: queries.Row) -> html.Div:
    title, tone = _KINDS[row.kind]
    journeys = [
        link(item.key, journey_href(item.kind, item.key, item.namespace), className="mp-link")
        for item in row.journeys[:3]
    ]
    first: Any = journeys[0] if journeys else "–"
    more = f" +{len(row.journeys) - 1}" if len(row.journeys) > 1 else ""
    return html.Div(
        [
            html.I(className=f"mp-bar mp-{tone}"),
            html.Div(
                [
                    html.B(f"{words.title(row.object_type)} {row.key}"),
                    html.P(" · ".join((_words(row.type, row.code, row.reason), row.source))),
                ],
                className="mp-alert-what",
            ),
            _pair("Events", words.count(row.count)),
            _pair("Journey", html.Span([first, more])),
            _pair("Open for", ago(row.opened_at, "span")),
            _pair("Latest", ago(row.last_at)),
            badge(title, tone),
        ],
        className="mp-alert-row mp-exception-row",
    )


def exception_card(found: Sequence[queries.Row], members: Sequence[Member]) -> Any:
    """The exceptions of one journey, the latest first; nothing when it had none."""
    if not found:
        return None
    keys = {member.object_id: f"{words.title(member.type)} {member.key}" for member in members}
    lines = [_line(row, keys.get(row.object_id, row.key)) for row in found]
    still = sum(row.resolved_at is None for row in found)
    aside = f"{still} open" if still else "all resolved"
    return card(html.Div(lines, className="mp-troubles"), name="exceptions", title="Exceptions", aside=aside)


def _line(row: queries.Row, about: str) -> html.Div:
    title, tone = _KINDS[row.kind]
    times = f" ×{row.count}" if row.count > 1 else ""
    told = f"{about}: {_words(row.type, row.code, row.reason)}{times} ({row.type}, {row.source})"
    if row.resolved_at is None:
        return html.Div([badge(title, tone), html.Span(told), ago(row.opened_at)], className="mp-trouble")
    lasted = words.span(row.resolved_at - row.opened_at)
    ended = f"{told}; resolved after {lasted} by {row.resolved_by}"
    return html.Div([state_badge("resolved"), html.Span(ended), ago(row.resolved_at)], className="mp-trouble")
