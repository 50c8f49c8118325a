"""What lets a clock stand still: holds of the journey's objects, and how far they move its due time. Pure.

A function of the set of events: several holds, holds that overlap, and one that began before the clock did count once
for the business time that they share with the clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from milepost.catalog.schema import CORRELATION
from milepost.exceptions import Interval, Rules, intervals
from milepost.journeystate import JourneyChange, ObjectState, Pause, Trouble
from sla.policy import CompiledPolicy


class Halt(NamedTuple):
    """A stretch in which a clock stands still, and what holds it; `end_us` is None while it is held."""

    begin_us: int
    end_us: int | None
    by: Interval


class Troubles:
    """The exceptions of a journey's objects, each object's worked out once and only when it is asked for.

    `lesser`: the types that stand in for the root while it isn't known.
    """

    __slots__ = ("_change", "_known", "_lesser", "_root", "_rules")

    def __init__(self, change: JourneyChange, rules: Rules, lesser: Collection[str]) -> None:
        self._change = change
        self._rules = rules
        self._lesser = lesser
        self._known: dict[int, list[Interval]] = {}
        self._root: list[Interval] | None = None

    def of(self, object_id: int) -> list[Interval]:
        if object_id not in self._known:
            state, kind = self._change.states.get(object_id), self._change.types.get(object_id, CORRELATION)
            self._known[object_id] = intervals(state, self._rules, kind) if state is not None and state.trouble else []
        return self._known[object_id]

    def of_root(self) -> list[Interval]:
        """Those of the root under whatever name: the shop may hold its order and the ERP release it."""
        if self._root is None:
            change = self._change
            others = [one for one, kind in change.types.items() if kind in self._lesser and one != change.root_id]
            states = [change.states[one] for one in (change.root_id, *others) if one in change.states]
            if any(state.trouble for state in states[1:]):
                self._root = intervals(_together(states), self._rules, change.types[change.root_id])
            else:
                self._root = self.of(change.root_id)
        return self._root

    def halts(self, policy: CompiledPolicy, subject_id: int, own: Interval | None = None) -> list[Halt]:
        """What pauses a clock of this policy: sorted, disjoint. Its `own` exception never does."""
        found = self.of_root()
        if policy.subject_pauses and subject_id != self._change.root_id:
            found = [*found, *self.of(subject_id)]
        return _united(item for item in found if (own is None or item.type != own.type) and policy.pauses(item))


def _together(states: Sequence[ObjectState]) -> ObjectState:
    """What went wrong with several objects, and well, as if they were one."""
    trouble: dict[str, list[Trouble]] = {}
    for state in states:
        for kind, told in state.trouble.items():
            trouble.setdefault(kind, []).extend(told)
    for told in trouble.values():
        told.sort(key=lambda one: (one.at_us, one.source, one.id))
    kinds = {kind for state in states for kind in (*state.reached, *(state.repeats or ()))}
    well = {kind: sorted({at for state in states for at in state.went_well(kind)}) for kind in kinds}
    reached = {kind: one for state in states for kind, one in state.reached.items()}
    return ObjectState(reached=reached, trouble=trouble, repeats=well)


def _united(found: Iterable[Interval]) -> list[Halt]:
    """Of several that hold at once the one that holds longest is the one to blame."""
    halts: list[Halt] = []
    for item in sorted(found, key=lambda item: (item.first.at_us, item.type)):
        begin, end = item.first.at_us, item.resolved_us
        last = halts[-1] if halts else None
        if last is None or (last.end_us is not None and last.end_us < begin):
            halts.append(Halt(begin, end, item))
        elif last.end_us is not None and (end is None or end > last.end_us):
            halts[-1] = Halt(last.begin_us, end, item)
    return halts


def moved(
    policy: CompiledPolicy, times: tuple[int, int | None], due_us: int, warn_us: int | None, halts: Sequence[Halt]
) -> tuple[int | None, int | None, Pause | None]:
    """Due and warn time of a clock that stands still meanwhile, both None while it does; `times`: start and stop.

    What holds on when the clock stops ends there: the clock is over, whatever becomes of the hold. Raises
    CalendarBoundsError.
    """
    started, stopped = times
    counted = list(_within(halts, started, stopped))
    due, still, last = _move(policy, due_us, counted)
    if due is None:
        assert last is not None
        return None, None, Pause(last.begin_us, last.by.type, last.by.first.source, last.by.first.id, still)
    if not still or last is None:
        return due, warn_us, None
    warn = None if warn_us is None else _move(policy, warn_us, counted)[0]
    return due, warn, Pause(None, last.by.type, last.by.first.source, last.by.first.id, still)


def _within(halts: Iterable[Halt], started: int, stopped: int | None) -> Iterator[Halt]:
    for begin, end, by in halts:
        if stopped is not None:
            if begin >= stopped:
                return
            end = stopped if end is None else min(end, stopped)
        if end is None or end > started:
            yield Halt(max(begin, started), end, by)


def _move(policy: CompiledPolicy, at_us: int, halts: Iterable[Halt]) -> tuple[int | None, int, Halt | None]:
    """A time that is put off by every halt before it; None when one goes on. How long it stood still, and the last."""
    still, last = 0, None
    for halt in halts:
        if halt.begin_us >= at_us:
            break
        last = halt
        if halt.end_us is None:
            return None, still, last
        lost = policy.run(halt.begin_us, halt.end_us)
        at_us = policy.after(at_us, lost) if lost else at_us
        still += lost
    return at_us, still, last
