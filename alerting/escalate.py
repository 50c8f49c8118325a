"""Who else hears of an alert that nobody acknowledges, and when. Pure.

Each route with an escalation that an alert takes is a climb of its own. The rungs of a climb are told in order, each
once its time has run since the route was taken; time runs in the escalation's calendar, and stands still while the
alert is silenced. A late call is a route that waits for its hours: it is told when they begin. All of it ends when
somebody acknowledges or resolves the alert, but for late calls, which an acknowledgement leaves. Until then a climb
that is at its end is remembered, as new items that take its route are no reason to climb again.

What is known of it is kept with the alert (`State`), so that it survives restarts; the catalog is asked anew each time,
so that a changed escalation counts from then on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from alerting import lifecycle
from alerting.desk import Desk
from alerting.limit import OVER, Event, Told
from alerting.route import Way, title
from milepost.catalog.oncall import Escalation
from milepost.catalog.routing import Route

LOOK: Final = timedelta(seconds=30)
"""So often an alert that escalates is looked at, to see whether it is silenced."""


class Climb(Struct, frozen=True, omit_defaults=True):
    """How far a route's escalation has come. `run_us` of its time had run before `since`; None: it stands still."""

    route: str
    since: datetime | None
    run_us: int = 0
    told: int = 0


class Call(Struct, frozen=True):
    """Channels and rotations that are to hear when their route's hours begin."""

    route: str
    at: datetime
    names: list[str]


class State(Struct, frozen=True, omit_defaults=True):
    climbs: list[Climb] = []
    calls: list[Call] = []


@dataclass(frozen=True, slots=True)
class Rung:
    """What is told now. `number` counts a climb's rungs from 1; 0 is a late call. `after`: in the climb's time."""

    route: str
    names: Sequence[str]
    number: int = 0
    after: timedelta = timedelta()


# Made here, so that msgspec knows the type before threads use it.
_known: Final = msgspec.json.Decoder(State)


def read(stored: Mapping[str, Any] | None) -> State:
    """The state as it is stored with an alert."""
    return msgspec.convert(stored, State) if stored else State()


def write(state: State) -> dict[str, Any] | None:
    """What is stored of it: nothing, where nothing is known."""
    found: dict[str, Any] = msgspec.to_builtins(state)
    return found or None


def begin(state: State, desk: Desk, taken: Iterable[int], waiting: Mapping[int, datetime]) -> State:
    """Routes were taken now (by place), and others wait until their hours begin."""
    routes = desk.routing.routes
    called = {call.route for call in state.calls}
    known = {climb.route for climb in state.climbs} | called
    climbing = {climb.route for climb in _unfinished(state, desk)} | called
    names = [name for index in taken if routes[index].escalation and (name := routes[index].name)]
    climbs = [Climb(name, desk.now) for name in names if name not in known]
    calls = [Call(title(desk.routing, index), at, list(routes[index].channels)) for index, at in waiting.items()]
    new = [call for call in calls if call.names and call.route not in climbing]
    return State([*state.climbs, *climbs], [*state.calls, *new])


def advance(
    stored: Mapping[str, Any] | None, desk: Desk, way: Way, *, of: lifecycle.State, quiet: bool
) -> tuple[State, list[Rung]]:
    """The state of an alert that is in lifecycle state `of` and takes `way` now, and what is to be told by now."""
    if of == "resolved":
        return State(), []
    before = read(stored) if of == "firing" else acknowledged(read(stored))
    state = silenced(before, desk, now=quiet)
    state, rungs = (state, []) if quiet else due(state, desk)
    return begin(state, desk, way.taken if of == "firing" else (), way.waiting), rungs


def acknowledged(state: State) -> State:
    """Somebody looks after it. Whoever is to hear in their own hours still does."""
    return State(calls=state.calls)


def silenced(state: State, desk: Desk, *, now: bool) -> State:
    """Let the time of the climbs stand still while the alert is silenced, and run on after it."""
    return replace(state, climbs=[_paused(climb, desk) if now else _resumed(climb, desk) for climb in state.climbs])


def due(state: State, desk: Desk) -> tuple[State, list[Rung]]:
    """What is to be told by now, and the state after it. What an outage held up is told at once, repeats only once."""
    rungs = [Rung(call.route, call.names) for call in state.calls if call.at <= desk.now]
    climbs = []
    for climb in state.climbs:
        ready = _ready(climb, desk)
        rungs += {tuple(rung.names): rung for rung in ready}.values()
        climbs.append(replace(climb, told=climb.told + len(ready)))
    left = [climb for climb in climbs if _find(climb, desk) is not None]
    return State(left, [call for call in state.calls if call.at > desk.now]), rungs


