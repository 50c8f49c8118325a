"""Who is on call: now, next, in the weeks to come, and who stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, State, ctx, html, no_update

from alerting import overrides
from alerting.oncall import Duty
from alerting.overrides import Roster
from dashboards import words
from dashboards.buttons import notice, pressed, typed
from dashboards.components import filters
from dashboards.components.attributes import attrs
from dashboards.components.icons import icon
from dashboards.components.parts import ago, badge, card, empty, facts, table
from dashboards.context import Context
from dashboards.oncall import RIGHT, StandIn, give_back, take
from dashboards.routing import in_thread
from dashboards.session import current_person
from dashboards.view import ZONE_COOKIE, View, zone_of
from milepost.catalog.routing import Routing
from milepost.errors import MalformedBody

_WEEKS: Final = (("1", "1 week"), ("4", "4 weeks"), ("13", "3 months"))
_LENGTHS: Final = {
    "4": "4 hours", "8": "8 hours", "12": "12 hours", "24": "1 day", "48": "2 days", "72": "3 days", "168": "1 week",
}  # fmt: skip


class OnCall:
    name = "oncall"
    pattern = r"/oncall/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "On call"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return filters.bar([filters.segments(view, "weeks", _WEEKS, "4")])

    def body(self, context: Context, view: View) -> Any:
        routing = context.catalog().routing
        if not routing.rotations:
            return empty(
                "Nobody takes turns", "Name people and a rotation in routes.yaml; routes may then name the rotation.",
                name="person",
            )  # fmt: skip
        until = view.now + timedelta(weeks=int(view.one_of("weeks", dict(_WEEKS), "4")))
        with context.engine.connect() as connection:
            found = overrides.rosters(connection, routing, view.now, until)
        may_act = view.person.may(RIGHT)
        heads = [_head(one, routing) for one in found]
        plans = [_plan(one, routing, may_act=may_act) for one in found]
        return [*heads, _form(routing, view), *plans] if may_act else [*heads, *plans]


def _title(one: Roster) -> str:
    return one.rotation.title or words.title(one.name)


def _head(one: Roster, routing: Routing) -> html.Section:
    now, following = one.now, one.following
    values = [
        ("Now", html.B(name_of(routing, now.person))),
        ("For", name_of(routing, now.instead_of) if now.instead_of else None),
        ("Until", ago(now.until, "time")),
        ("Next", name_of(routing, following.person) if following.person != now.person else None),
        ("Reached by", ", ".join(one.rotation.channels)),
        ("Hands over", _handover(one)),
    ]
    return card(facts(values), name=f"now-{one.name}", title=_title(one), className="mp-block")


def _plan(one: Roster, routing: Routing, *, may_act: bool) -> html.Section:
    rows = [_duty(duty, one, routing, may_act=may_act) for duty in one.duties]
    aside = words.many(len(one.overrides), "override") if one.overrides else None
    body = table(["From", "Until", "On call", "", ""], rows)
    title = f"{_title(one)}: the turns to come"
    return card(body, name=f"plan-{one.name}", title=title, aside=aside, className="mp-block")


def _handover(one: Roster) -> str:
    spec = one.rotation
    day = f"{spec.start.date:%A}s" if spec.every == "week" else "every day"
    return f"{day} at {spec.handover} ({spec.zone})"


def _duty(duty: Duty, one: Roster, routing: Routing, *, may_act: bool) -> list[Any]:
    override = next((each for each in one.overrides if each.number == duty.override), None)
    if override is None:
        return [ago(duty.since, "time"), ago(duty.until, "time"), name_of(routing, duty.person), "", ""]
    why = f"for {name_of(routing, duty.instead_of or '')}: {override.reason or 'no reason given'} ({override.actor})"
    end = html.Button(
        [icon("cross", 14), "End"], id={"type": "oncall-end", "override": override.number}, n_clicks=0,
        className="mp-button",
    )  # fmt: skip
    who = [html.B(name_of(routing, duty.person)), " ", badge("Stands in", "info")]
    return [ago(duty.since, "time"), ago(duty.until, "time"), who, why, end if may_act else ""]


def name_of(routing: Routing, person: str) -> str:
    """A person's title, or the name that the catalog has for them."""
    found = routing.people.get(person)
    return found.title if found is not None and found.title else person


