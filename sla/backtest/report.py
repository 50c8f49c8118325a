"""What a catalog would have found, in figures, and beside what another one found. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Literal

from milepost.catalog.schema import Catalog
from milepost.clock import from_us
from milepost.journeystate import JourneyChange
from sla.backtest.alerts import Played, play
from sla.backtest.found import BreachKey, Found, Outcome, Span, breach_of, outcome, promise_of
from sla.evaluate import Clock, evaluate
from sla.policy import Compiled

SAMPLES: Final = 10
"""Differences of a policy that are told in words."""
WORST: Final = 10
LEAST: Final = 5
"""Fewer clocks make no worst group."""

Change = Literal["new", "gone", "same"]


@dataclass(slots=True)
class Side:
    """What one catalog finds, while it is being found."""

    catalog: Catalog
    compiled: Compiled
    outcomes: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    """Clocks that fell due, by policy and what became of them."""
    groups: Counter[tuple[str, str, str, bool]] = field(default_factory=Counter)
    """Clocks that count, by policy, dimension and value, and whether they were missed."""
    found: list[Found] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    """By policy what kept clocks from being judged."""

    def judge(self, change: JourneyChange, names: Mapping[int, str], span: Span) -> _Judged:
        """Judge the clocks of a journey that fall due in the span, and remember what became of them."""
        evaluation = evaluate(self.compiled, change)
        for verdict in evaluation.verdicts:
            self.faults.setdefault(verdict.policy, f"{verdict.reason}: {verdict.detail}")
        found = []
        for clock in evaluation.clocks:
            if clock.due_us is None or not span.since_us <= clock.due_us < span.until_us:
                continue
            self._count(clock, change, span.until_us)
            one = breach_of(clock, change, self.catalog, names, span)
            if one is not None:
                found.append(one)
        self.found += found
        return _Judged(found, evaluation.clocks)

    def _count(self, clock: Clock, change: JourneyChange, judged_us: int) -> None:
        became, policy = outcome(clock, judged_us), clock.policy.name
        self.outcomes[policy, became] += 1
        if became not in ("met", "missed"):
            return
        state = change.states.get(clock.subject_id) if clock.policy.per is not None else None
        own = state.values() if state is not None else {}
        for name in self.catalog.dimensions:
            value = own.get(name) or change.attributes.get(name)
            if value is not None and value != "":
                self.groups[policy, name, str(value), became == "missed"] += 1


@dataclass(frozen=True, slots=True)
class _Judged:
    found: list[Found]
    clocks: list[Clock]


@dataclass(frozen=True, slots=True)
class Difference:
    """A breach that only one of two catalogs finds; `instead`: what the other one says of that promise."""

    breach: Found
    instead: str


def instead(one: Found, clocks: Iterable[Clock], compiled: Compiled, judged_us: int) -> str:
    """What a catalog that does not find the breach says of the same promise."""
    mine = [clock for clock in clocks if clock.subject_id == one.subject_id]
    same = [clock for clock in mine if clock.policy.name == one.policy]
    heirs = same or [clock for clock in mine if promise_of(clock.policy) == one.promise]
    if not heirs:
        gone = one.policy not in compiled.policies
        return "there is no such policy" if gone else "the policy does not run for it"
    clock = heirs[0]
    who = "" if same else f"{clock.policy.name}: "
    if clock.due_us is None:
        return f"{who}the clock stands still"
    became = outcome(clock, judged_us)
    ended = "" if clock.stopped_us is None else f", ended {_at(clock, clock.stopped_us)}"
    words = {"running": "not due yet", "missed": "late"}.get(became, "in time")
    return f"{who}due {_at(clock, clock.due_us)}{ended}: {words}"


def _at(clock: Clock, at_us: int) -> str:
    return f"{from_us(at_us).astimezone(clock.policy.calendar.zone):%a %d %b %Y %H:%M}"


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """What became of one policy's clocks, and what would have been said about it."""

    policy: str
    version: str
    met: int
    missed: int
    stopped: int
    breaches: int
    late_known: int
    retracted: int
    alerts: int
    messages: int
    new: int = 0
    gone: int = 0

    @property
    def share(self) -> float | None:
        """Of the clocks that count, how many were met."""
        counted = self.met + self.missed
        return self.met / counted if counted else None


