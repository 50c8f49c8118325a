"""Decisions and hubs: what people decided about who belongs to whom, and a decision before it is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import dash_mantine_components as dmc
import sqlalchemy as sa
from dash import ALL, Dash, Input, Output, State, html, no_update

from dashboards import words
from dashboards.buttons import notice, pressed
from dashboards.components import filters
from dashboards.components.icons import icon
from dashboards.components.parts import ago, badge, card, empty, facts, journey_href, link, table
from dashboards.context import Context
from dashboards.deciding import RIGHT, take
from dashboards.pages.reasons import act_href, fold
from dashboards.queries import decisions as queries
from dashboards.queries import journey as journey_queries
from dashboards.routing import in_thread
from dashboards.session import current_person
from dashboards.view import View
from milepost.catalog.keys import normalise
from milepost.catalog.words import and_more
from milepost.clock import aware
from milepost.decisions import correlation
from milepost.decisions.audit import MAX_REASON
from milepost.errors import Conflict, MalformedBody, NotFound
from milepost.explanation import Effect, Preview, Proposal, Standing, Thing, ruling_text

_TITLES: Final = {
    "cut": "Cut a link", "exclude": "Take out of a journey", "merge": "Merge two names", "lift": "Lift a hub",
    "split": "Split a key",
}  # fmt: skip
_SHOWN: Final = 12
_MEANING: Final = {
    "cut": "The relation between the two counts for nothing, whatever proves it, now and later.",
    "exclude": "It is not in this journey, by whatever path. What it absorbed is on its own again.",
    "merge": "Their events count as one object's, under the name that stays.",
    "lift": "It joins what names it again, however many share it.",
    "split": "Events from a time on that name this key mean another thing than those before.",
}  # fmt: skip


class Decisions:
    name = "decisions"
    pattern = r"/decisions/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Decisions"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        with context.engine.connect() as connection:
            rulings, hubs = queries.ruling_list(connection), queries.hub_list(connection)
        return [_hub_card(hubs, may_act=view.person.may(RIGHT)), _ruling_card(rulings)]


def _hub_card(hubs: Sequence[queries.Hub], *, may_act: bool) -> html.Section:
    if not hubs:
        body: Any = empty(
            "No key is shared by too many", "A key that over a thousand share joins nothing, and is told here.",
            name="link", className="mp-empty-small",
        )  # fmt: skip
    else:
        rows = [
            [
                [html.B(one.thing.key), " ", html.Span(words.title(one.thing.type), className="mp-dim")],
                f"over {words.count(one.parents - 1)} of type {one.parent_type}",
                ", ".join(sorted(one.sources, key=lambda name: -one.sources[name])),
                ago(one.found_at),
                link("Lift …", act_href("lift", one.thing.object_id, None), className="mp-link") if may_act else "",
            ]
            for one in hubs
        ]
        body = table(["Key", "Shared by", "Sources", "Since", ""], rows)
    return card(body, name="hubs", title="Hubs: keys that join nothing", className="mp-block mp-hubs")


def _ruling_card(rulings: Sequence[queries.Listed]) -> html.Section:
    if not rulings:
        body: Any = empty(
            "Nobody has decided anything", "Links are cut, and names merged, on the page of a journey.",
            name="person", className="mp-empty-small",
        )  # fmt: skip
    else:
        rows = [
            [
                link(str(one.ruling.number), f"/decisions/{one.ruling.number}", className="mp-link"),
                link(_sentence(one.ruling.text), f"/decisions/{one.ruling.number}"),
                one.ruling.actor,
                ago(one.ruling.at),
                one.ruling.reason,
                badge("Taken back", "muted") if one.reversed_at else badge("Counts", "info"),
            ]
            for one in rulings
        ]
        body = table(["", "Decision", "By", "When", "Why", ""], rows)
    return card(body, name="rulings", title="Decisions", aside=words.many(len(rulings), "decision"))


class Decided:
    """One decision, and what taking it back would change."""

    name = "decision"
    pattern = r"/decisions/(?P<number>\d{1,18})"

    def title(self, view: View) -> str:
        return f"Decision {view.parts['number']}"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        number = int(view.parts["number"])
        with context.engine.connect() as connection:
            found = next(iter(queries.ruling_list(connection, number)), None)
            if found is None:
                return empty("There is no such decision", f"None has the number {number}.")
            back = _back(connection, view)
            if found.reversed_at is not None or not view.person.may(RIGHT):
                return [_decided_card(found), back]
            proposal = Proposal("reverse", reverses=number)
            seen = context.correlations.preview(connection, context.catalog(), proposal)
        return [
            _decided_card(found),
            preview_card(seen, "What taking it back would change"),
            _form(proposal, "Take it back", "Why it is taken back"),
            back,
        ]


def _decided_card(found: queries.Listed) -> html.Section:
    one = found.ruling
    back = [found.reversed_by, ", ", ago(found.reversed_at, "time"), f": {found.reversed_why}"]
    values = [
        ("By", one.actor),
        ("When", ago(one.at, "time")),
        ("Why", one.reason),
        ("Taken back", html.Span(back) if found.reversed_at else None),
    ]
    return card(
        [html.P(_sentence(one.text), className="mp-sentence"), facts(values)], name="decided", className="mp-block"
    )


# --- a decision before it is taken ------------------------------------------------------------------------------------


class Decide:
    """Tries a decision; the address says which."""

    name = "decide"
    pattern = r"/decisions/new/(?P<act>cut|exclude|merge|lift|split)"

    def title(self, view: View) -> str:
        return _TITLES[view.parts["act"]]

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        if view.parts["act"] == "merge":
            return filters.bar([filters.search_box(view, "other", "The other name's key", "The other name's key")])
        if view.parts["act"] == "split":
            return filters.bar([filters.search_box(view, "since", "Since when, in UTC: 2026-01-31", "Since when")])
        return None

    def body(self, context: Context, view: View) -> Any:
        if not view.person.may(RIGHT):
            return empty("You may look, but not decide", "It takes the role operator or admin.", name="person")
        with context.engine.connect() as connection:
            try:
                tried = _try(context, connection, view)
            except (Conflict, NotFound, MalformedBody) as error:
                return [_meaning_card(view, None), empty("This can't be decided", _sentence(str(error))),
                        _back(connection, view)]  # fmt: skip
            parts = [_meaning_card(view, tried), _back(connection, view)]
            if tried.proposal is None:
                return parts
            seen = context.correlations.preview(connection, context.catalog(), tried.proposal)
        form = _form(tried.proposal, _TITLES[view.parts["act"]], "Why, for the record")
        return [parts[0], preview_card(seen, "What it would change"), form, parts[1]]


@dataclass(frozen=True, slots=True)
class _Tried:
    """The objects of a decision, and the decision as far as it is complete."""

    first: Thing
    second: Thing | None
    since: datetime | None
    proposal: Proposal | None


def _try(context: Context, connection: sa.Connection, view: View) -> _Tried:
    """What the address says. Raises NotFound, Conflict or MalformedBody."""
    act = view.parts["act"]
    first, second = correlation.pair(connection, _number(view, "first") or 0, _number(view, "second"))
    since = _moment(view.get("since")) if act == "split" and view.get("since") else None
    if act == "merge" and second is None and view.get("other"):
        key = normalise(context.catalog(), first.type, view.get("other")) or view.get("other")
        second = correlation.find(connection, first.type, key, first.namespace or None)
    ready = second is not None if act in ("cut", "exclude", "merge") else act != "split" or since is not None
    if not ready:
        return _Tried(first, second, since, None)
    proposal = Proposal(act, first.object_id, second.object_id if second else None, since=since)
    correlation.check(connection, act, first, second, since)
    return _Tried(first, second, since, proposal)


def _number(view: View, name: str) -> int | None:
    text = view.get(name)
    return int(text) if text.isdigit() and len(text) < 19 else None


def _moment(text: str) -> datetime:
    """A day or a time, in UTC where it names no zone. Raises MalformedBody."""
    try:
        return aware(datetime.fromisoformat(text.strip()))
    except ValueError as error:
        raise MalformedBody(f"{text} is no time; write it like 2026-01-31 or 2026-01-31T12:00") from error


def _meaning_card(view: View, tried: _Tried | None) -> html.Section:
    act = view.parts["act"]
    complete = tried is not None and tried.proposal is not None
    said = ruling_text(act, tried.first, tried.second, tried.since) if tried is not None and complete else ""
    about = str(tried.first) if tried is not None else ""
    return card(
        [
            html.P(_sentence(said or about or _TITLES[act]), className="mp-sentence"),
            html.P(_MEANING[act], className="mp-dim"),
        ],
        name="meaning",
        className="mp-block",
    )


def preview_card(seen: Preview, title: str) -> html.Section:
    """What a decision would do to journeys."""
    rows = [_effect(one) for one in seen.effects]
    parts: list[Any] = [
        html.Div(rows[:_SHOWN], className="mp-effects"),
        fold("more-effects", f"{len(rows) - _SHOWN} more", rows[_SHOWN:]),
    ]
    if seen.note:
        parts.append(html.P(f"{_sentence(seen.note)}.", className="mp-dim"))
    elif not seen.effects:
        parts = [html.P("No journey changes.", className="mp-dim")]
    aside = words.many(len(seen.effects), "journey") if seen.effects else None
    return card(parts, name="preview", title=title, aside=aside, className="mp-block")


def _effect(one: Effect) -> html.Div:
    href = journey_href(one.kind, one.root.key, one.root.namespace)
    name: list[Any] = [words.title(one.kind), " ", html.B(one.root.key)]
    changes: list[Any] = [html.Span(_standing(one))]
    for told, things in (("joins", one.joined), ("leaves", one.left)):
        others = [thing for thing in things if thing != one.root]
        if others:
            changes.append(html.Span(f"{told}: {and_more(others, 12)}"))
    return html.Div(
        [html.Div(link(name, href, className="mp-link") if one.before else html.Span(name)), html.Div(changes)],
        className="mp-effect",
    )


def _standing(one: Effect) -> str:
    if one.before is None or one.after is None:
        return "a journey of its own" if one.before is None else "no journey any more"
    before, after = _how(one.before), _how(one.after)
    return f"{before} → {after}" if before != after else f"stays {after}"


def _how(one: Standing) -> str:
    return f"{one.state}, {words.title(one.stage).lower()}" if one.stage else one.state


def _form(proposal: Proposal, text: str, why: str) -> html.Section:
    """Not alive: a reason is typed here."""
    since = proposal.since.isoformat() if proposal.since else ""
    ident = f"{proposal.act},{proposal.first_id},{proposal.second_id or ''},{proposal.reverses},{since}"
    reason = dmc.TextInput(
        id={"type": "decide-reason", "row": 0},
        placeholder=why,
        size="sm",
        className="mp-reason",
        inputProps={"aria-label": why, "maxLength": MAX_REASON},
    )
    button = html.Button(
        [icon("check", 16), text], id={"type": "decide", "what": ident}, n_clicks=0, className="mp-button mp-primary"
    )
    return card(html.Div([reason, button], className="mp-actions"), name="form", alive=False, className="mp-block")


def _back(connection: sa.Connection, view: View) -> html.P:
    """The way back: to the journey that the reader came from, or to the list."""
    journey_id = _number(view, "journey")
    head = journey_queries.head(connection, journey_id) if journey_id else None
    if head is None:
        return html.P(link("All decisions and hubs", "/decisions", className="mp-link"), className="mp-note")
    href = journey_href(head.kind, head.key, head.namespace)
    return html.P(link(f"Back to {head.kind} {head.key}", href, className="mp-link"), className="mp-note")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- taking it --------------------------------------------------------------------------------------------------------


def register(app: Dash, context: Context) -> None:
    @app.callback(
        Output("notices", "sendNotifications", allow_duplicate=True),
        Output("url", "pathname", allow_duplicate=True),
        Input({"type": "decide", "what": ALL}, "n_clicks"),
        State({"type": "decide-reason", "row": ALL}, "value"),
        prevent_initial_call=True,
    )
    @in_thread
    def act(_: Any, reasons: Sequence[str | None]) -> Any:
        button = pressed()
        if button is None:
            return no_update, no_update
        proposal = parse(button["what"])
        number = perform(context, proposal, next(iter(reasons), None) or "")
        title = "Taken back" if proposal.reverses else "Decided"
        return [notice(title, "Journeys follow within a moment.")], f"/decisions/{number}"


def parse(what: str) -> Proposal:
    """The decision that a button stands for. Raises MalformedBody."""
    try:
        act, first, second, reverses, since = what.split(",")
        at = datetime.fromisoformat(since) if since else None
        return Proposal(act, int(first), int(second) if second else None, int(reverses), at)
    except ValueError as error:
        raise MalformedBody("this button stands for no decision") from error


def perform(context: Context, proposal: Proposal, reason: str) -> int:
    """Decide as the person who asks; returns the decision's number. Raises NotAllowed, NotFound or Conflict."""
    person = current_person.get()
    person.require(RIGHT)
    if not reason.strip():
        raise MalformedBody("say why, for the record")
    if not proposal.reverses and proposal.act not in _TITLES:
        raise MalformedBody(f"there is no act {proposal.act}")
    with context.engine.begin() as connection:
        return take(context, connection, proposal, person, reason.strip()[:MAX_REASON])
