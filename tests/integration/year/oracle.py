"""Which breaches there must be, from the events alone: plain Python, written from the rules of the documentation.

It knows the rules of correlation (docs/explanation/correlation.md) as far as the simulated network needs them, and the
kinds between, dwell and by. The orders that travel together are one case; nothing joins cases. A case is judged anew,
from nothing, whenever something new is known of it; checks happen at every tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import chain, combinations, product
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import holidays
import yaml

Obj = tuple[str, str, str]
"""Type, namespace, key."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LENGTHS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def us(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


class Key(NamedTuple):
    """A clock of a journey, with the promise that it stands for."""

    model: str
    root: Obj
    policy: str
    subject: Obj
    started: int
    due: int


class Clock(NamedTuple):
    """When it stopped, and what stopped it: reached, cancelled or completed."""

    stopped: int | None
    how: str


@dataclass(frozen=True)
class Event:
    """What a sender said. Times in microseconds; `keys` are its objects by type."""

    received: int
    at: int
    source: str
    id: str
    type: str
    ok: bool
    keys: Mapping[str, list[Obj]]
    attributes: Mapping[str, str]
    links: list[tuple[Obj, Obj]]

    @property
    def order(self) -> tuple[int, str, str]:
        return self.at, self.source, self.id


# --- calendars --------------------------------------------------------------------------------------------------------


@cache
def closed_days(country: str, year: int) -> frozenset[date]:
    return frozenset(holidays.country_holidays(country, years=year))


class Hours:
    """A calendar of the catalog, walked day by day."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.zone = ZoneInfo(spec.get("zone", "UTC"))
        self.weekly = spec.get("weekly")
        self.country = spec.get("country")
        self.days = {date.fromisoformat(str(day)) for day in spec.get("holidays", [])}

    def shifts(self, day: date) -> Iterator[tuple[int, int]]:
        if day in self.days or (self.country and day in closed_days(self.country, day.year)):
            return
        for opens, closes in self.weekly.get(DAYS[day.weekday()], []):
            yield self._at(day, opens), self._at(day, closes)

    def _at(self, day: date, text: str) -> int:
        wall = datetime.combine(day, time.fromisoformat(text), self.zone)
        return us(wall.astimezone(UTC))

    def add(self, start: int, length: int) -> int:
        """When so much open time has passed since `start`."""
        if self.weekly is None or length == 0:
            return start + length
        day = (EPOCH + timedelta(microseconds=start)).astimezone(self.zone).date()
        while True:
            for opens, closes in self.shifts(day):
                begins = max(opens, start)
                if begins < closes:
                    if length <= closes - begins:
                        return begins + length
                    length -= closes - begins
            day += timedelta(days=1)

    def end_of(self, day: date) -> int:
        return us(datetime.combine(day + timedelta(days=1), time(), self.zone).astimezone(UTC))

    def is_open(self, at: int) -> bool:
        if self.weekly is None:
            return True
        day = (EPOCH + timedelta(microseconds=at)).astimezone(self.zone).date()
        return any(opens <= at <= closes for opens, closes in self.shifts(day))


def length_of(text: str | None) -> int:
    return int(text[:-1]) * LENGTHS[text[-1]] * 1_000_000 if text else 0


# --- the catalog ------------------------------------------------------------------------------------------------------


class Rules:
    """What the oracle reads of a catalog's texts."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        journeys, slas, calendars = (
            yaml.safe_load(texts[name]) for name in ("journeys.yaml", "slas.yaml", "calendars.yaml")
        )
        self.keys = journeys["keys"]
        self.models = {name: Model(name, spec) for name, spec in journeys["models"].items()}
        self.hours = {name: Hours(spec) for name, spec in {"always": {}, **calendars["calendars"]}.items()}
        self.policies = [one for one in slas["policies"] if one["kind"] in ("between", "dwell", "by")]
        self.promised = [
            model for model in self.models.values() if any(one["model"] == model.name for one in self.policies)
        ]
        """The models that promise something."""
        self._related: dict[tuple[str, str], bool] = {}
        self._subjects: dict[str, list[str]] = {}

    def related(self, one: str, other: str) -> bool:
        """Whether one type stands above the other in some model."""
        if (one, other) not in self._related:
            below = [model.below for model in self.models.values()]
            self._related[one, other] = any(other in b.get(one, ()) or one in b.get(other, ()) for b in below)
        return self._related[one, other]

    def subjects(self, event_type: str) -> list[str]:
        """The types that an event is about, the best first."""
        if event_type not in self._subjects:
            kind = event_type.partition(".")[0]
            lesser = [one for model in self.models.values() if model.roots[0] == kind for one in model.roots[1:]]
            self._subjects[event_type] = [] if kind == "message" else [kind, *lesser]
        return self._subjects[event_type]


