"""The alerts that breaches would have made, and what each channel would have been sent. Pure.

The stages are alerting's own (group, lifecycle, route, limit), played over the times of the breaches instead of ticks;
"only after N in M" is kept too. Nobody acknowledges. Where the catalog has no routes, one channel hears of everything.
Not played: what hides messages at the time (silences, dark feeds) or repeats them (escalation, digests).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from heapq import heappop, heappush
from itertools import groupby
from typing import Final

from alerting import group, lifecycle, limit, route
from alerting.desk import Desk, calendars_of
from alerting.group import Batch, ItemId, Standing
from alerting.lifecycle import RANK, State
from alerting.limit import Told
from alerting.oncall import people_now
from alerting.pipeline import SETTLE
from alerting.signal import Signal
from milepost.catalog.schema import After, Catalog, Severity
from milepost.clock import from_us
from sla.backtest.found import Found

TICK_US: Final = 500_000
"""Breaches of one half second are of one check."""
ANYBODY: Final = "(no route)"


@dataclass(slots=True)
class _Alert:
    """An alert while it is played. `waiting`: what "only after N in M" keeps, with when it was raised."""

    key: str
    rule: str
    state: State
    severity: Severity
    opened_at: datetime
    group: Mapping[str, str]
    open: int = 0
    resolved_at: datetime | None = None
    next_update_at: datetime | None = None
    told: dict[str, Told] = field(default_factory=dict)
    loud: bool = False
    waiting: list[tuple[datetime, Signal]] = field(default_factory=list)
    calls: dict[datetime, list[int]] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Message:
    """One that a channel would have been sent."""

    at: datetime
    channel: str
    rule: str
    event: limit.Event


@dataclass(slots=True)
class Played:
    """What came of the breaches: alerts by policy, and messages."""

    alerts: Counter[str] = field(default_factory=Counter)
    messages: list[Message] = field(default_factory=list)

    def per_day(self) -> Counter[date]:
        """Messages by day (UTC)."""
        return Counter(message.at.astimezone(UTC).date() for message in self.messages)


def play(found: Iterable[Found], catalog: Catalog, until: datetime) -> Played:
    """Play the breaches through alerting's stages, up to `until`."""
    return _Play(catalog, until).run(found)


