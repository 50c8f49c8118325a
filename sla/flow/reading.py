"""What is measured of a flow, and what it means: one reading for each source, rate or backlog. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from milepost.calendar import Calendar
from milepost.catalog import flow
from milepost.catalog.flow import Backlog, FlowPolicy, Rate, Silence
from milepost.catalog.schema import Duration
from sla.flow import judge, words
from sla.flow.counts import STALE, Pair, Seen, look, total
from sla.flow.judge import Level

WHOLE: Final = ""
"""The item of the row that says of a policy when it was looked at."""
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class State:
    """How a flow stood at the last look: a row of record.flow_states."""

    policy: str
    item: str
    first_at: datetime
    judged_at: datetime
    heard_at: datetime | None = None
    since: datetime | None = None
    value: float | None = None
    seen: Seen = field(default_factory=Seen)


@dataclass(frozen=True, slots=True)
class Reading:
    """One flow now. `since`: from when it is wrong; None while it is not. `state`: what the next look must know;
    None: nothing."""

    labels: Labels
    since: datetime | None
    says: str
    measured: Mapping[str, Any]
    state: State | None = None
    amount: Decimal | None = None
    currency: str | None = None

    @property
    def item(self) -> str:
        return item_of(self.labels)


@dataclass(frozen=True, slots=True)
class Counted:
    """A row of input.volume_hours."""

    source: str
    type: str
    dimension: str
    hour: str
    events: int
    bad: int


@dataclass(frozen=True, slots=True)
class Group:
    """Open journeys that a backlog counts together: how many, what they are worth, since when the oldest waits."""

    labels: Labels
    journeys: int
    amount: Decimal | None
    currency: str | None
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at all flows starts from. `at`: the watermark; `breached`: (policy, item) of what is open."""

    at: datetime
    calendar: Callable[[FlowPolicy], Calendar]
    states: Mapping[tuple[str, str], State]
    breached: frozenset[tuple[str, str]]
    heard: Mapping[str, datetime]
    usual: Mapping[str, timedelta]
    counted: Iterable[Counted]

    def whole(self, policy: FlowPolicy) -> State:
        """The policy's own row, as it will be."""
        before = self.states.get((policy.name, WHOLE))
        return State(policy.name, WHOLE, before.first_at if before else self.at, self.at)

    def before(self, policy: FlowPolicy, item: str) -> Seen | None:
        """What the last look saw; None when nobody looked for so long that this is the first look."""
        whole = self.states.get((policy.name, WHOLE))
        if whole is None or self.at - whole.judged_at > STALE:
            return None
        state = self.states.get((policy.name, item))
        return state.seen if state is not None else Seen()


def item_of(labels: Labels) -> str:
    """What is measured, canonical."""
    return json.dumps(dict(sorted(labels.items())), ensure_ascii=False, separators=(",", ":"))


def length(duration: Duration) -> timedelta:
    return timedelta(microseconds=duration.us)


# --- silence ----------------------------------------------------------------------------------------------------------


def silences(policy: Silence, now: Look) -> Iterator[Reading]:
    """One for each source, or for each value of `match` and source."""
    if policy.events or policy.match:
        yield from _narrow_silences(policy, now)
        return
    first = now.whole(policy).first_at
    named = {source for source in policy.sources if "*" not in source}
    for source in sorted(named | {one for one in now.heard if flow.concerns(policy, one)}):
        heard = now.heard.get(source)
        yield _silence(policy, now, {"source": source}, heard, heard or first)


def _narrow_silences(policy: Silence, now: Look) -> Iterator[Reading]:
    first = now.whole(policy).first_at
    hours = _hours(now.counted, lambda row: _waited_for(policy, row))
    known = {_labels(state.item) for name, state in _own(now, policy)}
    for labels in sorted(known | {*hours} | set(_expected(policy))):
        item = item_of(dict(labels))
        before, former = now.before(policy, item), now.states.get((policy.name, item))
        seen = look(before, _sums(hours.get(labels, {})), STALE, now.at)
        heard = former.heard_at if former is not None else None
        if before is None:
            heard = max((at for at in (heard, _last_hour(seen, now.at)) if at is not None), default=None)
        elif seen.buckets and seen.buckets != before.buckets:
            heard = now.at
        state = State(policy.name, item, first, now.at, heard_at=heard, seen=seen)
        yield _silence(policy, now, dict(labels), heard, heard or first, state)


def _silence(
    policy: Silence, now: Look, labels: Labels, heard: datetime | None, from_: datetime, state: State | None = None
) -> Reading:
    within = None if policy.within is None else length(policy.within)
    usual = now.usual.get(labels["source"])
    since = judge.silent_since(from_, within, usual, now.calendar(policy), now.at)
    measured = {
        "heard_at": heard.isoformat() if heard else None,
        "within": policy.within.text if policy.within else flow.AUTO,
        "usual_gap_s": usual.total_seconds() if usual is not None else None,
    }
    says = words.silence(labels, heard, within, usual, now.calendar(policy), now.at)
    return Reading(labels, since, says, measured, state)


def _waited_for(policy: Silence, row: Counted) -> Labels | None:
    """The flow that a count belongs to; None: none of the policy's."""
    if not flow.concerns(policy, row.source) or (policy.events and not flow.named(policy.events, row.type)):
        return None
    labels = {"source": row.source}
    if not policy.match:
        return labels if not row.dimension else None
    name, _, value = row.dimension.partition("=")
    return labels | {name: value} if value in policy.match.get(name, ()) else None


