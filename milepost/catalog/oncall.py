"""Who is on call: people, rotations, and how a channel is addressed to a person; and what is told by the day."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct

from milepost.catalog.schema import CalendarSpec, Duration, Ident
from milepost.errors import CatalogError

if TYPE_CHECKING:
    from milepost.catalog.routing import Channel, Routing

FILE: Final = "routes.yaml"
TO: Final = "/"
"""Between channel and person in a channel's name that is addressed to a person: no name has it."""
_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)
Names = Annotated[list[Ident], Meta(min_length=1)]


class Day:
    """A date, written 2026-11-16; YAML makes a date of that, and a text where it is quoted."""

    __slots__ = ("date",)

    def __init__(self, text: str) -> None:
        try:
            self.date = date.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f'"{text}" is not a date; write it like 2026-11-16') from error

    def __repr__(self) -> str:
        return self.date.isoformat()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Day) and other.date == self.date

    def __hash__(self) -> int:
        return hash(self.date)


class Person(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who can be on call, with an address for each kind of channel that is to reach them.

    `email`: of mails. `slack`: the member's id, U… `url`: of a webhook. `url_env`, `secret_env`: variables with what
    is a secret itself: the address for Teams or Apprise, the routing key for PagerDuty.
    """

    title: str = ""
    email: str | None = None
    slack: str | None = None
    url: str | None = None
    url_env: str | None = None
    secret_env: str | None = None


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is on call when: `people` in turn, a day or a week each, the first one from `start` on.

    They hand over at the wall time `handover` in `zone`; by the week on the weekday of `start`. `channels` reach
    whoever is on call.
    """

    people: Names
    channels: Names
    start: Day
    every: Literal["day", "week"] = "week"
    handover: str = "08:00"
    zone: str = "UTC"
    title: str = ""


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """After so long, counted from when the route was told, these hear of it."""

    after: Duration
    channels: Names


class Escalation(Struct, frozen=True, forbid_unknown_fields=True):
    """Who hears of an alert that nobody acknowledges.

    After the last step its channels (without steps the route's own) hear again every `repeat`, `times` times at most.
    Time runs in `calendar`, and stands still while the alert is silenced.
    """

    steps: list[Step] = []
    repeat: Duration | None = None
    times: Annotated[int, Meta(ge=1, le=100)] = 3
    calendar: str = "always"


class Digest(Struct, frozen=True, forbid_unknown_fields=True):
    """One message about all that is open: each day on which `calendar` opens, or each week, at the wall time `at`.

    `match` is that of a route, on the alert's labels. Nothing is sent when there is nothing to say, unless
    `when_empty`.
    """

    channels: Names
    every: Literal["day", "week"] = "day"
    on: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = "mon"
    at: str = "08:00"
    calendar: str = "always"
    match: dict[str, list[str]] = {}
    when_empty: bool = False
    title: str = ""


# --- addresses --------------------------------------------------------------------------------------------------------


def addressed(channel: str, person: str) -> str:
    """The name of a channel as it reaches one person: "duty-mail/ann"."""
    return f"{channel}{TO}{person}"


def channel_of(routing: Routing, name: str) -> Channel | None:
    """The channel of a name, with the person's address where the name says one; None where there is none any more."""
    base, to_person, who = name.partition(TO)
    channel = next((one for one in routing.channels if one.name == base), None)
    if channel is None or not to_person:
        return channel
    person = routing.people.get(who)
    address = None if person is None else address_of(channel, person)
    return None if address is None else msgspec.structs.replace(channel, **address)


def address_of(channel: Channel, person: Person) -> Mapping[str, Any] | None:
    """The fields of the channel that make it reach the person; None where they have no address for its kind."""
    field, value = _ADDRESSES[channel.kind](person)
    return {field: value} if value else None


_ADDRESSES: Final[Mapping[str, Callable[[Person], tuple[str, str | list[str] | None]]]] = {
    "email": lambda person: ("to", [person.email] if person.email else None),
    "slack": lambda person: ("to", [person.slack] if person.slack else None),
    "webhook": lambda person: ("url", person.url),
    "teams": lambda person: ("url_env", person.url_env),
    "apprise": lambda person: ("url_env", person.url_env),
    "pagerduty": lambda person: ("secret_env", person.secret_env),
    "alertmanager": lambda _: ("url", None),  # it is asked for nobody in particular
}


# --- what types can't say ---------------------------------------------------------------------------------------------


def check(routing: Routing, calendars: Mapping[str, CalendarSpec]) -> None:
    """Raises CatalogError."""
    for name, rotation in routing.rotations.items():
        _check_rotation(name, rotation, routing)
    direct = {channel.name: channel for channel in routing.channels}
    for index, route in enumerate(routing.routes):
        where = f"{FILE}: {route.name or f'routes[{index}]'}"
        _check_names(f"{where}: channels", route.channels, routing, direct)
        if route.during is not None and route.outside is not None:
            raise CatalogError(f"{where}: outside: a route has either during or outside")
        for field in ("during", "outside"):
            _check_calendar(f"{where}: {field}", getattr(route, field), calendars)
        if route.escalation is not None:
            _check_escalation(where, route.name, route.escalation, calendars)
            for step in route.escalation.steps:
                _check_names(f"{where}: escalation: channels", step.channels, routing, direct)
    _check_twice([route.name for route in routing.routes if route.name])
    for name, digest in routing.digests.items():
        where = f"{FILE}: {name}"
        _check_names(f"{where}: channels", digest.channels, routing, direct)
        _check_calendar(f"{where}: calendar", digest.calendar, calendars)
        _check_time(f"{where}: at", digest.at)


def _check_rotation(name: str, rotation: Rotation, routing: Routing) -> None:
    where = f"{FILE}: {name}"
    channels = {channel.name: channel for channel in routing.channels}
    if name in channels:
        raise CatalogError(f"{where}: a channel has this name too")
    for person in rotation.people:
        if person not in routing.people:
            raise CatalogError(f"{where}: people: there is no {person} in people")
    for channel in rotation.channels:
        if channel not in channels:
            raise CatalogError(f"{where}: channels: there is no channel {channel}")
    for person in rotation.people:
        if not any(address_of(channels[one], routing.people[person]) for one in rotation.channels):
            raise CatalogError(f"{where}: people: {person} has no address for any of {', '.join(rotation.channels)}")
    _check_time(f"{where}: handover", rotation.handover)
    try:
        ZoneInfo(rotation.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CatalogError(f'{where}: zone: "{rotation.zone}" is not a known time zone') from error


def _check_names(where: str, names: list[str], routing: Routing, direct: Mapping[str, Channel]) -> None:
    for name in names:
        if name not in direct and name not in routing.rotations:
            raise CatalogError(f"{where}: there is no channel or rotation {name}")


def _check_calendar(where: str, name: str | None, calendars: Mapping[str, CalendarSpec]) -> None:
    if name is not None and name not in calendars:
        raise CatalogError(f"{where}: there is no calendar {name}")


def _check_escalation(where: str, name: str | None, given: Escalation, calendars: Mapping[str, CalendarSpec]) -> None:
    if name is None:
        raise CatalogError(f"{where}: escalation: give the route a name: alerts remember it")
    if not given.steps and given.repeat is None:
        raise CatalogError(f"{where}: escalation: it needs steps, or repeat")
    if given.repeat is not None and not given.repeat.us:
        raise CatalogError(f"{where}: escalation: repeat: it must be longer than 0s")
    last = 0
    for step in given.steps:
        if step.after.us <= last:
            raise CatalogError(f"{where}: escalation: after: {step.after}: each step is later than the one before")
        last = step.after.us
    _check_calendar(f"{where}: escalation: calendar", given.calendar, calendars)


def _check_twice(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise CatalogError(f"{FILE}: {name}: this name is used by two routes")


def _check_time(where: str, text: str) -> None:
    if not _TIME.fullmatch(text):
        raise CatalogError(f'{where}: "{text}" is not a time of day, "00:00" to "23:59"')