class Model:
    """A journey model."""

    def __init__(self, name: str, spec: Mapping[str, Any]) -> None:
        self.name = name
        self.roots: list[str] = spec["roots"]
        self.tree: Mapping[str, list[str]] = spec.get("tree", {})
        self.milestones: list[Mapping[str, Any]] = spec["milestones"]
        self.complete_when: list[Mapping[str, Any]] = spec["complete_when"]
        self.cancelled_by: list[str] = spec.get("cancelled_by", [])
        self.rank = {one["name"]: rank for rank, one in enumerate(self.milestones)}
        self.below = {kind: self._below(kind) for kind in {*self.roots, *self.tree}}

    def _below(self, kind: str) -> set[str]:
        children = self.tree.get(kind, [])
        return set(children).union(*(self._below(child) for child in children))

    def events(self, name: str) -> list[str]:
        found: list[str] = self.milestones[self.rank[name]]["events"]
        return found

    def later(self, name: str) -> list[Mapping[str, Any]]:
        """The milestones of higher rank that end a dwelling."""
        return [one for one in self.milestones[self.rank[name] + 1 :] if not one.get("beside")]


# --- what is known of a case ------------------------------------------------------------------------------------------


class Known:
    """The objects of some events, what happened to each, and how they are related."""

    def __init__(self, events: Iterable[Event], rules: Rules) -> None:
        self.rules = rules
        self.happened: dict[Obj, dict[str, Event]] = {}
        """By object and type the first event that went well and is about it."""
        self.attributes: dict[Obj, dict[str, str]] = {}
        self.related: dict[Obj, set[Obj]] = {}
        self.children: dict[Obj, set[Obj]] = {}
        self.named: dict[Obj, int] = {}
        for event in sorted(events, key=lambda one: one.order):
            self._learn(event)

    def _learn(self, event: Event) -> None:
        for one in chain(*event.keys.values(), *event.links):
            self.named.setdefault(one, event.at)
            self.related.setdefault(one, set())
        about = next((event.keys[one] for one in self.rules.subjects(event.type) if one in event.keys), [])
        for subject in about:
            if event.ok:
                self.happened.setdefault(subject, {}).setdefault(event.type, event)
            self.attributes.setdefault(subject, {}).update(event.attributes)
        for one, other in combinations(event.keys, 2):
            some, others = event.keys[one], event.keys[other]
            if min(len(some), len(others)) == 1 and self.rules.related(one, other):
                for first, second in product(some, others):
                    self.related[first].add(second)
                    self.related[second].add(first)
        for parent, child in event.links:
            self.children.setdefault(parent, set()).add(child)

    def journeys(self, model: Model) -> Iterator[Journey]:
        """One for each root that something is told of."""
        for one in self.related:
            if one[0] in model.roots and self._is_root(one, model):
                yield Journey(self, model, one, self._members(one, model))

    def _is_root(self, one: Obj, model: Model) -> bool:
        preferred = model.roots[: model.roots.index(one[0])]
        return not any(other[0] in preferred for other in self.related[one])

    def _members(self, root: Obj, model: Model) -> set[Obj]:
        members, waiting = {root}, [root]
        while waiting:
            one = waiting.pop()
            below = {other for other in self.related[one] if other[0] in model.below.get(one[0], ())}
            below |= {other for other in self.children.get(one, ()) if other[0] in model.below[root[0]]}
            waiting += below - members
            members |= below
        return members


