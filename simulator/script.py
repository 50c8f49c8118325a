"""What goes wrong, and when: three incidents around the moment at which live traffic begins. Pure.

Nothing here makes an alert. The events that would have stopped the clocks are late or missing, as they would be; clocks
that began long before fall due in the first minutes of live traffic, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from simulator.world import GLS, HOUR, MARKETPLACE, MINUTE, NORTH, Channel, Warehouse

ACKNOWLEDGE: Final = 2 * HOUR
"""The lengths of the SLA policies that the incidents break; a test holds them to the catalog."""
CONFIRM: Final = 4 * HOUR
SCAN: Final = 24 * HOUR
LEAVE: Final = 8 * HOUR
ARRIVE: Final = 120 * HOUR

_CALM_BEFORE: Final = 10 * MINUTE
_CALM_AFTER: Final = 20 * MINUTE
_CALM: Final = 0.9


@dataclass(frozen=True, slots=True)
class Span:
    """From `begins` (inclusive) to `ends` (exclusive), in seconds since 1970."""

    begins: float
    ends: float

    def __contains__(self, at: float) -> bool:
        return self.begins <= at < self.ends

    def after(self, at: float, length: float) -> float:
        """When what should have happened at `at` happens instead: in the same order, within `length` of the end."""
        return self.ends + (at - self.begins) / (self.ends - self.begins) * length


@dataclass(frozen=True, slots=True)
class Script:
    """The incidents. `now` is when history ends and live traffic begins."""

    now: float
    mute: Span
    """The northern warehouse acknowledges nothing."""
    dark: Span
    """No event of GLS arrives."""
    refusing: Span
    """Odoo rejects what the marketplace sends."""

    def released(self, warehouse: Warehouse, at: float) -> float:
        """When a picking is acknowledged that would be at `at`."""
        return self.mute.after(at, 2 * MINUTE) if warehouse is NORTH and at in self.mute else at

    def refuses(self, channel: Channel, at: float) -> bool:
        return channel is MARKETPLACE and at in self.refusing

    def taken(self, at: float) -> float:
        """When Odoo takes an order that it refused at `at`."""
        return self.refusing.after(at, 90)

    def refused_until(self, at: float) -> float:
        """When that is over which makes Odoo refuse what it gets at `at`."""
        return self.refusing.ends if at in self.refusing else at

    def at_desk(self, at: float) -> float:
        """When the order desk does what it would do at `at`."""
        return at

    def arrives(self, source: str, at: float) -> float:
        """When an event arrives that would at `at`."""
        return self.dark.after(at, MINUTE) if source == GLS.source and at in self.dark else at

    def late(self, at: float, delay: float) -> float:
        """When an event arrives that is late. None is in the first hours: one straggler would keep an alert open."""
        return at if self.now - _CALM_BEFORE < at + delay < self.now + 2 * HOUR else at + delay

    def calm(self, rng: Random, start: float, deadline: float, end: float) -> float:
        """The end of a stage. Few of those that are late by nature are so just now: the incidents are to be seen."""
        now_open = deadline < self.now + _CALM_AFTER and end > max(deadline, self.now - _CALM_BEFORE)
        if now_open and deadline > start and rng.random() < _CALM:
            return start + (deadline - start) * rng.uniform(0.3, 0.8)
        return end


@dataclass(frozen=True, slots=True)
class Act:
    """One incident for people: what happens, and when it is over (seconds since 1970)."""

    what: str
    over: float


def acts(played: Script) -> list[Act]:
    """The incidents, the first to end first."""
    return [
        Act("WMS North acknowledges no picking", played.mute.ends),
        Act("Odoo rejects the marketplace's orders", played.refusing.ends),
        Act("the feed of GLS is dark since yesterday", played.dark.ends),
    ]


def script(now: float) -> Script:
    """The demo's incidents for live traffic that begins at `now`."""
    return Script(
        now=now,
        mute=Span(now - ACKNOWLEDGE + 20, now + 8 * MINUTE),
        dark=Span(now - SCAN + 80, now + 14 * MINUTE),
        refusing=Span(now - CONFIRM + 30, now + 11 * MINUTE),
    )


def uneventful(now: float) -> Script:
    """No incident at all."""
    never = Span(now, now)
    return Script(now, never, never, never)
