"""The quarantine: what fails alike, the events of one such group, and one of them whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import dash_mantine_components as dmc
from dash import html

from dashboards import words
from dashboards.components import filters
from dashboards.components.icons import icon
from dashboards.components.parts import ago, card, empty, facts, link, live, pager, state_badge, table
from dashboards.context import Context
from dashboards.mending import MAX_EDIT, RIGHT
from dashboards.pages.mending import button, group_acts, row_acts
from dashboards.queries import quarantine as queries
from dashboards.queries.paging import DEFAULT_LIMIT, Page
from dashboards.view import View
from milepost.errors import Permanent
from milepost.inbox.quarantine.body import Line, differences, editable, marked, readable

T = TypeVar("T")
MAX_LINES: Final = 2_000
MAX_WIDTH: Final = 4_000
_KINDS: Final = (
    ("malformed", "Malformed"),
    ("forbidden", "Forbidden"),
    ("mapping", "Not mapped"),
    ("conflict", "Conflicting"),
    ("failed", "Failed later"),
)
_MEANING: Final = {
    "malformed": "It breaks the contract or its format. Mend it here, or have the sender mend it and send it again.",
    "forbidden": "Its sender has no right to send it. Widen the key, or let an administrator vouch for it.",
    "mapping": "Its mapping makes no event of it. Mend the mapping, and replay what came.",
    "conflict": "An event with the same source and id but other content is stored. The first one stands.",
    "failed": "It was accepted, but can't be recorded or put together.",
}
_GROUP_STATES: Final = (("open", "Open"), ("any", "All"))
_STATES: Final = (("open", "Open"), ("replayed", "Replayed"), ("discarded", "Discarded"), ("any", "All"))
_OUTCOMES: Final = {
    "accepted": "went on", "duplicate": "was stored already", "conflict": "contradicts what is stored",
    "refused": "was refused again",
}  # fmt: skip


class Quarantine:
    name = "quarantine"
    pattern = r"/quarantine/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Quarantine"

    def frame(self, context: Context, view: View) -> Any:
        with context.engine.connect() as connection:
            counts = queries.counts(connection)
        options = [(name, f"{name} ({words.count(sum(one.open.values()))})") for name, one in sorted(counts.items())]
        return filters.bar(
            [filters.segments(view, "state", _GROUP_STATES, "open")],
            [filters.select(view, "source", "Source", options), filters.select(view, "kind", "Kind", _KINDS)],
        )

    def body(self, context: Context, view: View) -> Any:
        closed = view.one_of("state", dict(_GROUP_STATES), "open") == "any"
        source, kind = view.get("source") or None, view.one_of("kind", dict(_KINDS)) or None
        with context.engine.connect() as connection:
            found = _page(
                view,
                lambda cursor: queries.group_page(
                    connection, source=source, kind=kind, closed=closed, limit=DEFAULT_LIMIT, cursor=cursor
                ),
            )
            trends = queries.trends(connection, [group.group_id for group in found.items], view.now)
        if not found.items:
            return empty(
                "Nothing is in quarantine",
                "Events that are refused, or contradict what is stored, are kept here whole.",
                name="quarantine",
                action=None if closed else link("Show all", "/quarantine?state=any"),
            )
        head = html.Div([html.Span(name) for name in _HEAD], className="mp-refusal mp-refusal-head")
        rows = [head, *(_group_row(group, trends[group.group_id]) for group in found.items)]
        return [live("groups", rows, "mp-card mp-refusals"), live("pager", _pager(view, found, "group"))]


_HEAD: Final = ("What is wrong", "Kind", "Last 24 hours", "Open", "Closed", "Not kept", "Latest")


def _group_row(group: queries.Group, trend: Sequence[int]) -> Any:
    dropped = group.repeated + group.unkept + group.thinned
    return link(
        [
            html.Div([html.B(group.rule), html.Span(group.source or "no source")], className="mp-refusal-what"),
            state_badge(group.kind),
            _curve(trend),
            html.B(words.count(group.open)),
            html.Span(words.count(group.replayed + group.discarded), className="mp-dim"),
            html.Span(words.count(dropped), className="mp-dim"),
            ago(group.last_at),
        ],
        f"/quarantine/groups/{group.group_id}",
        className="mp-refusal",
    )


def _curve(trend: Sequence[int]) -> Any:
    return dmc.Sparkline(
        data=list(trend), w=110, h=26, curveType="monotone", color="var(--mp-bad-fill)", strokeWidth=1.5,
        fillOpacity=0.18,
    )  # fmt: skip


def _page(view: View, load: Callable[[str | None], Page[T]]) -> Page[T]:
    """The page of the address; the first one where its cursor is from an old link."""
    try:
        return load(view.get("cursor") or None)
    except Permanent:
        return load(None)


def _pager(view: View, found: Page[Any], what: str) -> html.Nav:
    first = view.href(cursor=None) if view.get("cursor") else None
    following = view.href(cursor=found.next_cursor) if found.next_cursor else None
    return pager(first, following, words.many(len(found.items), what))


class QuarantineGroup:
    name = "quarantine-group"
    pattern = r"/quarantine/groups/(?P<id>\d{1,18})"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Quarantine"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return filters.bar([filters.segments(view, "state", _STATES, "open")])

    def body(self, context: Context, view: View) -> Any:
        state = view.one_of("state", dict(_STATES), "open")
        with context.engine.connect() as connection:
            group = queries.one_group(connection, int(view.parts["id"]))
            if group is None:
                return _no_such("group")
            found = _page(
                view,
                lambda cursor: queries.row_page(
                    connection, group_id=group.group_id, state=None if state == "any" else state,
                    limit=DEFAULT_LIMIT, cursor=cursor,
                ),
            )  # fmt: skip
        acts = group_acts(group.group_id) if group.open and view.person.may(RIGHT) else None
        return [
            _group_head(group),
            acts,
            live("rows", [_row(row) for row in found.items] or "None in this state.", "mp-card mp-refusals"),
            live("pager", _pager(view, found, "event")),
        ]


def _no_such(what: str) -> html.Div:
    return empty(
        f"There is no such {what}",
        "Retention may have taken it: what is closed is kept for a while only.",
        action=link("The quarantine", "/quarantine"),
    )


def _group_head(group: queries.Group) -> Any:
    lost = (
        ("repetitions within the hour", group.repeated),
        ("over the key's allowance", group.unkept),
        ("taken out for want of room", group.thinned),
    )
    told = [f"{words.count(number)} {why}" for why, number in lost if number]
    values = [
        ("Open", words.count(group.open)),
        ("Replayed", words.count(group.replayed)),
        ("Discarded", words.count(group.discarded)),
        ("Counted, not kept", ", ".join(told) or None),
        ("First", ago(group.first_at)),
        ("Latest", ago(group.last_at)),
    ]
    return card(
        [
            _title(group.rule, group.source, group.kind),
            facts(values),
            html.P(_MEANING[group.kind], className="mp-note"),
        ],
        name="head",
        className="mp-block",
    )


def _title(text: str, source: str, *states: str) -> html.Div:
    mark = html.Div(icon("quarantine", 22), className="mp-head-mark mp-tone mp-bad")
    what = html.Div([html.H2(text), html.Span(source or "no source", className="mp-ink-2")])
    badges = html.Div([state_badge(state) for state in states], className="mp-head-badges")
    return html.Div([mark, what, badges], className="mp-head mp-alert-title")


def _row(row: queries.Row) -> Any:
    return link(
        [
            html.Div([html.B(row.event_id or "no id"), html.Span(row.note or row.reason)], className="mp-refusal-what"),
            html.Span(row.sender or "–", className="mp-dim"),
            state_badge(row.state if row.state != "open" else row.kind),
            ago(row.received_at),
        ],
        f"/quarantine/{row.quarantine_id}",
        className="mp-refusal mp-refusal-row",
    )


class Quarantined:
    name = "quarantined"
    pattern = r"/quarantine/(?P<id>\d{1,18})"

    def title(self, view: View) -> str:
        return f"Quarantine {view.parts['id']}"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        with context.engine.connect() as connection:
            found = queries.detail(connection, int(view.parts["id"]))
        if found is None:
            return _no_such("event")
        if not view.person.may(RIGHT):
            return [_row_head(found), _closed_to(view)]
        row = found.row
        is_open = row.state == "open"
        return [
            _row_head(found),
            row_acts(row.quarantine_id, row.kind, vouch=view.person.may("administer")) if is_open else None,
            html.Div(
                [
                    html.Div([_stands_card(found), _body_card(found)], className="mp-span-6 mp-stack"),
                    html.Div([_editor(found) if is_open else None, _edit_card(found)], className="mp-span-6 mp-stack"),
                ],
                className="mp-grid",
            ),
        ]


def _closed_to(view: View) -> html.Div:
    text = f"Bodies may hold personal data. Your role ({view.person.role}) doesn't see them; an operator's does."
    return empty("The body is not shown", text, name="quarantine")


def _row_head(found: queries.Detail) -> Any:
    row = found.row
    act = None
    if row.acted_at is not None:
        what = "was discarded" if row.state == "discarded" else _OUTCOMES.get(row.outcome or "", "was replayed")
        act = [f"{what}, by {row.acted_by}, ", ago(row.acted_at)]
    values = [
        ("Id", row.event_id),
        ("Received", ago(row.received_at, "time")),
        ("Sent with the key", row.sender),
        ("Came as", row.way),
        ("Last act", act),
        ("Group", link("All that fail alike", f"/quarantine/groups/{row.group_id}", className="mp-link")),
    ]
    note = html.P(row.note, className="mp-refusal-note") if row.note and row.note != row.reason else None
    states = (row.kind,) if row.state == "open" else (row.kind, row.state)
    return card(
        [_title(row.reason, row.source, *states), facts(values), note, html.P(_MEANING[row.kind], className="mp-note")],
        name="head",
        className="mp-block",
    )


def _body_card(found: queries.Detail) -> Any:
    lines = marked(found.present[:MAX_EDIT], found.complaint, found.before)
    hidden = len(lines) - MAX_LINES
    shown = [_line(line) for line in lines[:MAX_LINES]]
    more = html.P(f"{words.many(hidden, 'more line')}: milepost quarantine show {found.row.quarantine_id}")
    title = "The body as it came" if not found.revisions else f"Edit {found.revisions[-1].revision}"
    return card([html.Pre(shown, className="mp-body"), more if hidden > 0 else None], name="body", title=title)


def _line(line: Line) -> html.Div:
    """A line; the place of the error in it, where it is known."""
    text = line.text[:MAX_WIDTH] + ("…" if len(line.text) > MAX_WIDTH else "")
    if not line.marked:
        return html.Div(text or "\u00a0")
    if line.column is None or line.column >= len(text):
        return html.Div(text or "\u00a0", className="mp-marked")
    before, at, after = text[: line.column], text[line.column], text[line.column + 1 :]
    return html.Div([before, html.Mark(at), after], className="mp-marked")


def _editor(found: queries.Detail) -> Any:
    """Not alive: what somebody types must not be drawn over."""
    number = found.row.quarantine_id
    if len(found.present) > MAX_EDIT or not editable(found.present):
        why = "It is too large" if editable(found.present) else "It is no text in UTF-8"
        text = f"{why}, and can't be edited here: milepost quarantine edit {number} --file FILE"
        return card(html.P(text, className="mp-note"), name="editor", title="Mend it", alive=False)
    area = dmc.Textarea(
        id={"type": "mend-body", "row": number},
        value=readable(found.present, found.before),
        autosize=True,
        minRows=6,
        maxRows=30,
        className="mp-editor",
        inputProps={"aria-label": "The body", "spellCheck": False},
    )
    save = button("save", number, "Keep this edit", "check", "")
    both = button("save_replay", number, "Keep and replay", "arrow", "mp-primary")
    parts = [area, html.Div([both, save], className="mp-acts")]
    return card(parts, name="editor", title="Mend it", aside="what came is kept beside it", alive=False)


def _stands_card(found: queries.Detail) -> Any:
    if "conflict" not in (found.row.kind, found.row.outcome):
        return None
    if found.stands is None:
        text = "The stored event can't be found by the keys that this one names."
        return card(html.P(text, className="mp-note"), name="stands", title="What stands")
    rows = [(html.Code(path), one, other) for path, one, other in differences(found.stands, found.present)]
    inside = table(["", "Stored", "This one"], rows) if rows else html.P("It says the same.", className="mp-note")
    return card(inside, name="stands", title="What differs from the one that stands", className="mp-differences")


def _edit_card(found: queries.Detail) -> Any:
    if not found.revisions:
        return None
    lines = [html.Li([html.I(className="mp-info"), _by(one), ago(one.at)]) for one in reversed(found.revisions)]
    came = html.Details(
        [
            html.Summary("The body as it came"),
            html.Pre(readable(found.body[:MAX_EDIT], found.before), className="mp-body"),
        ]
    )
    return card([html.Ul(lines, className="mp-log"), came], name="edits", title="Edits")


def _by(revision: queries.Revision) -> html.Span:
    return html.Span([html.B(f"Edit {revision.revision}"), f" by {revision.actor}"])