class _Play:
    def __init__(self, catalog: Catalog, until: datetime) -> None:
        self.routing = catalog.routing
        self.calendars = calendars_of(catalog)
        self.after: Mapping[str, After] = {one.name: one.after for one in catalog.policies if one.after is not None}
        self.until = until
        self.interval = timedelta(microseconds=self.routing.group_interval.us)
        self.played = Played()
        self.items: dict[ItemId, str] = {}
        self.alerts: dict[str, _Alert] = {}
        self.firing: defaultdict[str, dict[str, _Alert]] = defaultdict(dict)
        """By rule and key those that are not over."""
        self.waiting: list[tuple[datetime, str]] = []

    def run(self, found: Iterable[Found]) -> Played:
        signals = sorted(_signals(found), key=lambda pair: pair[0])
        for tick, pairs in groupby(signals, key=lambda pair: pair[0]):
            now, several = from_us(tick), [signal for _, signal in pairs]
            if now >= self.until:
                break
            self._catch_up(now)
            joined = group.together(several, self._standing({one.rule for one in several}, now), self._at_once)
            for batch in group.fold(several, self.items, joined).values():
                self._take(batch, now)
        self._catch_up(self.until)
        return self.played

    @property
    def _at_once(self) -> int:
        return self.routing.groups_at_once

    def _standing(self, rules: Collection[str], now: datetime) -> dict[tuple[str, str], Standing]:
        """The open alerts of these rules, as grouping asks for them."""
        standing = {}
        for rule in rules:
            mine = self.firing[rule].values()
            own = [one for one in mine if one.group]
            wide = next((one for one in mine if one.groups), None)
            standing["sla", rule] = Standing(
                own=[one.key for one in own],
                lately=sum(one.opened_at > now - group.LATELY for one in own),
                taken=None if wide is None else wide.groups,
                widens=wide is not None and wide.opened_at > now - group.WIDENS,
            )
        return standing

    def _take(self, batch: Batch, now: datetime) -> None:
        known = self.alerts.get(batch.key)
        if known is not None and known.resolved_at is not None and known.resolved_at < now - SETTLE:
            known = None
        alert = known or _Alert(batch.key, batch.seed.rule, "firing", batch.severity, now, batch.seed.group)
        before, severity = (None, None) if known is None else (known.state, known.severity)
        alert.groups |= batch.groups
        alert.open += sum(item.ended is None for item in batch.raised.values()) - len(batch.ended)
        alert.state, happened = lifecycle.follow(before, added=batch.added, items_open=max(alert.open, 0))
        alert.severity = lifecycle.worst(alert.severity, batch.severity)
        alert.resolved_at = now if alert.state == "resolved" else None
        alert.loud = alert.loud and not {"opened", "reopened"} & set(happened)
        self.alerts[batch.key] = alert
        if alert.state == "resolved":
            self.firing[alert.rule].pop(alert.key, None)
        else:
            self.firing[alert.rule][alert.key] = alert
        self.played.alerts[alert.rule] += "opened" in happened
        loud = self._enough(alert, batch, now)
        worse = severity is not None and any(RANK[one.severity] > RANK[severity] for one in loud)
        news = bool(batch.over and alert.loud) or any(one.item in batch.fresh for one in loud)
        self._speak(alert, self._channels(alert, loud, now), now, news=news, worse=worse)

    def _enough(self, alert: _Alert, batch: Batch, now: datetime) -> list[Signal]:
        """What of a batch is told: all, unless the policy waits for more."""
        after, loud = self.after.get(alert.rule), list(batch.loud.values())
        if after is None or alert.loud or not loud:
            return loud
        since = now - timedelta(microseconds=after.within.us)
        alert.waiting = [pair for pair in alert.waiting if pair[0] > since] + [(now, one) for one in loud]
        if len(alert.waiting) < after.items:
            return []
        waited, alert.waiting = [one for _, one in alert.waiting], []
        return waited

    def _channels(self, alert: _Alert, loud: list[Signal], now: datetime) -> list[str]:
        if not self.routing.routes:
            return [ANYBODY] if loud else []
        desk = self._desk(now)
        way = route.way_of_all(desk, [route.labels_of(one, {**one.group, **alert.group}) for one in loud])
        for index, at in way.waiting.items():
            alert.calls.setdefault(at, []).append(index)
            heappush(self.waiting, (at, alert.key))
        return route.channels(desk, way.taken)

    def _desk(self, now: datetime) -> Desk:
        return Desk(self.routing, now, self.calendars, people_now(self.routing, [], now))

    def _speak(
        self, alert: _Alert, routed: list[str], now: datetime, *, news: bool = False, worse: bool = False
    ) -> None:
        verdict = limit.speak(
            alert.state,
            alert.told,
            routed=routed,
            worth_telling=news,
            worse=worse,
            acknowledged=False,
            next_update_at=alert.next_update_at,
            interval=self.interval,
            now=now,
        )
        alert.loud = alert.loud or bool(verdict.events)
        alert.next_update_at = verdict.next_update_at
        if verdict.next_update_at is not None:
            heappush(self.waiting, (verdict.next_update_at, alert.key))
        for channel, event in verdict.events.items():
            alert.told[channel] = Told(event, now)
            self.played.messages.append(Message(now, channel, alert.rule, event))

    def _catch_up(self, now: datetime) -> None:
        """Say what had to wait: for an interval, or for the hours of a route."""
        while self.waiting and self.waiting[0][0] < now:
            at, key = heappop(self.waiting)
            alert = self.alerts[key]
            places = alert.calls.pop(at, ())
            if places or alert.next_update_at == at:
                routed = route.channels(self._desk(at), places) if places and alert.state != "resolved" else []
                self._speak(alert, routed, at, news=False, worse=False)


def _signals(found: Iterable[Found]) -> Iterator[tuple[int, Signal]]:
    """What the SLA engine would have told alerting, each with its tick."""
    for number, one in enumerate(found):
        if one.opened_us is None:
            continue
        yield _tick(one.opened_us), _raised(one, number)
        if one.cleared_us is not None:
            why = "retracted" if one.end == "retracted" else "late"
            cleared = Signal("clear", "sla", one.policy, {}, f"{number}", from_us(one.cleared_us), why=why)
            yield max(_tick(one.cleared_us), _tick(one.opened_us) + TICK_US), cleared


def _tick(at_us: int) -> int:
    return -(-at_us // TICK_US) * TICK_US


def _raised(one: Found, number: int) -> Signal:
    return Signal(
        action="raise",
        kind="sla",
        rule=one.policy,
        group=one.group,
        item=f"{number}",
        at=from_us(one.due_us),
        severity=one.severity,
        labels=one.dimensions,
        amount=one.amount,
        currency=one.currency,
        journey_id=one.journey_id,
        notify=one.notify,
    )
