"""Who is on call: turns of a rotation, and overrides. Pure.

Turn n begins at the handover's wall time on its day: at the first instant whose wall time is at or past it, so exact
over changes of the clocks. It belongs to the n-th person, counted round; before `start` it is counted round backwards.
So at every instant exactly one person has a turn, and overrides put exactly one in their place: the one made last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from milepost.catalog.oncall import Rotation, address_of, addressed
from milepost.catalog.routing import Routing
from milepost.walltime import EPOCH, first_at


@dataclass(frozen=True, slots=True)
class Override:
    """Somebody else is on call from `since` until before `until`."""

    number: int
    rotation: str
    person: str
    since: datetime
    until: datetime
    reason: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Duty:
    """One person's time on call. `instead_of`: whose turn it is, where an override put another one there."""

    person: str
    since: datetime
    until: datetime
    instead_of: str | None = None
    override: int | None = None


def turn(rotation: Rotation, at: datetime) -> Duty:
    """Whose turn it is, overrides aside."""
    number = _number(rotation, at)
    return Duty(_person(rotation, number), _begins(rotation, number), _begins(rotation, number + 1))


def on_call(name: str, rotation: Rotation, overrides: Iterable[Override], at: datetime) -> Duty:
    """Who is on call, and from when until when it stays so."""
    own = sorted((one for one in overrides if one.rotation == name), key=lambda one: one.number)
    now = turn(rotation, at)
    taken = next((one for one in reversed(own) if one.since <= at < one.until), None)
    edges = [edge for one in own for edge in (one.since, one.until)]
    since = max([now.since, *(edge for edge in edges if edge <= at)])
    until = min([now.until, *(edge for edge in edges if edge > at)])
    if taken is None:
        return replace(now, since=since, until=until)
    return Duty(taken.person, since, until, now.person, taken.number)


def schedule(
    name: str, rotation: Rotation, overrides: Collection[Override], since: datetime, until: datetime
) -> Iterator[Duty]:
    """Who is on call from `since` until `until`, without a gap; equal neighbours are one."""
    duty = on_call(name, rotation, overrides, since)
    while duty.until < until:
        following = on_call(name, rotation, overrides, duty.until)
        if (following.person, following.override) == (duty.person, duty.override):
            duty = replace(duty, until=following.until)
        else:
            yield duty
            duty = following
    yield duty


def people_now(routing: Routing, overrides: Collection[Override], at: datetime) -> Mapping[str, str]:
    """For each rotation who is on call."""
    return {name: on_call(name, one, overrides, at).person for name, one in routing.rotations.items()}


def expand(routing: Routing, names: Iterable[str], people: Mapping[str, str]) -> list[str]:
    """The channels that names of channels and rotations stand for; a rotation's are addressed to who is on call.

    A person who has left the catalog since an override was made, or has no address, is nobody: then the turn's own
    channels would reach no one, and the next in the rotation who can be reached is.
    """
    found: dict[str, None] = {}
    for name in names:
        rotation = routing.rotations.get(name)
        found.update(dict.fromkeys([name] if rotation is None else _reaching(routing, rotation, people[name])))
    return list(found)


def _reaching(routing: Routing, rotation: Rotation, person: str) -> Sequence[str]:
    channels = {channel.name: channel for channel in routing.channels}
    for one in (person, *rotation.people):
        who = routing.people.get(one)
        reached = [name for name in rotation.channels if who and address_of(channels[name], who)]
        if reached:
            return [addressed(name, one) for name in reached]
    return ()


# --- turns ------------------------------------------------------------------------------------------------------------


def _number(rotation: Rotation, at: datetime) -> int:
    """The number of the turn that `at` lies in: guessed by the wall's date, at most one off."""
    day = at.astimezone(ZoneInfo(rotation.zone)).date()
    number = (day - rotation.start.date).days // _days(rotation) + 1
    while _begins(rotation, number) > at:
        number -= 1
    return number


def _begins(rotation: Rotation, number: int) -> datetime:
    day = rotation.start.date + timedelta(days=number * _days(rotation))
    wall = datetime.combine(day, time.fromisoformat(rotation.handover))
    return EPOCH + timedelta(microseconds=first_at(wall, ZoneInfo(rotation.zone)))


def _days(rotation: Rotation) -> int:
    return 1 if rotation.every == "day" else 7


def _person(rotation: Rotation, number: int) -> str:
    return rotation.people[number % len(rotation.people)]
