"""What one event says, before any id is known: its subjects, the objects it names, the relations it proves. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from correlator.model import CORRELATION, Compiled
from milepost import contract
from milepost.contract import Entry, Event
from milepost.inbox.objects import Epoch, Ref, Splits
from milepost.journeystate import Flag

_TIME_MISSING: Final = Flag.TIME_MISSING.value
_CLOCK_SKEW: Final = Flag.CLOCK_SKEW.value
_NAMESPACE_MISSING: Final = Flag.NAMESPACE_MISSING.value
_JUNK_KEY: Final = Flag.JUNK_KEY.value
_AMBIGUOUS: Final = Flag.AMBIGUOUS.value
_NO_SUBJECT: Final = Flag.NO_SUBJECT.value
_INDIRECT: Final = Flag.INDIRECT.value
Name = Ref | Epoch


@dataclass(slots=True)
class Fact:
    """One event with what it says. `relations` are (first, second, rel); an explicit link's first is the parent."""

    event: Event
    body: bytes
    received_us: int
    occurred_us: int
    claimed_us: int | None
    flags: int  # milepost.journeystate.Flag; plain integers, since the enum's operators cost microseconds
    about: Sequence[tuple[Name, bool]]
    relations: Sequence[tuple[Name, Name, str]]
    event_no: int = 0

    @property
    def source(self) -> str:
        return self.event.source

    @property
    def event_id(self) -> str:
        return self.event.id


@dataclass(slots=True)
class Facts:
    """The facts of a batch, all names in it, and (once resolved) their ids."""

    items: list[Fact]
    refs: set[Ref]
    ids: dict[Name, int] = field(default_factory=dict)


def extract(entries: Sequence[Entry], compiled: Compiled) -> Facts:
    """Read the entries of a batch."""
    refs: set[Ref] = set()
    items = [read_fact(entry, compiled, refs) for entry in entries]
    return Facts(items, refs)


def read_fact(entry: Entry, compiled: Compiled, refs: set[Ref]) -> Fact:
    """What one entry says; adds the names it uses to `refs`."""
    event = contract.read(entry.body)
    times = contract.times_of(event, entry.received_us)
    flags = 0
    if times.claimed_us is None:
        flags |= _TIME_MISSING
    if times.skewed:
        flags |= _CLOCK_SKEW
    named, odd = _named(event, compiled)
    relations, ambiguous = _relations(named, compiled)
    correlation, junk = _correlation(event, compiled)
    links, linked = _links(event, compiled)
    about, without = _about(event, named, correlation, relations, linked, compiled)
    if (links or len(named) > 2) and _indirect(about, [*relations, *links]):
        flags |= _INDIRECT
    if correlation is not None:
        relations += [(correlation, ref, "correlation") for group in named.values() for ref in group]
    for group in named.values():
        refs.update(group)
    if correlation is not None:
        refs.add(correlation)
    refs.update(linked)
    flags |= odd | ambiguous | junk | without
    return Fact(
        event, entry.body, entry.received_us, times.occurred_us, times.claimed_us, flags, about, relations + links
    )


def part(facts: Facts, splits: Splits) -> set[Epoch]:
    """Let each event name, of the names that were split, the object that was theirs at its time; returns the later ones
    that are named."""
    named = facts.refs & splits.keys()
    found: set[Epoch] = set()

    def at(ref: Name, moment_us: int) -> Name:
        if ref not in named:
            return ref
        begun = [epoch for since_us, epoch in splits[ref] if since_us <= moment_us]
        found.update(begun[-1:])
        return begun[-1] if begun else ref

    for item in facts.items if named else ():
        moment_us = item.occurred_us
        item.about = [(at(ref, moment_us), subject) for ref, subject in item.about]
        item.relations = [(at(one, moment_us), at(other, moment_us), rel) for one, other, rel in item.relations]
    return found


