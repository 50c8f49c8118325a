"""From a journey as it stands to its SLA clocks: what started, when each is due, what stopped it. Pure, never raises.

It runs for every journey that changes, so a deadline that was computed before is taken over instead of computed again.

- between: from milestone `start` to milestone `end`.
- dwell: from milestone `start` until any milestone of higher rank is reached; at the earliest of them. One that was
  reached before the start stops the clock at its start.
- by: from `start`, or else the start of the journey, to the date that an attribute tells.
- exception: from the opening of an exception of any member to its resolution; one clock for each.
- `per`: one clock for each member object of that type, on the events about that object alone.

While the journey's root is held (or what else the policy says pauses it), a clock stands still: it has no due time, and
afterwards the due time moves on by the business time that it stood still.

No clock stops before it started. A stop at the due time itself is in time. A cancelled journey stops its clocks when it
was cancelled, a cancelled object its own. A completed journey stops a clock whose milestone was passed over: one of
higher rank is reached, so nobody will report it any more; and those of exceptions that were open when it was completed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal
from zlib import crc32

from msgspec import Struct

from milepost.calendar import CalendarBoundsError
from milepost.exceptions import CANCELLED, Interval
from milepost.journeystate import JourneyChange, ObjectState, Pause, RunningClock, Scalar
from sla.pause import Troubles, moved
from sla.policy import FAULTS, Compiled, CompiledPolicy, UnreadableDate, Verdict, of_exception, select

Key = tuple[str, int, int]
"""A clock's identity within its journey: policy, subject object, occurrence."""
How = Literal["running", "reached", "cancelled", "completed"]
State = Literal["running", "met", "missed", "late_known", "stopped"]

_NOTHING: Final[Mapping[Key, RunningClock]] = {}
OCCURRENCE: Final = 0
"""Of a policy that happens once in a journey; a milestone that opens again lets the same clock run again."""


class Clock(Struct, gc=False):
    """One policy running on one object. Times in microseconds; `how` says what stopped it.

    While it stands still, `due_us` and `warn_us` are None. One that stopped has a due time.
    """

    policy: CompiledPolicy
    subject_id: int
    started_us: int
    started_received_us: int
    due_us: int | None
    warn_us: int | None
    stopped_us: int | None
    how: How
    pause: Pause | None = None
    occurrence: int = OCCURRENCE

    @property
    def key(self) -> Key:
        return (self.policy.name, self.subject_id, self.occurrence)

    @property
    def late(self) -> bool:
        """It stopped past due. Whether a running clock is late is not for evidence to say, but for the watermark."""
        return self.stopped_us is not None and self.due_us is not None and self.stopped_us > self.due_us

    @property
    def state(self) -> State:
        """What the evidence alone says."""
        if self.stopped_us is None:
            return "running"
        if self.due_us is not None and self.stopped_us > self.due_us:
            return "late_known" if self.due_us <= self.started_received_us else "missed"
        return "met" if self.how == "reached" else "stopped"


class Evaluation(Struct):
    """The clocks of a journey, and why others don't run."""

    clocks: list[Clock]
    verdicts: list[Verdict]


class _Case(Struct, gc=False):
    """A journey that is judged. `troubles` is None when nothing ever went wrong with any of its objects."""

    compiled: Compiled
    change: JourneyChange
    known: Mapping[Key, RunningClock]
    troubles: Troubles | None
    clocks: list[Clock]
    verdicts: list[Verdict]