@dataclass(frozen=True, slots=True)
class Group:
    """Clocks that share a value of a dimension."""

    policy: str
    dimension: str
    value: str
    clocks: int
    missed: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the tried catalog finds, and how today's differs. Times are aware."""

    tried: str
    today: str
    since: datetime
    until: datetime
    journeys: int
    seconds: float
    policies: Sequence[PolicyFigures]
    was: Mapping[str, PolicyFigures]
    """The figures by today's catalog, by policy."""
    messages: Counter[date]
    messages_before: Counter[date]
    channels: Counter[str]
    worst: Sequence[Group]
    breaches: Sequence[tuple[Found, Change]]
    """All that the tried catalog finds, and behind them those that are gone."""
    samples: Mapping[Literal["new", "gone"], Sequence[Difference]]
    faults: Mapping[str, str]

    @property
    def days(self) -> float:
        return max((self.until - self.since).total_seconds() / 86_400, 1.0)


class Comparison:
    """Two catalogs over the same journeys; `today` may be the same as `tried`."""

    def __init__(self, tried: Catalog, today: Catalog, compiled: tuple[Compiled, Compiled]) -> None:
        self.tried = Side(tried, compiled[0])
        self.today = Side(today, compiled[1])
        self.same = tried.version == today.version
        self.journeys = 0
        self._samples: dict[Literal["new", "gone"], list[Difference]] = {"new": [], "gone": []}
        self._told: Counter[tuple[str, str]] = Counter()
        self._changes: dict[BreachKey, Change] = {}
        self._gone: list[Found] = []

    def judge(self, change: JourneyChange, names: Mapping[int, str], span: Span) -> None:
        """Judge a journey by both."""
        self.journeys += 1
        mine = self.tried.judge(change, names, span)
        if self.same:
            return
        theirs = self.today.judge(change, names, span)
        known = {one.identity for one in theirs.found}
        for one in mine.found:
            if one.identity not in known:
                self._changes[one.identity] = "new"
                self._tell("new", one, instead(one, theirs.clocks, self.today.compiled, span.until_us))
        still = {one.identity for one in mine.found}
        for one in theirs.found:
            if one.identity not in still:
                self._gone.append(one)
                self._tell("gone", one, instead(one, mine.clocks, self.tried.compiled, span.until_us))

    def _tell(self, kind: Literal["new", "gone"], one: Found, other: str) -> None:
        self._told[kind, one.policy] += 1
        if self._told[kind, one.policy] <= SAMPLES:
            self._samples[kind].append(Difference(one, other))

    def report(self, span: Span, seconds: float) -> Report:
        """What came of it, after so many seconds."""
        since, until = from_us(span.since_us), from_us(span.until_us)
        played = play(self.tried.found, self.tried.catalog, until)
        before = played if self.same else play(self.today.found, self.today.catalog, until)
        today = self.tried if self.same else self.today
        figures = [
            _figures(name, self.tried, played, self._told["new", name], self._told["gone", name])
            for name in self.tried.compiled.policies
        ]
        return Report(
            tried=self.tried.catalog.version,
            today=self.today.catalog.version,
            since=since,
            until=until,
            journeys=self.journeys,
            seconds=seconds,
            policies=figures,
            was={name: _figures(name, today, before) for name in today.compiled.policies},
            messages=played.per_day(),
            messages_before=before.per_day(),
            channels=Counter(message.channel for message in played.messages),
            worst=worst(self.tried),
            breaches=[
                *((one, self._changes.get(one.identity, "same")) for one in self.tried.found),
                *((one, "gone") for one in self._gone),
            ],
            samples=self._samples,
            faults={**self.tried.compiled.disabled, **self.tried.faults},
        )


def _figures(name: str, side: Side, played: Played, new: int = 0, gone: int = 0) -> PolicyFigures:
    mine = [one for one in side.found if one.policy == name]
    return PolicyFigures(
        policy=name,
        version=side.compiled.policies[name].version,
        met=side.outcomes[name, "met"],
        missed=side.outcomes[name, "missed"],
        stopped=side.outcomes[name, "stopped"],
        breaches=len(mine),
        late_known=sum(one.late_known for one in mine),
        retracted=sum(one.end == "retracted" for one in mine),
        alerts=played.alerts[name],
        messages=sum(message.rule == name for message in played.messages),
        new=new,
        gone=gone,
    )


def worst(side: Side) -> list[Group]:
    """The values of the dimensions with the most missed clocks; of as many, with the larger share."""
    clocks: Counter[tuple[str, str, str]] = Counter()
    missed: Counter[tuple[str, str, str]] = Counter()
    for (policy, dimension, value, late), number in side.groups.items():
        clocks[policy, dimension, value] += number
        missed[policy, dimension, value] += number if late else 0
    found = [Group(*key, number, missed[key]) for key, number in clocks.items() if number >= LEAST and missed[key]]
    return sorted(found, key=lambda one: (-one.missed, -one.missed / one.clocks, one.dimension, one.value))[:WORST]
