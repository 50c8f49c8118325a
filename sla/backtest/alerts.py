"""The alerts that breaches would have made, and what each channel would have been sent. Pure.

The stages are alerting's own (group, lifecycle, route, limit), played over the times of the breaches instead of ticks.
Nobody acknowledges. Where the catalog has no routes, one channel hears of everything. Not played: what hides or
repeats messages at the time (silences, escalation, digests).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from heapq import heappop, heappush
from itertools import groupby
from typing import Final

from alerting import group, lifecycle, limit, route
from alerting.group import Batch, ItemId
from alerting.lifecycle import RANK, State
from alerting.limit import Told
from alerting.pipeline import SETTLE
from alerting.signal import Signal
from milepost.catalog.routing import Routing
from milepost.catalog.schema import Severity
from milepost.clock import from_us
from sla.backtest.found import Found

TICK_US: Final = 500_000
"""Breaches of one half second are of one check."""
ANYBODY: Final = "(no route)"


@dataclass(slots=True)
class _Alert:
    """An alert while it is played."""

    rule: str
    state: State
    severity: Severity
    opened_at: datetime
    group: Mapping[str, str]
    open: int = 0
    resolved_at: datetime | None = None
    next_update_at: datetime | None = None
    told: dict[str, Told] = field(default_factory=dict)


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


def play(found: Iterable[Found], routing: Routing, until: datetime) -> Played:
    """Play the breaches through alerting's stages, up to `until`."""
    return _Play(routing, until).run(found)


class _Play:
    def __init__(self, routing: Routing, until: datetime) -> None:
        self.routing = routing
        self.until = until
        self.interval = timedelta(microseconds=routing.group_interval.us)
        self.played = Played()
        self.items: dict[ItemId, str] = {}
        self.alerts: dict[str, _Alert] = {}
        self.waiting: list[tuple[datetime, str]] = []

    def run(self, found: Iterable[Found]) -> Played:
        signals = sorted(_signals(found), key=lambda pair: pair[0])
        for tick, several in groupby(signals, key=lambda pair: pair[0]):
            now = from_us(tick)
            if now >= self.until:
                break
            self._speak_due(now)
            for batch in group.fold([signal for _, signal in several], self.items).values():
                self._take(batch, now)
        self._speak_due(self.until)
        return self.played

    def _take(self, batch: Batch, now: datetime) -> None:
        known = self.alerts.get(batch.key)
        if known is not None and known.resolved_at is not None and known.resolved_at < now - SETTLE:
            known = None
        alert = known or _Alert(batch.seed.rule, "firing", batch.severity, now, batch.seed.group)
        before, severity = (None, None) if known is None else (known.state, known.severity)
        alert.open += sum(item.ended is None for item in batch.raised.values()) - len(batch.ended)
        alert.state, happened = lifecycle.follow(before, added=batch.added, items_open=max(alert.open, 0))
        alert.severity = lifecycle.worst(alert.severity, batch.severity)
        alert.resolved_at = now if alert.state == "resolved" else None
        self.alerts[batch.key] = alert
        self.played.alerts[alert.rule] += "opened" in happened
        worse = severity is not None and any(RANK[one.severity] > RANK[severity] for one in batch.loud.values())
        labels = [route.labels_of(signal, alert.group) for signal in batch.loud.values()]
        news = bool(batch.over) or not batch.fresh.isdisjoint(batch.loud)
        self._speak(batch.key, alert, self._channels(labels), news, worse, now)

    def _channels(self, labels: list[dict[str, str]]) -> list[str]:
        if not self.routing.routes:
            return [ANYBODY] if labels else []
        return route.channels_for_any(self.routing, labels)

    def _speak(
        self, key: str, alert: _Alert, routed: list[str], worth_telling: bool, worse: bool, now: datetime
    ) -> None:
        verdict = limit.speak(
            alert.state,
            alert.told,
            routed=routed,
            worth_telling=worth_telling,
            worse=worse,
            acknowledged=False,
            next_update_at=alert.next_update_at,
            interval=self.interval,
            now=now,
        )
        alert.next_update_at = verdict.next_update_at
        if verdict.next_update_at is not None:
            heappush(self.waiting, (verdict.next_update_at, key))
        for channel, event in verdict.events.items():
            alert.told[channel] = Told(event, now)
            self.played.messages.append(Message(now, channel, alert.rule, event))

    def _speak_due(self, now: datetime) -> None:
        """The updates that had to wait for their interval."""
        while self.waiting and self.waiting[0][0] < now:
            at, key = heappop(self.waiting)
            alert = self.alerts[key]
            if alert.next_update_at == at:
                self._speak(key, alert, [], False, False, at)


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
