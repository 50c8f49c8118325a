"""From a journey's clocks to what would have been found of them, and when. Pure.

A clock is judged on the evidence as it was known: one whose end happened in time, but was received after it was due,
would have been called late and taken back. What stopped it is the evidence of that moment, so that kinds of policies
need not be known here. What changed meanwhile and left no trace (an attribute's former values, a milestone that was
open again) counts as it stands today.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from milepost.catalog.schema import Catalog, Severity
from milepost.journeystate import JourneyChange, ObjectState, RunningClock
from sla import breach
from sla.evaluate import Clock
from sla.policy import CompiledPolicy

End = Literal["open", "late", "retracted", "stopped"]
Outcome = Literal["met", "missed", "stopped", "running"]
BreachKey = tuple[int, str, int, int]
"""Journey, policy, subject, occurrence."""


Promise = tuple[str, str | None, str | None]
"""Kind, start and end of a policy: those that share them promise the same."""


def promise_of(policy: CompiledPolicy) -> Promise:
    return policy.kind, policy.start, policy.end


class Found(Struct, frozen=True):
    """A breach that would have been found. Times in microseconds.

    `opened_us`: when; None where it was over before Milepost heard of it. `cleared_us`: when the end of one that was
    open was heard of. `notify`: whether people would have been told. `stopped_us` is when the end happened.
    """

    journey_id: int
    model: str
    key: str
    policy: str
    version: str
    subject_id: int
    occurrence: int
    subject: str
    started_us: int
    due_us: int
    stopped_us: int | None
    end: End
    late_known: bool
    opened_us: int | None
    cleared_us: int | None
    notify: bool
    severity: Severity
    group: Mapping[str, str]
    dimensions: Mapping[str, str]
    amount: Decimal | None
    currency: str | None
    why: str
    promise: Promise = ("", None, None)

    @property
    def identity(self) -> BreachKey:
        return (self.journey_id, self.policy, self.subject_id, self.occurrence)


class Span(Struct, frozen=True):
    """Which clocks count: those due from `since_us` on and before `until_us`, when they are judged.

    `as_it_happened`: as if everything had been received when it happened; for history that was imported.
    """

    since_us: int
    until_us: int
    as_it_happened: bool = False


def outcome(clock: Clock, judged_us: int) -> Outcome:
    """What became of a clock, as attainment counts it; `running` does not count."""
    if clock.stopped_us is None:
        return "missed" if clock.due_us is not None and clock.due_us <= judged_us else "running"
    if clock.late:
        return "missed"
    return "met" if clock.how == "reached" else "stopped"


def breach_of(
    clock: Clock, change: JourneyChange, catalog: Catalog, names: Mapping[int, str], span: Span
) -> Found | None:
    """The breach of a clock; None for one that was kept, and known to be kept when it was due.

    What was kept and heard of past its time, in pieces, is none either: an import would have called nobody.
    """
    stopped, due = clock.stopped_us, clock.due_us
    if due is None:
        return None  # it stands still
    known, heard = _known(clock, change, span)
    opened = max(due, known)
    if opened < span.until_us and (heard is None or heard > opened):
        one = _found(clock, (due, known), change, catalog, names, (opened, heard), span)
        return one if clock.late or stopped is None or one.notify or due > known else None
    return _found(clock, (due, known), change, catalog, names, (None, None), span) if clock.late else None


def _known(clock: Clock, change: JourneyChange, span: Span) -> tuple[int, int | None]:
    """When the clock was heard of, and its end."""
    stopped = clock.stopped_us
    if span.as_it_happened:
        return clock.started_us, stopped
    known = max(clock.started_received_us, _dated(clock, change))
    return known, None if stopped is None else _heard(clock, change, stopped)


def _dated(clock: Clock, change: JourneyChange) -> int:
    """When the date was heard of that a clock goes by: there was none before."""
    name = clock.policy.date
    for object_id in (clock.subject_id, change.root_id, *change.states) if name else ():
        state = change.states.get(object_id)
        for told in state.attributes if state is not None else ():
            if state is not None and name in told.values:
                return min(_received(state, told.at_us), default=0)
    return 0


def _heard(clock: Clock, change: JourneyChange, stopped_us: int) -> int:
    """When the evidence of the stop was received: what happened at that moment, of the subject if it is told of it."""
    own = change.states.get(clock.subject_id)
    told = list(_received(own, stopped_us)) if own is not None else []
    told = told or [item.received_us for item in change.milestones.values() if item.reached_us == stopped_us]
    told = told or [at for state in change.states.values() for at in _received(state, stopped_us)]
    return min(told, default=stopped_us)


def _received(state: ObjectState, at_us: int) -> Iterator[int]:
    for evidence in state.reached.values():
        if evidence.first_us == at_us:
            yield evidence.first_received_us


def _found(
    clock: Clock,
    times: tuple[int, int],
    change: JourneyChange,
    catalog: Catalog,
    names: Mapping[int, str],
    open_from_to: tuple[int | None, int | None],
    span: Span,
) -> Found:
    (due_us, known_us), (opened, heard) = times, open_from_to
    policy, subject, occurrence = clock.policy, clock.subject_id, clock.key[2]
    retracted = clock.stopped_us is not None and not clock.late
    told = RunningClock(
        policy.name, subject, occurrence, policy.version, clock.started_us, clock.started_received_us, due_us,
        clock.warn_us, stopped_us=None if retracted else clock.stopped_us, pause=clock.pause,
    )  # fmt: skip
    then = change if opened is None else _as_known(change, opened, span)
    dimensions = breach.dimensions(policy, catalog, told, then)
    return Found(
        journey_id=change.journey_id,
        model=change.model,
        key=change.key,
        policy=policy.name,
        version=policy.version,
        subject_id=subject,
        occurrence=occurrence,
        subject=names.get(subject, "") if policy.per is not None else "",
        started_us=clock.started_us,
        due_us=due_us,
        stopped_us=clock.stopped_us,
        end=_end(clock),
        late_known=due_us <= known_us,
        opened_us=opened,
        cleared_us=heard,
        notify=_notifies(policy, due_us, known_us, opened),
        severity=policy.spec.severity,
        group=breach.group(policy, dimensions),
        dimensions=dimensions,
        amount=change.amount,
        currency=change.currency,
        why=breach.why(policy, catalog, told, change, names),
        promise=promise_of(policy),
    )


def _end(clock: Clock) -> End:
    if clock.stopped_us is None:
        return "open"
    if not clock.late:
        return "retracted"
    return "late" if clock.how == "reached" else "stopped"


def _as_known(change: JourneyChange, at_us: int, span: Span) -> JourneyChange:
    """The journey without the steps of its objects that were heard of later."""
    states = {
        object_id: replace(
            state,
            reached={
                kind: one
                for kind, one in state.reached.items()
                if (one.first_us if span.as_it_happened else one.first_received_us) <= at_us
            },
        )
        for object_id, state in change.states.items()
    }
    return replace(change, states=states)


def _notifies(policy: CompiledPolicy, due_us: int, known_us: int, opened: int | None) -> bool:
    """As the ledger decides: what was known too late to prevent is told only while it is young."""
    if opened is None or not policy.spec.notify:
        return False
    young = opened - due_us < policy.spec.notify_within.us
    return young or due_us > known_us