def evaluate(compiled: Compiled, change: JourneyChange, known: Mapping[Key, RunningClock] = _NOTHING) -> Evaluation:
    """The clocks of a journey as it stands. `known` are its clocks as they were, to take deadlines from.

    An absorbed journey has none. A policy that fails is disabled, and its verdict says so.
    """
    case = _Case(compiled, change, known, None, [], [])
    if change.state == "absorbed":
        return Evaluation(case.clocks, case.verdicts)
    for state in change.states.values():
        if state.trouble:
            case.troubles = Troubles(change, compiled.rules, compiled.lesser.get(change.model, ()))
            break
    for family in compiled.families.get(change.model, ()):
        if not family:
            continue
        if family[0].per is None:
            _judge(case, family, None)
            continue
        for object_id, kind in change.types.items():
            if kind == family[0].per and object_id in change.states:
                _judge(case, family, object_id)
    if case.troubles is not None and change.model in compiled.exceptions:
        _judge_exceptions(case, case.troubles)
    return Evaluation(case.clocks, case.verdicts)


def _judge_exceptions(case: _Case, troubles: Troubles) -> None:
    for family in case.compiled.exceptions[case.change.model]:
        for object_id in case.change.states:
            if family and family[0].per in (None, case.change.types.get(object_id)):
                for exception in troubles.of(object_id):
                    _judge(case, family, object_id, exception)


def _judge(
    case: _Case, family: Sequence[CompiledPolicy], object_id: int | None, exception: Interval | None = None
) -> None:
    """The clock of a family on the journey, on one of its objects, or on an exception of one."""
    change = case.change
    first = family[0]
    policy: CompiledPolicy | None = first
    attributes: Mapping[str, Scalar]
    try:
        if exception is not None and object_id is not None:
            attributes = {**change.attributes, **change.states[object_id].values(), **of_exception(exception)}
            policy = select(family, attributes)
            clock = policy and _of_exception(case, policy, object_id, attributes, exception)
        elif object_id is not None:
            attributes = change.attributes
            if first.reads_attributes:  # if the first doesn't, it is the one that runs
                attributes = {**attributes, **change.states[object_id].values()}
            policy = first if first.unconditional else select(family, attributes)
            clock = policy and _of_object(case, policy, object_id, attributes)
        else:
            policy = first if first.unconditional else select(family, change.attributes)
            clock = policy and _of_journey(case, policy)
        if clock:
            case.clocks.append(clock)
    except UnreadableDate as error:
        case.verdicts.append(_verdict(policy, "unreadable date", error))
    except CalendarBoundsError as error:
        case.verdicts.append(_verdict(policy, "outside the calendar", error))
    except FAULTS as error:
        case.verdicts.append(case.compiled.disable(policy or first, error))


def _verdict(
    policy: CompiledPolicy | None, reason: Literal["unreadable date", "outside the calendar"], error: Exception
) -> Verdict:
    assert policy is not None
    return Verdict(policy.name, reason, str(error))


def _of_journey(case: _Case, policy: CompiledPolicy) -> Clock | None:
    change = case.change
    milestones = change.milestones
    if policy.start is None:
        started, received = change.started_us, _first_received(change)
    else:
        begun = milestones.get(policy.start)
        if begun is None:
            return None
        started, received = begun.reached_us, begun.received_us
    stop: int | None
    if policy.end is not None:
        ended = milestones.get(policy.end)
        stop = None if ended is None else ended.reached_us
    else:
        after = policy.after_start
        stop = min([item.reached_us for item in milestones.values() if item.name in after], default=None)
    cancelled = change.ended_us if change.state == "cancelled" else None
    return _timed(case, policy, change.root_id, change.attributes, (started, received, stop, cancelled))


def _of_object(case: _Case, policy: CompiledPolicy, object_id: int, attributes: Mapping[str, Scalar]) -> Clock | None:
    change = case.change
    state = change.states[object_id]
    if policy.start is None:
        if not state.events:
            return None
        started, received = state.first_us, state.first_received_us
    else:
        begun = _first_told(state, policy.start_events)
        if begun is None:
            return None
        started, received = begun
    ended = _first_told(state, policy.end_events if policy.end is not None else policy.higher_events)
    stop = None if ended is None else ended[0]
    return _timed(case, policy, object_id, attributes, (started, received, stop, _cancelled(policy, change, state)))


