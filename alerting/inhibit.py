"""A feed that is dark explains what is stuck for want of its events: one alert instead of hundreds. Pure.

A breach that waits for a milestone names the source that tells it (the label `awaits`). While that source is silent by
a policy, the breach is told by nobody but the alert of the silence, which lists what it explains. Once the source has
been quiet for longer than usual, a breach waits for that verdict, if it comes within PATIENCE. When the source speaks
again, what it had to tell may still be on its way; what is stuck after GRACE all the same is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from alerting import text
from alerting.group import Batch
from alerting.hiding import Candidate, Kept, Place

FLOW: Final = "flow:"
"""How the items of policies that judge a flow begin."""
AWAITS: Final = "awaits"
"""The label of a breach: the source that is to tell what it waits for."""
PATIENCE: Final = timedelta(minutes=15)
"""So long a breach waits for the verdict whether its source is silent, counted from when it was raised."""
GRACE: Final = timedelta(minutes=5)
"""So long after a source speaks again what it explained is not told."""
LOOK: Final = timedelta(seconds=30)
"""How often what waits is looked at again. A verdict looks at once."""
LOOK_DARK: Final = timedelta(minutes=10)
"""The same for what a silence explains: the end of the silence looks at once."""
NAMED: Final = 5
"""Keys that are named in words."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence that a policy has found, of a source or of a part of it (`labels`, such as its warehouse). `ended_at`:
    the source speaks again since."""

    source: str
    labels: Mapping[str, str]
    alert_id: int
    since: datetime
    opened_at: datetime
    ended_at: datetime | None = None

    def explains(self, candidate: Candidate) -> bool:
        others = {name: value for name, value in self.labels.items() if name != "source"}
        return all(candidate.labels.get(name) == value for name, value in others.items())


@dataclass(frozen=True, slots=True)
class Feed:
    """How a source stands: its silences, open or just over; when it was heard, and its usual gap at this hour.
    `verdict_at`: when a policy calls it silent, if it stays quiet; None: none ever does."""

    silences: Sequence[Silence] = ()
    heard_at: datetime | None = None
    usual: timedelta | None = None
    verdict_at: datetime | None = None


def awaited(candidate: Candidate) -> str | None:
    """The source that a candidate waits for; None for what no feed explains."""
    return candidate.labels.get(AWAITS) if candidate.signal.kind == "sla" else None


def turned(cases: Iterable[tuple[int, Batch | None]]) -> tuple[set[str], set[int]]:
    """The sources that were found silent in a step, and the alerts whose silences ended: what waits for them is to be
    looked at now. `cases`: alerts with what was done to them."""
    sources: set[str] = set()
    over: set[int] = set()
    for alert_id, batch in cases:
        if batch is None:
            continue
        found = [item.signal.labels for name, item in batch.raised.items() if name.startswith(FLOW)]
        sources |= {labels["source"] for labels in found if "source" in labels}
        if any(name.startswith(FLOW) for name in batch.ended):
            over.add(alert_id)
    return sources, over


def keep(feeds: Mapping[str, Feed], candidates: Sequence[Candidate], now: datetime) -> dict[Place, Kept]:
    """What is explained, or waits for the verdict."""
    kept: dict[Place, Kept] = {}
    for candidate in candidates:
        source = awaited(candidate)
        why = _why(source, feeds[source], candidate, now) if source is not None and source in feeds else None
        if why is not None:
            kept[candidate.place] = why
    return kept


def _why(source: str, feed: Feed, candidate: Candidate, now: datetime) -> Kept | None:
    explaining = [one for one in feed.silences if one.explains(candidate)]
    for one in explaining:
        if one.ended_at is None:
            look_at = now + (LOOK if now - one.opened_at < 2 * LOOK else LOOK_DARK)  # is it told at all?
            return Kept(source, f"{source} is silent: alert {one.alert_id} tells it", one.alert_id, None, look_at, True)
    for one in explaining:
        if one.ended_at is not None and now < one.ended_at + GRACE:
            reason = f"{source} speaks again since {text.when(one.ended_at)}: what it had to tell may be on its way"
            return Kept(source, reason, one.alert_id, one.ended_at + GRACE)
    until = candidate.raised_at + PATIENCE
    if feed.heard_at is None or feed.usual is None or now - feed.heard_at <= feed.usual:
        return None
    if now >= until or feed.verdict_at is None or feed.verdict_at > until:
        return None
    quiet = f"{text.length(now - feed.heard_at)}, usually {text.length(feed.usual)} at most"
    return Kept(
        source, f"waits for whether {source} is silent (quiet for {quiet})", None, until, min(until, now + LOOK)
    )


@dataclass(frozen=True, slots=True)
class Explained:
    """What a silence explains: how many items, of them those that are told by no alert of their own, the keys of the
    oldest, and the money (a journey's once)."""

    items: int
    hidden: int
    keys: Sequence[str]
    money: Mapping[str, Decimal]


def words(held: Explained, *, over: bool) -> str:
    """ "Explains 300 stuck, 12,300.50 EUR: S1, S2, S3, S4, S5 and 295 more; told by no alert of their own." """
    money = f", {text.money(held.money)}" if held.money else ""
    rest = held.items - len(held.keys)
    named = f": {', '.join(held.keys)}" + (f" and {rest} more" if rest > 0 else "") if held.keys else ""
    lead = "Explained" if over else "Explains"
    return f"{lead} {held.items} stuck{money}{named}{_told(held, over)}."


def _told(held: Explained, over: bool) -> str:
    if not held.hidden:
        return ""
    if over:
        return "; what is still stuck is told soon"
    many = "" if held.hidden == held.items else f"{held.hidden} "
    return f"; {many}told by no alert of their own"
