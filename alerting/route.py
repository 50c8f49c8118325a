"""Whose business it is: which routes something with these labels takes, now or at another hour. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from alerting.desk import Desk
from alerting.signal import Signal
from milepost.catalog.routing import Route, Routing

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Way:
    """The routes that are taken now, and those that wait for their hours, with when those begin; by their places."""

    taken: tuple[int, ...]
    waiting: Mapping[int, datetime]


def labels_of(signal: Signal, group: Labels) -> dict[str, str]:
    """What routes match on: the signal's labels, the alert's group values, and kind, rule, severity and owner."""
    owner = {"owner": signal.owner} if signal.owner else {}
    own = {"kind": signal.kind, "rule": signal.rule, "severity": signal.severity}
    return {**signal.labels, **group, **owner, **own}


def way(desk: Desk, labels: Labels) -> Way:
    """The first route that matches at this hour ends the search, unless it goes on.

    A route that matches at another hour only is passed over. It waits for its hours where nothing else ended the
    search, or where it would have gone on: then its channels come on top. Else another route stood in for it.
    """
    taken, passed, ended = [], [], False
    for index, route in enumerate(desk.routing.routes):
        if not matches(route, labels):
            continue
        if not desk.takes(route):
            passed.append(index)
            continue
        taken.append(index)
        if not route.goes_on:
            ended = True
            break
    routes = desk.routing.routes
    hours = {index: desk.takes_from(routes[index]) for index in passed if routes[index].goes_on or not ended}
    return Way(tuple(taken), {index: at for index, at in hours.items() if at is not None})


def way_of_all(desk: Desk, all_labels: Iterable[Labels]) -> Way:
    """The way of several things that share one alert: each is routed by itself, so that nobody is left out."""
    different = {tuple(sorted(labels.items())) for labels in all_labels}
    ways = [way(desk, dict(labels)) for labels in different]
    taken = sorted({index for one in ways for index in one.taken})
    waiting = {index: at for one in ways for index, at in one.waiting.items() if index not in taken}
    return Way(tuple(taken), dict(sorted(waiting.items())))


def channels(desk: Desk, places: Iterable[int]) -> list[str]:
    """The channels of these routes, each once, in order; a rotation's are addressed to who is on call."""
    return desk.reach(name for index in places for name in desk.routing.routes[index].channels)


def matches(route: Route, labels: Labels) -> bool:
    """Every name in `match` is a label with one of the values listed."""
    return all(labels.get(name) in values for name, values in route.match.items())


def title(routing: Routing, index: int) -> str:
    """A route's name for people: its own, or its place."""
    return routing.routes[index].name or str(index + 1)