def _form(routing: Routing, view: View) -> html.Section:
    """Not alive: things are typed here."""
    rotations = [(name, one.title or words.title(name)) for name, one in routing.rotations.items()]
    people = [(name, name_of(routing, name)) for name in routing.people]
    inside = [
        _select("rotation", "Rotation", rotations, rotations[0][0]),
        _select("person", "Who stands in", people, None),
        dmc.DateTimePicker(
            id=_ident("since"), placeholder="From now", valueFormat="DD MMM YYYY HH:mm", clearable=True, size="sm",
            className="mp-select", minDate=view.now.astimezone(view.zone).date().isoformat(),
            **attrs(aria_label="From when"),
        ),
        _select("hours", "For how long", list(_LENGTHS.items()), "8"),
        dmc.TextInput(
            id=_ident("reason"), placeholder="Why, for the record", size="sm", className="mp-reason",
            inputProps={"aria-label": "Why, for the record", "maxLength": 500},
        ),
        html.Button(
            [icon("person", 16), "Put on call"], id={"type": "oncall-add", "row": 0}, n_clicks=0,
            className="mp-button mp-primary",
        ),
    ]  # fmt: skip
    return card(
        html.Div(inside, className="mp-actions"), name="stand-in", title="Let somebody stand in", alive=False,
        className="mp-block",
    )  # fmt: skip


def _select(name: str, label: str, options: Sequence[tuple[str, str]], value: str | None) -> Any:
    return dmc.Select(
        id=_ident(name), data=[{"value": key, "label": text} for key, text in options], value=value, placeholder=label,
        allowDeselect=False, size="sm", className="mp-select", **attrs(aria_label=label),
    )  # fmt: skip


def _ident(name: str) -> dict[str, str]:
    return {"type": "oncall-field", "name": name}


# --- acts -------------------------------------------------------------------------------------------------------------


def register(app: Dash, context: Context) -> None:
    @app.callback(
        Output("notices", "sendNotifications", allow_duplicate=True),
        Input({"type": "oncall-add", "row": ALL}, "n_clicks"),
        State({"type": "oncall-field", "name": ALL}, "value"),
        State({"type": "oncall-field", "name": ALL}, "id"),
        prevent_initial_call=True,
    )
    @in_thread
    def stand_in(_: Any, values: Sequence[str | None], idents: Sequence[dict[str, str]]) -> Any:
        if pressed() is None:
            return no_update
        asked = read(typed(values, idents), ctx.cookies.get(ZONE_COOKIE), context.clock())
        take(context, asked, current_person.get())
        return [notice("On call", f"{asked.person} stands in until {words.plain_time(asked.until)}.")]

    @app.callback(
        Output("notices", "sendNotifications", allow_duplicate=True),
        Input({"type": "oncall-end", "override": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    @in_thread
    def end(_: Any) -> Any:
        button = pressed()
        if button is None:
            return no_update
        give_back(context, int(button["override"]), current_person.get())
        return [notice("Ended", "Whose turn it is, is on call again.")]


def read(typed: Mapping[str, str], zone: str | None, now: datetime) -> StandIn:
    """What was typed; times are wall times of the reader. Raises MalformedBody."""
    if not typed.get("person"):
        raise MalformedBody("say who stands in")
    if not typed.get("reason", "").strip():
        raise MalformedBody("say why, for the record")
    if typed.get("hours") not in _LENGTHS:
        raise MalformedBody("say for how long")
    try:
        since = datetime.fromisoformat(typed["since"]).replace(tzinfo=zone_of(zone)) if typed.get("since") else now
    except ValueError as error:
        raise MalformedBody(f"{typed['since']} is no time") from error
    until = since + timedelta(hours=int(typed["hours"]))
    return StandIn(
        rotation=typed.get("rotation", ""), person=typed["person"], since=since, until=until,
        reason=typed["reason"].strip(),
    )  # fmt: skip
