"""What keeps something from being told: the protocol of the stages between lifecycle and route. Pure.

A stage is asked about everything that would be told now, and answers what it keeps back and why. It is asked again
about what it (or another stage) keeps: when `look_at` or `until` has come, when a threshold may have been reached, and
when a silence was ended. What no stage keeps any longer is told as if it were new, if it is still wrong. So a stage
holds no state of its own: it says of each candidate, every time, whether it keeps it *now*.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from alerting.signal import Signal

if TYPE_CHECKING:
    import sqlalchemy as sa

StageName = Literal["record_only", "threshold", "inhibit", "silence", "hours"]
Place = tuple[int, str]
"""(alert id, item)"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that is wrong, and that people would be told of now.

    `labels` are what routes and silences match on. `raised_at`: when Milepost was told of it. `held`: the stage that
    kept it so far, None for what was not hidden. The signal of what was hidden and is not raised anew is put together
    from the record: its title is not in it.
    """

    alert_id: int
    key: str
    signal: Signal
    labels: Mapping[str, str]
    raised_at: datetime
    held: StageName | None = None

    @property
    def place(self) -> Place:
        return self.alert_id, self.signal.item


@dataclass(frozen=True, slots=True)
class Kept:
    """Why something is not told. `by`: the name of what keeps it, `by_id` its number if it has one.

    `until`: when it comes out at the latest, as far as is known; people see it. `look_at`: when the stages are asked
    again; without it at `until`, and without both only when something else happens to the alert.
    """

    by: str
    reason: str
    by_id: int | None = None
    until: datetime | None = None
    look_at: datetime | None = None
    explained: bool = False
    """By the alert `by_id`, which tells it."""


Keep = Callable[["sa.Connection", Sequence[Candidate], datetime], Mapping[Place, Kept]]
Quiet = Callable[["sa.Connection", Collection[int], datetime], Mapping[int, datetime]]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: its name as it is recorded, and what it keeps of candidates. `keep` only reads.

    `quiet`, where it has one, says of alerts that people know already until when nothing but an acknowledgement and
    the end is told of them, neither updates nor escalations; of those that it doesn't name everything is.
    """

    name: StageName
    keep: Keep
    quiet: Quiet | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the stages say: what each keeps, and what is to be told."""

    kept: Mapping[Place, tuple[StageName, Kept]]
    loud: Sequence[Candidate]


def judge(
    connection: sa.Connection, stages: Sequence[Stage], candidates: Sequence[Candidate], now: datetime
) -> Verdict:
    """Ask the stages in their order; each sees what those before it have let pass."""
    kept: dict[Place, tuple[StageName, Kept]] = {}
    loud = candidates
    for stage in stages:
        if not loud:
            break
        found = stage.keep(connection, loud, now)
        kept |= {place: (stage.name, why) for place, why in found.items()}
        loud = [candidate for candidate in loud if candidate.place not in found]
    return Verdict(kept, loud)


def quiet(
    connection: sa.Connection, stages: Sequence[Stage], alert_ids: Collection[int], now: datetime
) -> Mapping[int, datetime]:
    """The alerts of which nothing is told until then."""
    found = [stage.quiet(connection, alert_ids, now) for stage in stages if stage.quiet is not None and alert_ids]
    return {alert_id: max(one[alert_id] for one in found if alert_id in one) for each in found for alert_id in each}
