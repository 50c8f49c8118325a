"""What changes between a journey's clocks as they were written and as the evidence now has them. Pure.

The hook never breaches a clock because time has passed: that is for the check at the watermark. It opens a breach only
where one was open already and its clock moved (its due time, or the journey that took it over).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from milepost.journeystate import JourneyChange, JourneyClocks, RunningClock
from sla.evaluate import OCCURRENCE, Clock, Key
from sla.policy import Compiled

End = Literal["late", "retracted", "cancelled", "completed", "absorbed", "withdrawn"]

_LATE: Final[Mapping[str, End]] = {"reached": "late", "cancelled": "cancelled", "completed": "completed"}
_PAST: Final = ("missed", "late_known")
Former = tuple[JourneyChange, RunningClock]
"""A clock that was breached, with its journey."""


@dataclass(slots=True)
class Opening:
    """A breach to open. `notify` is None when the policy decides. `heir_of`: the breach that goes on in it, ended at
    once; whether people know of that decides whether they know of this."""

    change: JourneyChange
    clock: RunningClock
    notify: bool | None = None
    heir_of: Former | None = None


@dataclass(slots=True)
class Closing:
    """A breach to end, or to end otherwise than it did. With `record` it is written even if it was never open."""

    change: JourneyChange
    clock: RunningClock
    end: End
    stopped_us: int | None = None
    record: bool = False


@dataclass(slots=True)
class Transition:
    """What to write for one journey: `rows` are clocks that became or changed a row, `gone` lost theirs."""

    change: JourneyChange
    running: list[RunningClock] = field(default_factory=list)
    ended: list[RunningClock] = field(default_factory=list)
    rows: list[tuple[RunningClock, str]] = field(default_factory=list)
    gone: list[Key] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    moved: bool = False

    @property
    def next_us(self) -> int | None:
        return next_us(self.running)

    @property
    def empty(self) -> bool:
        return not self.running and not self.ended


def next_us(running: Iterable[RunningClock]) -> int | None:
    """The least due or warn time to come; None when none is."""
    least = None
    for clock in running:
        if clock.breached:
            continue
        at = clock.due_us
        if at is None:
            continue
        if not clock.warned and clock.warn_us is not None and clock.warn_us < at:
            at = clock.warn_us
        if least is None or at < least:
            least = at
    return least


def at_risk(running: Iterable[RunningClock]) -> bool:
    return any(clock.warned and not clock.breached for clock in running)


def breached(running: Iterable[RunningClock]) -> bool:
    return any(clock.breached for clock in running)


def key_of(clock: RunningClock) -> Key:
    return (clock.policy, clock.subject_id, clock.occurrence)


def open_state(clock: RunningClock) -> str:
    """The state of the row of a clock whose breach is open."""
    return "late_known" if clock.due_by(clock.started_received_us) else "breached"


def settle(
    change: JourneyChange,
    clocks: list[Clock],
    before: JourneyClocks | None,
    known: Mapping[Key, RunningClock],
    compiled: Compiled,
    now_us: int,
) -> Transition | None:
    """What to write for a journey; None when nothing is. `known` holds the clocks of `before` by key."""
    if before is None and not clocks:
        return None
    result = Transition(change)
    for clock in clocks:
        former = known.get(clock.key) if known else None
        if clock.stopped_us is None:
            _run(result, clock, former, now_us)
        else:
            _stop(result, clock, former, clock.stopped_us)
    if known:
        current = {clock.key for clock in clocks}
        gone = [former for key, former in known.items() if key not in current]
        for former in gone:
            _vanish(result, former, compiled)
            if former.breached and former.occurrence != OCCURRENCE:
                _carry_on(result, former, now_us)
    return result if result.moved else None


def _clock(clock: Clock, state: str) -> RunningClock:
    return RunningClock(
        clock.policy.name,
        clock.subject_id,
        clock.occurrence,
        clock.policy.version,
        clock.started_us,
        clock.started_received_us,
        clock.due_us,
        clock.warn_us,
        stopped_us=clock.stopped_us,
        state=state,
        pause=clock.pause,
    )


def _same(clock: Clock, former: RunningClock) -> bool:
    return clock.started_us == former.started_us and clock.due_us == former.due_us


def _goes_on(clock: Clock, former: RunningClock) -> bool:
    """Whether a clock runs just as it did. A new version of the policy may warn otherwise, and a pause too."""
    if clock.started_us != former.started_us or clock.due_us != former.due_us:
        return False
    return not former.warned or former.breached or clock.warn_us == former.warn_us


def _run(result: Transition, clock: Clock, former: RunningClock | None, now_us: int) -> None:
    """The clock runs."""
    if former is not None and former.stopped_us is None and _goes_on(clock, former):
        _keep_running(result, clock, former)
        return
    new = _clock(clock, "running")
    result.running.append(new)
    result.moved = True
    if former is None:
        return
    if former.stopped_us is not None:
        _reopen(result, new, former, now_us)
        return
    new.warned = former.warned and clock.warn_us is not None and clock.warn_us <= now_us
    if former.breached:
        if new.due_by(now_us):
            new.breached = True
            result.openings.append(Opening(result.change, new, notify=False, heir_of=(result.change, former)))
        _retract(result, former)
    _show(result, new, former)


def _reopen(result: Transition, new: RunningClock, former: RunningClock, now_us: int) -> None:
    """What had stopped runs again. If it had stopped late it is late still, and a person hears of it again."""
    if former.state in _PAST:
        if new.started_us == former.started_us and new.due_us == former.due_us and new.due_by(now_us):
            new.warned = new.breached = True
            result.openings.append(Opening(result.change, new))
            result.rows.append((new, open_state(new)))
            return
        _retract(result, former)
    result.gone.append(key_of(new))


def _keep_running(result: Transition, clock: Clock, former: RunningClock) -> None:
    if former.policy_version != clock.policy.version or former.pause != clock.pause or former.warn_us != clock.warn_us:
        former.policy_version = clock.policy.version
        former.warn_us = clock.warn_us
        former.pause = clock.pause
        result.moved = True
    if former.started_received_us != clock.started_received_us:
        former.started_received_us = clock.started_received_us
        result.moved = True
        if former.breached:
            result.rows.append((former, open_state(former)))
    result.running.append(former)


def _show(result: Transition, clock: RunningClock, former: RunningClock) -> None:
    """Make the row of a running clock that moved say what it is now."""
    if clock.breached:
        result.rows.append((clock, open_state(clock)))
    elif clock.warned:
        result.rows.append((clock, "warned"))
    elif former.warned or former.breached:
        result.gone.append(key_of(clock))


def _stop(result: Transition, clock: Clock, former: RunningClock | None, stopped_us: int) -> None:
    """The clock has stopped."""
    if former is not None and _settled(clock, former):
        result.ended.append(former)
        return
    same = former is not None and _same(clock, former)
    had = former is not None and former.breached
    state = "retracted" if had and clock.state == "met" else clock.state
    new = _clock(clock, state)
    new.breached = had or clock.late
    result.ended.append(new)
    result.rows.append((new, state))
    result.moved = True
    if former is not None and had and not (same and clock.late):
        _retract(result, former, stopped_us)
    if clock.late:
        result.closings.append(Closing(result.change, new, _LATE[clock.how], stopped_us, record=True))


def _settled(clock: Clock, former: RunningClock) -> bool:
    """Whether a clock had ended just so. One that ended keeps the version of the policy that judged it."""
    if former.stopped_us != clock.stopped_us or former.started_us != clock.started_us:
        return False
    if former.policy_version != clock.policy.version:
        return True
    return former.due_us == clock.due_us and former.started_received_us == clock.started_received_us


def _retract(result: Transition, former: RunningClock, stopped_us: int | None = None) -> None:
    """What was held against a clock was wrong, by what is known now."""
    if former.state != "retracted":
        result.closings.append(Closing(result.change, former, "retracted", stopped_us))


def _vanish(result: Transition, former: RunningClock, compiled: Compiled) -> None:
    """The clock is no more: the journey was absorbed, another policy applies, or it has not started after all."""
    if result.change.state == "absorbed":
        end: End = "absorbed"
        if former.stopped_us is None:
            former.stopped_us = result.change.ended_us
        result.rows.append((former, "absorbed"))
    elif former.stopped_us is not None and _judged_by_other(former, compiled):
        result.ended.append(former)
        return
    else:
        end = "withdrawn"
        if former.stopped_us is not None or former.warned or former.breached:
            result.gone.append(key_of(former))
    result.moved = True
    if former.breached and former.state != "retracted":
        result.closings.append(Closing(result.change, former, end))


def _carry_on(result: Transition, former: RunningClock, now_us: int) -> None:
    """An exception that began earlier than was known has another clock; its breach goes on without a word."""
    if former.stopped_us is not None:
        return
    for clock in result.running:
        same = (clock.policy, clock.subject_id) == (former.policy, former.subject_id)
        if same and clock.started_us <= former.started_us and not clock.breached and clock.due_by(now_us):
            _open_quietly(result, clock, (result.change, former))


def _open_quietly(moved: Transition, clock: RunningClock, heir_of: Former | None = None) -> None:
    """Its breach goes on with another, or is to be told to nobody."""
    clock.warned = clock.breached = True
    moved.openings.append(Opening(moved.change, clock, notify=False, heir_of=heir_of))
    moved.rows = [row for row in moved.rows if row[0] is not clock]
    moved.rows.append((clock, open_state(clock)))


def _judged_by_other(former: RunningClock, compiled: Compiled) -> bool:
    """Whether a version of the policy that is no longer active judged the clock: what has ended keeps its judgement."""
    policy = compiled.policies.get(former.policy)
    return policy is None or policy.version != former.policy_version


def hush(moved: Transition, known: Mapping[Key, RunningClock], now_us: int) -> None:
    """Let nobody be told of what a rebuild brings to light: breaches that it finds are opened here and now."""
    for clock in moved.running:
        if known.get(key_of(clock)) is not clock and not clock.breached and clock.due_by(now_us):
            _open_quietly(moved, clock)
            moved.gone = [key for key in moved.gone if key != key_of(clock)]
    for opening in moved.openings:
        opening.notify = False


def take_over(found: Iterable[Transition], now_us: int) -> None:
    """A breach open when its journey is absorbed goes on in the journey that contains it, and nobody is told anew."""
    moved = list(found)
    absorbed: Absorbed = {
        (closing.clock.policy, one.change.root_id, closing.clock.subject_id, closing.clock.occurrence): (
            one.change,
            closing.clock,
        )
        for one in moved
        for closing in one.closings
        if closing.end == "absorbed"
    }
    if not absorbed:
        return
    for heir in moved:
        for clock in heir.running:
            former = None if clock.breached or not clock.due_by(now_us) else _former(heir.change, clock, absorbed)
            if former is not None:
                _open_quietly(heir, clock, former)


Absorbed = Mapping[tuple[str, int, int, int], Former]
"""By policy, root, subject and occurrence."""


def _former(change: JourneyChange, clock: RunningClock, absorbed: Absorbed) -> Former | None:
    """The breached clock of a journey that this one absorbed, with which its clock goes on.

    A clock on the whole journey goes on with one on the whole other journey, any other with one on the same object.
    """
    of_journey = clock.subject_id == change.root_id
    for member in change.members:
        root = member.object_id
        former = absorbed.get((clock.policy, root, clock.subject_id, clock.occurrence))
        if former is None and of_journey:
            former = absorbed.get((clock.policy, root, root, clock.occurrence))
        if former is not None:
            return former
    return None
