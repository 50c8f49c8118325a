"""What silences and maintenance windows keep from being told. Pure.

Both are a `Cover` while they last: matchers, a name and an end. Whatever is raised while a cover matches it is kept
until the last cover that matches it ends. The reminder that a silence ends is never kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from alerting.hiding import Candidate, Kept, Place
from milepost.catalog import matcher
from milepost.catalog.matcher import Matcher

REMINDER: Final = "silence-ends"
"""The rule of the reminders."""
State = Literal["upcoming", "active", "expired", "ended"]


@dataclass(frozen=True, slots=True)
class Silence:
    """A row of input.silences."""

    silence_id: int
    matchers: tuple[Matcher, ...]
    reason: str
    created_at: datetime
    created_by: str
    starts_at: datetime
    ends_at: datetime
    ended_at: datetime | None = None
    ended_by: str | None = None
    owner: str | None = None
    reminded_at: datetime | None = None

    def state(self, now: datetime) -> State:
        """ended: by somebody, before its time."""
        if self.ended_at is not None:
            return "ended"
        if now < self.starts_at:
            return "upcoming"
        return "active" if now < self.ends_at else "expired"

    @property
    def over_at(self) -> datetime:
        """When it is over, or was."""
        return self.ended_at or self.ends_at

    def cover(self) -> Cover:
        reason = f"silenced by {self.created_by}: {self.reason}"
        return Cover(f"silence {self.silence_id}", reason, self.matchers, self.ends_at, self.silence_id)


@dataclass(frozen=True, slots=True)
class Cover:
    """Something that keeps what matches from being told, until `until`. `look_at`: its end may change before."""

    name: str
    reason: str
    matchers: tuple[Matcher, ...]
    until: datetime
    silence_id: int | None = None
    look_at: datetime | None = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        return matcher.match(self.matchers, labels)

    def kept(self) -> Kept:
        return Kept(self.name, self.reason, self.silence_id, self.until, self.look_at)


def covering(covers: Iterable[Cover], labels: Mapping[str, str]) -> Cover | None:
    """Of the covers that match, the one that lasts longest; of several the first by name."""
    if labels.get("rule") == REMINDER and labels.get("kind") == "platform":
        return None
    found = [cover for cover in covers if cover.matches(labels)]
    return min(found, key=lambda cover: (-cover.until.timestamp(), cover.name), default=None)


def keep(covers: Sequence[Cover], candidates: Sequence[Candidate]) -> dict[Place, Kept]:
    """What the covers keep of the candidates."""
    found = ((one.place, covering(covers, one.labels)) for one in candidates) if covers else ()
    return {place: cover.kept() for place, cover in found if cover is not None}


def quiet_until(covers: Sequence[Cover], open_labels: Iterable[Mapping[str, str]]) -> datetime | None:
    """Until when nothing is to be told of an alert whose open items have these labels: all of them are covered so long.

    None: one of them isn't, or nothing is open.
    """
    found = [covering(covers, labels) for labels in open_labels]
    ends = [cover.until for cover in found if cover is not None]
    return min(ends) if ends and len(ends) == len(found) else None
