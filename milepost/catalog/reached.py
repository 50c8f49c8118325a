"""What is wrong with routes that can be used: those that nothing takes, labels that nothing has, and who is told
nothing. Pure; milepost/catalog/findings.py tells it with file and line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from milepost.catalog import flow
from milepost.catalog.lines import Path
from milepost.catalog.oncall import address_of
from milepost.catalog.routing import Route, named
from milepost.catalog.schema import CalendarSpec, Catalog
from milepost.catalog.words import and_more, near

Level = Literal["error", "warning"]
Found = tuple[Level, Path, str]
Match = Literal["no", "perhaps", "yes"]
KINDS: Final = ("sla", "objective", "anomaly", "reconciliation", "platform")
OWN: Final = ("kind", "rule", "severity", "owner")
SEVERITIES: Final = ("info", "warning", "critical")
PLATFORM: Final = frozenset({"channel", "collector", "policy", "silence", "source", "reconciliation", "burn", "stage"})
"""What Milepost's own alerts, and those of objectives and flows, are grouped by or labelled with."""
NAMED: Final = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """Alerts that are alike: what is known of their labels. A label that is not here may have any value."""

    title: str
    labels: Mapping[str, str | None]
    """None: they have no such label."""
    told: bool = True


def check(catalog: Catalog) -> Iterator[Found]:
    """All of it."""
    if not catalog.routing.routes:
        return
    kinds = list(_kinds(catalog))
    for index, route in enumerate(catalog.routing.routes):
        path: Path = ("routes", index)
        yield from _labels(catalog, route, (*path, "match"))
        yield from _taken(catalog, index, route, path, kinds)
    yield from _unused(catalog)
    yield from _unreached(catalog, kinds)


# --- labels -----------------------------------------------------------------------------------------------------------


def _labels(catalog: Catalog, route: Route, path: Path) -> Iterator[Found]:
    known = _known(catalog)
    for label, values in route.match.items():
        if label not in known:
            yield "error", (*path, label), f"nothing has a label {label}{near(label, known)}"
        for value in values:
            yield from _value(catalog, label, value, (*path, label))


def _value(catalog: Catalog, label: str, value: str, path: Path) -> Iterator[Found]:
    closed = {"kind": KINDS, "severity": SEVERITIES}.get(label)
    if closed is not None and value not in closed:
        yield "error", path, f"there is no {label} {value}; there are {', '.join(closed)}"
    rules = _rules(catalog)
    if label == "rule" and value not in rules and (close := near(value, rules)):
        yield "warning", path, f"no rule of the catalog is called {value}{close}"
    owners = _owners(catalog)
    if label == "owner" and value not in owners:
        yield "warning", path, f"nothing in the catalog has the owner {value}{near(value, owners)}"


def _known(catalog: Catalog) -> set[str]:
    grouped = [one.group_by for one in (*catalog.policies, *catalog.flows)]
    return {*OWN, *catalog.dimensions, *flow.COLUMNS, *PLATFORM, *(label for one in grouped for label in one)}


def _rules(catalog: Catalog) -> set[str]:
    detectors = [f"unusual-{name}" for name in catalog.anomaly.alert_on]
    return {*(one.name for one in (*catalog.policies, *catalog.flows)), *catalog.reconciliations, *detectors}


def _owners(catalog: Catalog) -> set[str]:
    found = [*catalog.policies, *catalog.flows, *catalog.reconciliations.values()]
    return {one.owner for one in found if one.owner}


# --- routes that nothing takes ----------------------------------------------------------------------------------------


def _taken(catalog: Catalog, index: int, route: Route, path: Path, kinds: Collection[Kind]) -> Iterator[Found]:
    if route.outside is not None and _never_closes(catalog.calendars[route.outside]):
        yield "error", (*path, "outside"), f"the calendar {route.outside} never closes: this route is never taken"
    before = next((number for number, one in enumerate(catalog.routing.routes[:index]) if _covers(one, route)), None)
    if before is not None:
        name = catalog.routing.routes[before].name or f"the route in place {before + 1}"
        yield "error", path, f"it is never taken: {name} takes all that it would, and ends the search"
    elif all(_match(route, kind) == "no" for kind in kinds):
        yield "error", (*path, "match"), "it is never taken: nothing has these labels together"


def _covers(first: Route, later: Route) -> bool:
    """Whether all that `later` would take is taken by `first` before it."""
    hours = (first.during, first.outside)
    same = hours in ((None, None), (later.during, later.outside))
    wider = all(set(later.match.get(label, ("",))) <= set(values) for label, values in first.match.items())
    return same and wider and not first.goes_on and all(label in later.match for label in first.match)


def _never_closes(calendar: CalendarSpec) -> bool:
    return calendar.weekly is None and not calendar.holidays and calendar.country is None


# --- channels ---------------------------------------------------------------------------------------------------------


def _unused(catalog: Catalog) -> Iterator[Found]:
    routing = catalog.routing
    used = set(named(routing))
    on_call = {name for one in routing.rotations.values() for name in one.channels}
    for index, channel in enumerate(routing.channels):
        if channel.name not in used | on_call:
            yield "warning", ("channels", index), f"no route, escalation or digest names {channel.name}"
    channels = {channel.name: channel for channel in routing.channels}
    for name, rotation in routing.rotations.items():
        if name not in used:
            yield "warning", ("rotations", name), f"no route, escalation or digest names {name}"
        for person in rotation.people:
            missing = [one for one in rotation.channels if not address_of(channels[one], routing.people[person])]
            for one in missing:
                text = f"{person} has no address for {one}, which does not reach them"
                yield "warning", ("rotations", name, "people"), text


# --- alerts that nobody hears of --------------------------------------------------------------------------------------


def _kinds(catalog: Catalog) -> Iterator[Kind]:
    for one in (*catalog.policies, *catalog.flows):
        own = {"kind": "sla", "rule": one.name, "severity": one.severity, "owner": one.owner}
        yield Kind(one.name, own, told=one.notify)
    for name, each in catalog.reconciliations.items():
        own = {"kind": "reconciliation", "rule": name, "severity": each.severity, "owner": each.owner}
        yield Kind(name, own, told=each.notify)
    for detector in catalog.anomaly.alert_on:
        rule = f"unusual-{detector}"
        yield Kind(rule, {"kind": "anomaly", "rule": rule, "severity": catalog.anomaly.severity, "owner": None})
    yield Kind("error budgets", {"kind": "objective"}, told=bool(catalog.policies))
    yield Kind("Milepost itself", {"kind": "platform", "owner": None})


def _match(route: Route, kind: Kind) -> Match:
    sure = True
    for label, values in route.match.items():
        if label not in kind.labels:
            sure = False
        elif kind.labels[label] not in values:
            return "no"
    return "yes" if sure else "perhaps"


def _unreached(catalog: Catalog, kinds: Iterable[Kind]) -> Iterator[Found]:
    routes = catalog.routing.routes
    told = [(kind, [_match(route, kind) for route in routes]) for kind in kinds if kind.told]
    never = [kind.title for kind, found in told if set(found) == {"no"}]
    some = [kind.title for kind, found in told if "perhaps" in found and "yes" not in found]
    if never:
        yield "warning", ("routes",), f"no route takes alerts of {and_more(never, NAMED)}: nobody is told of them"
    if some:
        text = f"some alerts of {and_more(some, NAMED)} may find no route, by their labels: end with a route for all"
        yield "warning", ("routes",), text