def _expected(policy: Silence) -> Iterator[tuple[tuple[str, str], ...]]:
    """What a policy names itself, heard or not."""
    values = [{name: value} for name, some in policy.match.items() for value in some] or [{}]
    for source in policy.sources:
        if "*" not in source:
            yield from (_key({"source": source, **value}) for value in values)


def _last_hour(seen: Seen, at: datetime) -> datetime | None:
    hours = [datetime.fromisoformat(hour) for hour, (events, _) in seen.hours.items() if events]
    return min(max(hours) + timedelta(hours=1), at) if hours else None


# --- rate -------------------------------------------------------------------------------------------------------------


def rates(policy: Rate, now: Look) -> Iterator[Reading]:
    """One for each group that has sent something, or whose window is not yet empty."""
    hours = _hours(now.counted, lambda row: _rated(policy, row), lambda row: _bad(policy, row))
    known = {_labels(state.item) for _, state in _own(now, policy)}
    for labels in sorted(known | {*hours}):
        item = item_of(dict(labels))
        former = now.states.get((policy.name, item))
        seen = look(now.before(policy, item), _sums(hours.get(labels, {})), length(policy.window), now.at)
        events, bad = seen.sums
        level = Level(former.since if former else None, (policy.name, item) in now.breached)
        share = judge.share(events, bad, policy.at_least, breached=level.breached)
        level = judge.level(level, share, policy.limit, policy.until, length(policy.for_), now.at)
        first = now.whole(policy).first_at
        state = State(policy.name, item, first, now.at, since=level.since, value=share, seen=seen)
        measured = {"events": events, "bad": bad, "share": share, "limit": policy.limit, "window": policy.window.text}
        says = words.rate(dict(labels), events, bad, policy.limit, policy.window.text)
        since = level.since if level.breached else None
        gone = not seen.hours and not seen.buckets and level.since is None
        yield Reading(dict(labels), since, says, measured, None if gone else state)


def _rated(policy: Rate, row: Counted) -> Labels | None:
    if not flow.concerns(policy, row.source) or (policy.events and not flow.named(policy.events, row.type)):
        return None
    dimension = flow.dimension_of(policy)
    name, _, value = row.dimension.partition("=")
    if (dimension or "") != name or (name in policy.match and value not in policy.match[name]):
        return None
    known = {"source": row.source, "type": row.type, name: value}
    return {label: known[label] for label in policy.group_by}


def _bad(policy: Rate, row: Counted) -> int:
    return row.events if flow.named(policy.failures, row.type) else row.bad


# --- backlog ----------------------------------------------------------------------------------------------------------


def backlogs(policy: Backlog, now: Look, groups: Iterable[Group]) -> Iterator[Reading]:
    """One for each group that has journeys in it, or had."""
    found = {_key(group.labels): group for group in groups}
    known = {_labels(item) for name, item in now.breached if name == policy.name}
    for labels in sorted(known | {*found} | {_labels(state.item) for _, state in _own(now, policy)}):
        group = found.get(labels)
        item = item_of(dict(labels))
        former = now.states.get((policy.name, item))
        value = _value(policy, group)
        level = Level(former.since if former else None, (policy.name, item) in now.breached)
        level = judge.level(level, value, policy.limit, policy.until, length(policy.for_), now.at)
        oldest = group.oldest_at.isoformat() if group else None
        measured = {"value": value, "limit": policy.limit, "measure": policy.measure, "oldest_at": oldest}
        says = words.backlog(policy, dict(labels), value, group.journeys if group else 0)
        reading = Reading(dict(labels), level.since if level.breached else None, says, measured)
        if level.since is not None:
            first = now.whole(policy).first_at
            reading = replace(reading, state=State(policy.name, item, first, now.at, since=level.since, value=value))
        yield replace(reading, amount=group.amount, currency=group.currency) if group else reading


def _value(policy: Backlog, group: Group | None) -> float:
    if group is None:
        return 0.0
    return float(group.amount or 0) if policy.measure == "money" else float(group.journeys)


def cutoff(policy: Backlog, calendar: Calendar, at: datetime) -> datetime:
    """What has been in its stage since then or longer is older than the policy says, in the calendar's time."""
    older = length(policy.older_than)
    if calendar.hours is None or not older:
        return at - older
    low, high = at - timedelta(days=400), at  # more than any calendar is closed for
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (middle, high) if calendar.between(middle, at) >= older else (low, middle)
    return low


# --- counting ---------------------------------------------------------------------------------------------------------

Key = tuple[tuple[str, str], ...]


def _hours(
    counted: Iterable[Counted],
    labels_of: Callable[[Counted], Labels | None],
    bad_of: Callable[[Counted], int] = lambda row: row.bad,
) -> dict[Key, dict[str, list[Pair]]]:
    """The counts by flow and hour."""
    found: dict[Key, dict[str, list[Pair]]] = {}
    for row in counted:
        labels = labels_of(row)
        if labels is not None:
            found.setdefault(_key(labels), {}).setdefault(row.hour, []).append((row.events, bad_of(row)))
    return found


def _sums(hours: Mapping[str, Iterable[Pair]]) -> dict[str, Pair]:
    return {hour: total(pairs) for hour, pairs in sorted(hours.items())}


def _own(now: Look, policy: FlowPolicy) -> Iterator[tuple[str, State]]:
    return ((item, state) for (name, item), state in now.states.items() if name == policy.name and item != WHOLE)


def _key(labels: Labels) -> Key:
    return tuple(sorted(labels.items()))


def _labels(item: str) -> Key:
    return _key(json.loads(item))