def _indirect(about: Collection[tuple[Ref, bool]], relations: Collection[tuple[Ref, Ref, str]]) -> bool:
    """Whether an event relates an object that is more than two of its relations away from all that it is about."""
    near = {ref for ref, _ in about}
    for _ in range(2):
        near |= {one for pair in relations if not near.isdisjoint(pair[:2]) for one in pair[:2]}
    return any(one not in near for pair in relations for one in pair[:2])


def _named(event: Event, compiled: Compiled) -> tuple[dict[str, list[Ref]], int]:
    """The objects that an event names by key, per type; junk left out."""
    named: dict[str, list[Ref]] = {}
    flags = 0
    attributes = event.data.attributes
    for kind, keys in event.data.keys.items():
        namespace, missing = compiled.namespace(kind, event.source, attributes)
        if missing:
            flags |= _NAMESPACE_MISSING
        group: list[Ref] = []
        for key in contract.key_list(keys):
            normal = compiled.normalise(kind, key)
            if normal is None:
                flags |= _JUNK_KEY
            elif (ref := Ref(kind, namespace, normal)) not in group:
                group.append(ref)
        if group:
            named[kind] = group
    return named, flags


def _correlation(event: Event, compiled: Compiled) -> tuple[Ref | None, int]:
    if event.correlationid is None:
        return None, 0
    key = compiled.normalise(CORRELATION, event.correlationid)
    return (None, _JUNK_KEY) if key is None else (Ref(CORRELATION, "", key), 0)


def _relations(named: dict[str, list[Ref]], compiled: Compiled) -> tuple[list[tuple[Ref, Ref, str]], int]:
    """Co-mention relates what a model orders, when at least one side has a single key (rule 3)."""
    found: list[tuple[Ref, Ref, str]] = []
    flags = 0
    kinds = list(named)
    for index, kind in enumerate(kinds):
        for other in kinds[index + 1 :]:
            if not compiled.related(kind, other):
                continue
            mine, theirs = named[kind], named[other]
            if len(mine) > 1 and len(theirs) > 1:
                flags |= _AMBIGUOUS
                continue
            found += [(one, two, "mention") for one in mine for two in theirs]
    return found, flags


def _links(event: Event, compiled: Compiled) -> tuple[list[tuple[Ref, Ref, str]], list[Ref]]:
    found: list[tuple[Ref, Ref, str]] = []
    linked: list[Ref] = []
    for link in event.data.links:
        ends = []
        for end in (link.parent, link.child):
            namespace, _ = compiled.namespace(end.type, event.source, event.data.attributes)
            key = compiled.normalise(end.type, end.key)
            if key is not None:
                ends.append(Ref(end.type, namespace, key))
        if len(ends) == 2 and ends[0] != ends[1]:
            found.append((ends[0], ends[1], f"link:{link.rel}"))
            linked += ends
    return found, linked


def _about(
    event: Event,
    named: dict[str, list[Ref]],
    correlation: Ref | None,
    relations: list[tuple[Ref, Ref, str]],
    linked: list[Ref],
    compiled: Compiled,
) -> tuple[list[tuple[Ref, bool]], int]:
    """The objects that an event is about, each with whether it is a subject (rule 2).

    Beside its subjects these are the objects that it names but relates to nothing: they would lose it otherwise.
    Without a subject the correlation is the subject, and the event is shown with everything that it names.
    """
    subjects = next((named[kind] for kind in compiled.subject_types(event.type) if kind in named), None)
    if subjects is not None:
        tied = {ref for one, other, _ in relations for ref in (one, other)}
        chosen = set(subjects)
        loose = [ref for group in named.values() for ref in group if ref not in tied and ref not in chosen]
        return [(ref, True) for ref in subjects] + [(ref, False) for ref in loose], 0
    about = [(ref, False) for group in named.values() for ref in group]
    if correlation is not None:
        return [(correlation, True), *about], 0
    if not about:
        about = [(ref, False) for ref in dict.fromkeys(linked)]
    return about, _NO_SUBJECT
