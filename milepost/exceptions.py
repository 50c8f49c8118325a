"""What went wrong with one object, and for how long: intervals from what its state remembers of events. Pure.

A function of the set of events: neither the order in which they came nor what was known in between counts. The rules
are in docs/explanation/correlation.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final, Literal

from milepost.catalog.schema import CORRELATION, ExceptionRule
from milepost.journeystate import ObjectState, Trouble

Kind = Literal["business", "technical", "held"]
KINDS: Final[tuple[Kind, ...]] = ("business", "technical", "held")
Rules = Mapping[str, ExceptionRule]
CANCELLED: Final = ".cancelled"
"""How the types of events end that cancel what they are about."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One exception: opened by `first`, as it stands since `last` (which classifies it), over `count` events.

    `resolved_us` and `resolved_by` (an event type) are None while it is open. Times in microseconds.
    """

    type: str
    kind: Kind
    first: Trouble
    last: Trouble
    count: int
    resolved_us: int | None
    resolved_by: str | None


def intervals(state: ObjectState, rules: Rules, of: str) -> list[Interval]:
    """The exceptions of an object of type `of` in the order in which they were opened."""
    # only what an object is the subject of is in `reached`; a correlation is the subject of what lacks one
    own = {kind for kind in state.reached if kind.endswith(CANCELLED)} if of != CORRELATION else set()
    found = [item for kind in state.trouble for item in _of_type(state, kind, rules.get(kind), own)]
    return sorted(found, key=lambda item: (item.first.at_us, item.first.source, item.first.id, item.type))


def _of_type(state: ObjectState, kind: str, rule: ExceptionRule | None, own: Set[str]) -> Iterator[Interval]:
    told = state.trouble[kind]
    cancelled = {*own, kind.partition(".")[0] + CANCELLED}
    if rule is None or rule.kind == "held":
        failed = [item for item in told if item.outcome != "ok"]
        yield from _walk(kind, failed, _ends(state, {kind, *cancelled}), None)
    if rule is not None:
        opening = told if rule.kind != "held" else [item for item in told if item.outcome == "ok"]
        yield from _walk(kind, opening, _ends(state, {*rule.resolved_by, *cancelled}), rule.kind)


def _ends(state: ObjectState, types: Set[str]) -> list[tuple[int, str]]:
    """When events of these types went well, in order."""
    return sorted((at, one) for one in types for at in state.went_well(one))


def _walk(kind: str, opening: Sequence[Trouble], ends: list[tuple[int, str]], said: Kind | None) -> Iterator[Interval]:
    """Each opens an exception unless one is open; the first end at its time or later resolves it."""
    current: Interval | None = None
    for item in opening:
        if current is not None and (current.resolved_us is None or current.resolved_us >= item.at_us):
            current = replace(current, last=item, kind=said or _judged(item), count=current.count + 1)
            continue
        if current is not None:
            yield current
        place = bisect_left(ends, (item.at_us, ""))
        at, by = ends[place] if place < len(ends) else (None, None)
        current = Interval(kind, said or _judged(item), item, item, 1, at, by)
    if current is not None:
        yield current


def _judged(item: Trouble) -> Kind:
    """A rejection is a rule of the business; what failed or is retried is a system's fault."""
    return "business" if item.outcome == "rejected" else "technical"