def _of_exception(
    case: _Case, policy: CompiledPolicy, object_id: int, attributes: Mapping[str, Scalar], exception: Interval
) -> Clock | None:
    change, first = case.change, exception.first
    ends = [change.ended_us] if change.state == "cancelled" and change.ended_us is not None else []
    stop = exception.resolved_us
    if stop is not None and exception.resolved_by is not None and exception.resolved_by.endswith(CANCELLED):
        ends.append(stop)
        stop = None
    times = (first.at_us, first.received_us, stop, min(ends, default=None))
    return _timed(case, policy, object_id, attributes, times, exception)


def occurrence_of(exception: Interval) -> int:
    """A number that stays the same whatever else comes to be known: it is made of the event that opened it."""
    first = exception.first
    return crc32(f"{exception.type}\x1f{first.source}\x1f{first.id}".encode()) & 0x7FFFFFFF


def _first_told(state: ObjectState, types: Iterable[str]) -> tuple[int, int] | None:
    """When an event of one of these types happened first, and was received."""
    first: tuple[int, int] | None = None
    reached = state.reached
    for name in types:
        if name in reached:
            one = (reached[name].first_us, reached[name].first_received_us)
            if first is None or one < first:
                first = one
    return first


def _cancelled(policy: CompiledPolicy, change: JourneyChange, state: ObjectState) -> int | None:
    """When the object or its journey was cancelled, whichever came first."""
    own = state.reached.get(policy.cancel_event)
    times = [own.first_us] if own is not None else []
    if change.state == "cancelled" and change.ended_us is not None:
        times.append(change.ended_us)
    return min(times, default=None)


def _timed(
    case: _Case,
    policy: CompiledPolicy,
    subject_id: int,
    attributes: Mapping[str, Scalar],
    times: tuple[int, int, int | None, int | None],
    exception: Interval | None = None,
) -> Clock | None:
    """The clock, once it is known when it started, was received, reached its end and was cancelled."""
    change = case.change
    started, received, stop, cancelled = times
    occurrence = OCCURRENCE if exception is None else occurrence_of(exception)
    before = case.known.get((policy.name, subject_id, occurrence))
    if before is not None and (
        before.started_us != started or before.policy_version != policy.kept_version or before.pause is not None
    ):
        before = None
    due: int | None
    if policy.date:
        value = attributes.get(policy.date)
        if value is None or value == "":
            return None
        due = policy.promised(value)
        same = before is not None and before.due_us == due
        warn = before.warn_us if before is not None and same else policy.warning_before(started, due)
    elif before is not None:
        due, warn = before.due_us, before.warn_us
    else:
        due, warn = policy.deadline(started)
    how: How = "running" if stop is None else "reached"
    if cancelled is not None and (stop is None or cancelled < stop):
        stop, how = cancelled, "cancelled"
    elif stop is None and change.state == "completed" and _passed_over(policy, change, started):
        stop, how = change.progress_us if change.ended_us is None else change.ended_us, "completed"
    if stop is not None and stop < started:
        stop = started
    pause = None
    if case.troubles is not None and policy.may_pause and due is not None:
        halts = case.troubles.halts(policy, subject_id, exception)
        if halts:
            due, warn, pause = moved(policy, (started, stop), due, warn, halts)
    return Clock(policy, subject_id, started, received, due, warn, stop, how, pause, occurrence)


def _passed_over(policy: CompiledPolicy, change: JourneyChange, started: int) -> bool:
    """Whether nobody will report the end of a clock, now that the journey is complete."""
    if policy.kind == "exception":
        return change.ended_us is not None and started <= change.ended_us
    return not policy.after_end.isdisjoint(change.milestones)


def _first_received(change: JourneyChange) -> int:
    """When the journey was first heard of."""
    told = [state.first_received_us for state in change.states.values() if state.events]
    told = told or [item.received_us for item in change.milestones.values()]
    return min(told, default=change.started_us)
