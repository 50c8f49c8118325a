"""What an alert says now, and to which channel: how often people hear of it. Pure.

The first breach is told at once, and so is the end. In between an alert speaks at most once every group interval, and,
once somebody has acknowledged it, only when it gets more severe. An alert that fires again soon after its end was
told waits for its interval too: one that flaps tells each channel at most one pair of messages an interval.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from alerting.lifecycle import State

Event = Literal["opened", "reopened", "updated", "escalated", "acknowledged", "resolved", "digest"]
"""What a message tells. escalated: nobody has acknowledged it for so long, and whoever heard of it hears again, as
loud as of an opening. digest: of no single alert."""
OVER: Final = "resolved"


@dataclass(frozen=True, slots=True)
class Told:
    """What a channel has heard of an alert: the last event, and when it was written."""

    event: Event
    at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said now, by channel; `next_update_at`: there is more to say, at that time."""

    events: Mapping[str, Event]
    next_update_at: datetime | None


def speak(
    state: State,
    told: Mapping[str, Told],
    *,
    routed: Collection[str],
    worth_telling: bool,
    worse: bool,
    acknowledged: bool,
    next_update_at: datetime | None,
    interval: timedelta,
    now: datetime,
) -> Verdict:
    """Decide. `routed`: where the new trouble is to go; `worse`: the severity rose; `acknowledged`: just now."""
    if state == "resolved":
        return Verdict({name: "resolved" for name, last in told.items() if last.event != OVER}, None)
    if acknowledged:
        return Verdict({name: "acknowledged" for name, last in told.items() if last.event != OVER}, None)
    events: dict[str, Event] = {name: "opened" for name in routed if name not in told}
    news = worse or (worth_telling and state == "firing")
    due = _due(told, next_update_at, news, interval, now)
    if due is None or due > now:
        return Verdict(events, due)
    again: dict[str, Event] = {name: "reopened" if last.event == OVER else "updated" for name, last in told.items()}
    return Verdict({**events, **again}, None)


def _due(
    told: Mapping[str, Told], scheduled: datetime | None, news: bool, interval: timedelta, now: datetime
) -> datetime | None:
    if not told:
        return None
    if scheduled is not None or not news:
        return scheduled
    return max(now, max(last.at for last in told.values()) + interval)