def look_at(state: State, desk: Desk, *, can_be_silenced: bool) -> datetime | None:
    """When the next rung is due, or the alert is to be looked at; None for never."""
    climbs = _unfinished(state, desk)
    due_at = [*(call.at for call in state.calls), *(_at(climb, desk) for climb in climbs)]
    # what is due and was not told has to wait: the alert is silenced
    times = [at if at > desk.now else desk.now + LOOK for at in due_at if at is not None]
    if climbs and (can_be_silenced or any(climb.since is None for climb in climbs)):
        times.append(desk.now + LOOK)
    return min(times, default=None)


def events(rungs: Sequence[Rung], desk: Desk, told: Mapping[str, Told], muted: Collection[str]) -> dict[str, Event]:
    """What each channel of these rungs hears: an opening, or once more. A late call tells nobody twice."""
    found: dict[str, Event] = {}
    for rung in rungs:
        for channel in desk.reach(rung.names):
            last = told.get(channel)
            if channel in muted or (last is not None and rung.number == 0 and last.event != OVER):
                continue
            found[channel] = "opened" if last is None else "reopened" if last.event == OVER else "escalated"
    return found


def again(louder: Mapping[str, Event], verdict: Mapping[str, Event]) -> dict[str, Event]:
    """Where a channel would only hear of news, that it hears again because nobody acknowledges."""
    return {channel: event for channel, event in louder.items() if verdict.get(channel) == "updated"}


def note(rung: Rung, desk: Desk) -> dict[str, Any]:
    """What the alert's history says of it."""
    about = {"route": rung.route, "channels": desk.reach(rung.names), "on_call": desk.on_call(rung.names)}
    return {**about, "step": rung.number, "after_seconds": int(rung.after.total_seconds())}


def upcoming(state: State, desk: Desk) -> list[tuple[datetime | None, Rung]]:
    """What each climb and each late call tells next, and when; None: once it is no longer silenced, or never."""
    climbs = [(_at(climb, desk), rung) for climb in state.climbs if (rung := _next(climb, desk)) is not None]
    return [*((call.at, Rung(call.route, call.names)) for call in state.calls), *climbs]


# --- the rungs of a climb ---------------------------------------------------------------------------------------------


def rungs(route: Route, escalation: Escalation) -> Iterator[Rung]:
    """All rungs of a route's escalation, in order."""
    name, number = route.name or "", 0
    last, names = timedelta(), list(route.channels)
    for step in escalation.steps:
        number += 1
        last, names = timedelta(microseconds=step.after.us), list(step.channels)
        yield Rung(name, names, number, last)
    if escalation.repeat is not None:
        for again in range(1, escalation.times + 1):
            yield Rung(name, names, number + again, last + again * timedelta(microseconds=escalation.repeat.us))


def _ready(climb: Climb, desk: Desk) -> list[Rung]:
    found = _find(climb, desk)
    if found is None or climb.since is None:
        return []
    left = list(rungs(*found))[climb.told :]
    return [rung for rung in left if (at := _due_at(climb, found[1], rung, desk)) is not None and at <= desk.now]


def _unfinished(state: State, desk: Desk) -> list[Climb]:
    return [climb for climb in state.climbs if _next(climb, desk) is not None]


def _next(climb: Climb, desk: Desk) -> Rung | None:
    """The rung that a climb tells next; None when it is at its end, or its route has no escalation any more."""
    found = _find(climb, desk)
    return None if found is None else next(iter(list(rungs(*found))[climb.told :]), None)


def _at(climb: Climb, desk: Desk) -> datetime | None:
    found, rung = _find(climb, desk), _next(climb, desk)
    if found is None or rung is None or climb.since is None:
        return None
    return _due_at(climb, found[1], rung, desk)


def _due_at(climb: Climb, escalation: Escalation, rung: Rung, desk: Desk) -> datetime | None:
    """None for never: the calendar of the escalation is at its end."""
    assert climb.since is not None
    left = rung.after - timedelta(microseconds=climb.run_us)
    return desk.calendar(escalation.calendar).run_out(climb.since, max(left, timedelta()))


def _find(climb: Climb, desk: Desk) -> tuple[Route, Escalation] | None:
    for route in desk.routing.routes:
        if route.name == climb.route and route.escalation is not None:
            return route, route.escalation
    return None


# --- silence ----------------------------------------------------------------------------------------------------------


def _paused(climb: Climb, desk: Desk) -> Climb:
    found = _find(climb, desk)
    if climb.since is None or found is None:
        return climb
    run = desk.calendar(found[1].calendar).between(climb.since, desk.now)
    return replace(climb, since=None, run_us=climb.run_us + run // timedelta(microseconds=1))


def _resumed(climb: Climb, desk: Desk) -> Climb:
    return replace(climb, since=desk.now) if climb.since is None else climb
