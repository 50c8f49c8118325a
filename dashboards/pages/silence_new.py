"""A silence before it is made, with what it would hide; and the acts of making and ending one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, State, html, no_update

from alerting import silences
from alerting.silence_preview import preview
from alerting.silences import Wanted
from dashboards.buttons import notice, pressed, typed
from dashboards.components import filters
from dashboards.components.icons import icon
from dashboards.components.parts import ago, card, empty, link
from dashboards.context import Context
from dashboards.pages.silences import seen_card
from dashboards.routing import in_thread
from dashboards.session import current_person
from dashboards.silencing import LOOK_BACK, RIGHT, take
from dashboards.view import View
from milepost.catalog import matcher
from milepost.clock import aware
from milepost.errors import MalformedBody, Permanent

_LENGTHS: Final = {
    "30m": ("30 minutes", timedelta(minutes=30)),
    "1h": ("1 hour", timedelta(hours=1)),
    "2h": ("2 hours", timedelta(hours=2)),
    "4h": ("4 hours", timedelta(hours=4)),
    "8h": ("8 hours", timedelta(hours=8)),
    "1d": ("1 day", timedelta(days=1)),
    "3d": ("3 days", timedelta(days=3)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
}
_BETWEEN: Final = re.compile(r"(?<!\\);")


class New:
    """Tries a silence; the address says which."""

    name = "silence-new"
    pattern = r"/silences/new"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "New silence"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return filters.bar(
            [
                filters.search_box(
                    view, "what", "warehouse=north; carrier!=dhl,ups; rule=picking-*", "What it is about"
                ),
                filters.select(
                    view, "for", "For how long", [(name, text) for name, (text, _) in _LENGTHS.items()], "2h"
                ),
                filters.search_box(view, "from", "Now, or 2026-12-24T18:00 UTC", "From when"),
            ]
        )

    def body(self, context: Context, view: View) -> Any:
        if not view.person.may(RIGHT):
            return empty("You may look, but not silence", "It takes the role operator or admin.", name="person")
        try:
            wanted = read(view.params, view.now)
        except MalformedBody as error:
            return [_help_card(), empty("This can't be read", _sentence(str(error)))]
        with context.engine.connect() as connection:
            seen = preview(connection, wanted.matchers, since=view.now - LOOK_BACK)
        parts = [seen_card(seen.now, seen.past, "would have been hidden")]
        try:
            silences.check(wanted, now=view.now, admin=view.person.may("administer"))
        except Permanent as error:
            return [*parts, _refused(view, wanted, error), _help_card()]
        return [*parts, _form(view, wanted), _help_card()]


def read(params: Mapping[str, str], now: datetime) -> Wanted:
    """The silence that an address describes, with a reason yet to be given. Raises MalformedBody."""
    try:
        texts = [text.replace(r"\;", ";") for text in _BETWEEN.split(params.get("what", "")) if text.strip()]
        matchers = tuple(matcher.read(text) for text in texts)
        starts_at = aware(datetime.fromisoformat(params["from"].strip())) if params.get("from") else now
    except ValueError as error:
        raise MalformedBody(str(error)) from error
    lasts = _LENGTHS.get(params.get("for", ""), _LENGTHS["2h"])[1]
    return Wanted(matchers, "…", starts_at, starts_at + lasts, everything=params.get("everything") == "yes")


def _refused(view: View, wanted: Wanted, error: Permanent) -> Any:
    confirm = None
    if matcher.everything(wanted.matchers) and not wanted.everything:
        confirm = link("Yes, everything", view.href(everything="yes"), className="mp-button")
    return empty("This can't be a silence yet", _sentence(str(error)), name="warning", action=confirm)


def _help_card() -> html.Section:
    lines = [
        "All conditions must match, with ; between them. = is any of the values, != none of them; north* is all that"
        " begin so.",
        "Labels: what the alert is grouped by, the item's dimensions (warehouse, carrier, …), kind, rule, severity and"
        " owner.",
        "What it hides is recorded, and told at its end if it is still wrong.",
    ]
    return card([html.P(line, className="mp-dim") for line in lines], name="help", className="mp-block")


def _form(view: View, wanted: Wanted) -> html.Section:
    """Not alive: a reason is typed here."""

    def field(name: str, text: str) -> Any:
        return dmc.TextInput(
            id={"type": "silence-text", "name": name}, placeholder=text, size="sm", className="mp-reason",
            inputProps={"aria-label": text, "maxLength": 200},
        )  # fmt: skip

    ident = urlencode({name: view.get(name) for name in ("what", "for", "from", "everything") if view.get(name)})
    button = html.Button(
        [icon("silence", 16), "Silence until ", ago(wanted.ends_at, "time")],
        id={"type": "silence-add", "what": ident}, n_clicks=0, className="mp-button mp-primary",
    )  # fmt: skip
    inside = [field("reason", "Why, for others"), field("owner", "Remind whom of its end (owner)"), button]
    return card(html.Div(inside, className="mp-actions"), name="form", alive=False, className="mp-block")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- acts -------------------------------------------------------------------------------------------------------------


def register(app: Dash, context: Context) -> None:
    @app.callback(
        Output("notices", "sendNotifications", allow_duplicate=True),
        Output("url", "pathname", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Input({"type": "silence-add", "what": ALL}, "n_clicks"),
        State({"type": "silence-text", "name": ALL}, "value"),
        State({"type": "silence-text", "name": ALL}, "id"),
        prevent_initial_call=True,
    )
    @in_thread
    def make(_: Any, values: Sequence[str | None], idents: Sequence[dict[str, str]]) -> Any:
        button = pressed()
        if button is None:
            return no_update, no_update, no_update
        fields = typed(values, idents)
        number = perform(context, button["what"], fields.get("reason", ""), fields.get("owner", ""))
        return [notice("Silenced", "What it hides is told at its end.")], f"/silences/{number}", ""

    @app.callback(
        Output("notices", "sendNotifications", allow_duplicate=True),
        Input({"type": "silence-end", "silence": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    @in_thread
    def end(_: Any) -> Any:
        button = pressed()
        if button is None:
            return no_update
        put_an_end(context, int(button["silence"]))
        return [notice("Ended", "What it hid, and is still wrong, is told in a moment.")]


def perform(context: Context, what: str, reason: str, owner: str) -> int:
    """Make the silence that a button stands for, as the person who asks. Raises NotAllowed or Permanent."""
    now = context.clock()
    asked = read({name: values[0] for name, values in parse_qs(what).items()}, now)
    wanted = Wanted(asked.matchers, reason, asked.starts_at, asked.ends_at, owner or None, asked.everything)
    with context.engine.begin() as connection:
        return take(connection, wanted, current_person.get(), now)


def put_an_end(context: Context, number: int) -> None:
    """End a silence as the person who asks. Raises NotAllowed, NotFound or Conflict."""
    person = current_person.get()
    person.require(RIGHT)
    with context.engine.begin() as connection:
        silences.end(connection, number, actor=person.name, now=context.clock())