@dataclass
class Journey:
    """A root and all below it, as they are known."""

    known: Known
    model: Model
    root: Obj
    members: set[Obj]
    reached: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for milestone in self.model.milestones:
            at = self._reached(milestone)
            if at is not None:
                self.reached[milestone["name"]] = at

    def first(self, one: Obj, types: Iterable[str]) -> int | None:
        happened = self.known.happened.get(one, {})
        return min((happened[kind].at for kind in types if kind in happened), default=None)

    def _reached(self, milestone: Mapping[str, Any]) -> int | None:
        all_type = milestone.get("all")
        some = [one for one in self.members if one[0] == all_type]
        if some:
            left = [one for one in some if self.first(one, [f"{all_type}.cancelled"]) is None]
            times = [self.first(one, milestone["events"]) for one in left]
            return max(at for at in times if at is not None) if times and None not in times else None
        firsts = [self.first(one, milestone["events"]) for one in self.members]
        return min((at for at in firsts if at is not None), default=None)

    @property
    def cancelled(self) -> int | None:
        return self.first(self.root, self.model.cancelled_by)

    @property
    def completed(self) -> int | None:
        if self.cancelled is not None:
            return None
        for way in self.model.complete_when:
            without = any(one[0] in way.get("without", ()) for one in self.members)
            if not without and all(name in self.reached for name in way["reached"]):
                return max(self.reached[name] for name in way["reached"])
        return None

    def attribute(self, name: str) -> str | None:
        own = self.known.attributes.get(self.root, {}).get(name)
        others = {self.known.attributes.get(one, {}).get(name) for one in self.members} - {None}
        return own or (others.pop() if len(others) == 1 else None)

    def clocks(self) -> Iterator[tuple[Key, Clock]]:
        for policy in self.known.rules.policies:
            if policy["model"] == self.model.name and "match" not in policy:  # of documents alone
                per = policy.get("per")
                subjects = [self.root] if per is None else [one for one in self.members if one[0] == per]
                for subject in subjects:
                    found = self._clock(policy, subject)
                    if found is not None:
                        yield found

    def _clock(self, policy: Mapping[str, Any], subject: Obj) -> tuple[Key, Clock] | None:
        started, stop = self._from_to(policy, subject)
        due = None if started is None else self._due(policy, started)
        if started is None or due is None:
            return None
        how = "running" if stop is None else "reached"
        cancelled = [self.cancelled]
        if policy.get("per"):
            cancelled.append(self.first(subject, [f"{policy['per']}.cancelled"]))
        over = min((at for at in cancelled if at is not None), default=None)
        if over is not None and (stop is None or over < stop):
            stop, how = over, "cancelled"
        elif stop is None and self.completed is not None and self._passed_over(policy):
            stop, how = self.completed, "completed"
        key = Key(self.model.name, self.root, policy["name"], subject, started, due)
        return key, Clock(None if stop is None else max(stop, started), how)

    def _from_to(self, policy: Mapping[str, Any], subject: Obj) -> tuple[int | None, int | None]:
        start, end, model = policy.get("start"), policy.get("end"), self.model
        if policy.get("per"):
            ends = model.events(end) if end else [kind for one in model.later(start) for kind in one["events"]]
            return self.first(subject, model.events(start)), self.first(subject, ends)
        started = self.reached.get(start) if start else min(self.known.named[one] for one in self.members)
        if end:
            return started, self.reached.get(end)
        later = [self.reached[one["name"]] for one in model.later(start) if one["name"] in self.reached]
        return started, min(later, default=None)

    def _due(self, policy: Mapping[str, Any], started: int) -> int | None:
        hours = self.known.rules.hours[policy.get("calendar", "always")]
        if policy["kind"] != "by":
            return hours.add(started, length_of(policy["within"]))
        day = self.attribute(policy["date"])
        return None if day is None else hours.end_of(date.fromisoformat(day)) - 1

    def _passed_over(self, policy: Mapping[str, Any]) -> bool:
        end = policy.get("end")
        return end is not None and any(one["name"] in self.reached for one in self.model.later(end))


# --- the course of a case ---------------------------------------------------------------------------------------------

ENDS: Final = {"reached": "late", "cancelled": "cancelled", "completed": "completed"}


@dataclass
class Breach:
    """`opened`: the tick at which it was seen open; None when it was over before."""

    key: Key
    opened: int | None = None
    end: str | None = None
    stopped: int | None = None


def breaches(events: Iterable[Event], rules: Rules, tick: int, until: int) -> dict[Key, Breach]:
    """All that is held against a case, when it is checked at every multiple of `tick` up to `until`."""
    arrivals: dict[int, list[Event]] = {}
    for event in events:
        arrivals.setdefault(_next_tick(event.received, tick), []).append(event)
    found: dict[Key, Breach] = {}
    known: list[Event] = []
    running: set[Key] = set()
    for now in sorted(at for at in arrivals if at <= until):
        _open(found, running, now - tick, tick)
        known += arrivals[now]
        seen = Known(known, rules)
        journeys = [journey for model in rules.promised for journey in seen.journeys(model)]
        clocks = {key: clock for journey in journeys for key, clock in journey.clocks()}
        _close(found, clocks, {(journey.model.name, journey.root) for journey in journeys})
        running = {key for key, clock in clocks.items() if clock.stopped is None}
        _open(found, running, now, tick)
    _open(found, running, until, tick)
    return found


def _next_tick(at: int, tick: int) -> int:
    return -(-at // tick) * tick


def _open(found: dict[Key, Breach], running: set[Key], now: int, tick: int) -> None:
    """What was due up to `now` and runs."""
    for key in running:
        if _next_tick(key.due, tick) <= now:
            breach = found.setdefault(key, Breach(key))
            if breach.opened is None or breach.end is not None:
                breach.opened, breach.end, breach.stopped = _next_tick(key.due, tick), None, None


def _close(found: dict[Key, Breach], clocks: Mapping[Key, Clock], roots: set[tuple[str, Obj]]) -> None:
    for key, clock in clocks.items():
        if clock.stopped is not None and clock.stopped > key.due:
            breach = found.setdefault(key, Breach(key))
            breach.end, breach.stopped = ENDS[clock.how], clock.stopped
    for key, breach in found.items():
        now = clocks.get(key)
        if now is not None and now.stopped is not None and now.stopped <= key.due:
            breach.end, breach.stopped = "retracted", now.stopped
        elif now is None and breach.end is None:
            breach.end = "absorbed" if (key.model, key.root) not in roots else "retracted"
