"""One message about all that is open: when it is due, and what it says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Final

from alerting import text
from alerting.lifecycle import RANK, Alert
from alerting.message import ITEMS_SHOWN, ItemView
from milepost.calendar import DAYS, Calendar
from milepost.catalog.oncall import Digest
from milepost.catalog.words import and_more
from milepost.walltime import EPOCH, first_at

LONGEST: Final = 400
"""Days that are looked back for the last time that a digest was due."""
GROUPS: Final = 5
NAMED: Final = 3
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is to tell, of the alerts that the digest is about.

    `open`: the most severe first, then the oldest. `money`: at risk, each journey once. `groups`: the same by what
    alerts are grouped by, {"warehouse north": {"EUR": …}}. `silenced`: alerts with something that a silence keeps.
    """

    since: datetime
    open: Sequence[Alert] = ()
    ended: Sequence[Alert] = ()
    money: Mapping[str, Decimal] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    silenced: Sequence[str] = ()

    @property
    def new(self) -> Sequence[Alert]:
        return [alert for alert in self.open if alert.opened_at > self.since]

    @property
    def empty(self) -> bool:
        return not self.open and not self.ended


def due(digest: Digest, calendar: Calendar, now: datetime) -> datetime | None:
    """When it was due last; None where the calendar has not opened for a year."""
    today = now.astimezone(calendar.zone).date()
    for back in range(-1, LONGEST):
        day = datetime.combine(today - back * _DAY, time())
        at = _instant(datetime.combine(day, time.fromisoformat(digest.at)), calendar)
        if at <= now and _is_day(digest, calendar, day):
            return at
    return None


def _is_day(digest: Digest, calendar: Calendar, day: datetime) -> bool:
    if digest.every == "week":
        return DAYS[day.weekday()] == digest.on
    return calendar.between(_instant(day, calendar), _instant(day + _DAY, calendar)) > timedelta()


def _instant(wall: datetime, calendar: Calendar) -> datetime:
    return EPOCH + timedelta(microseconds=first_at(wall, calendar.zone))


def matches(digest: Digest, alert: Alert) -> bool:
    """Whether the alert is one that the digest is about."""
    labels = {**alert.labels, **({"owner": alert.owner} if alert.owner else {})}
    return all(labels.get(name) in values for name, values in digest.match.items())


def in_order(alerts: Sequence[Alert]) -> list[Alert]:
    """The most severe first, then the oldest."""
    return sorted(alerts, key=lambda alert: (-RANK[alert.severity], alert.oldest_at or alert.opened_at, alert.alert_id))


# --- its words --------------------------------------------------------------------------------------------------------


def headline(title: str, standing: Standing) -> str:
    """One line for a subject or a chat."""
    return f"{title}: {', '.join(_counts(standing))}"


def summary(standing: Standing) -> str:
    """What is open, what it is worth, what came and went since the last one: a line each."""
    parts = [f"{_sentence(', '.join(_counts(standing)))} since {text.when(standing.since)}."]
    if standing.money:
        parts.append(f"At risk: {text.money(standing.money)}.")
    if len(standing.groups) > 1:
        parts.append(f"Most in {'; '.join(_groups(standing.groups))}.")
    if oldest := min(standing.open, key=_age, default=None):
        parts.append(f"Oldest since {text.when(_age(oldest))}: {oldest.title}.")
    if standing.silenced:
        parts.append(f"Silenced: {and_more(standing.silenced, NAMED, '; ')}.")
    if standing.ended:
        parts.append(f"Resolved: {and_more([alert.title for alert in standing.ended], NAMED, '; ')}.")
    return "\n".join(parts)


def items(standing: Standing) -> list[ItemView]:
    """A line for each open alert."""
    return [_item(alert, new=alert.opened_at > standing.since) for alert in standing.open[:ITEMS_SHOWN]]


def _item(alert: Alert, *, new: bool) -> ItemView:
    mark = "new, " if new else "acknowledged, " if alert.state == "acknowledged" else ""
    return ItemView(
        item=f"alert:{alert.alert_id}",
        summary=f"[{mark}{alert.severity}] {alert.title}: {alert.summary}",
        since=_age(alert),
        cleared_why=None,
        labels={},
        amount=None,
        currency=None,
    )


def _age(alert: Alert) -> datetime:
    return alert.oldest_at or alert.opened_at


def _counts(standing: Standing) -> list[str]:
    known = [f"{len(standing.open)} open", f"{len(standing.new)} new", f"{len(standing.ended)} resolved"]
    return known if not standing.empty else ["nothing open, nothing new"]


def _groups(groups: Mapping[str, Mapping[str, Decimal]]) -> list[str]:
    ordered = sorted(groups.items(), key=lambda pair: (-max(pair[1].values()), pair[0]))
    return [f"{name} {text.money(money)}" for name, money in ordered[:GROUPS]]


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
