"""What one event says, before any id is known: its subjects, the objects it names, the relations it proves. Pure.

A name is looked up once, where an event is read; from there on it is one object, compared and found by identity.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from correlator.model import Compiled
from milepost import contract
from milepost.catalog.schema import CORRELATION
from milepost.contract import Entry, Event
from milepost.inbox.objects import Ref, Splits
from milepost.journeystate import Flag

_TIME_MISSING: Final = Flag.TIME_MISSING.value
_CLOCK_SKEW: Final = Flag.CLOCK_SKEW.value
_NAMESPACE_MISSING: Final = Flag.NAMESPACE_MISSING.value
_JUNK_KEY: Final = Flag.JUNK_KEY.value
_AMBIGUOUS: Final = Flag.AMBIGUOUS.value
_NO_SUBJECT: Final = Flag.NO_SUBJECT.value
_INDIRECT: Final = Flag.INDIRECT.value


class Name:
    """An object as events name it. `object_id` is 0 until it is known."""

    __slots__ = ("object_id", "ref")

    def __init__(self, ref: Ref, object_id: int = 0) -> None:
        self.ref = ref
        self.object_id = object_id


class Names(dict[tuple[str, str, str], Name]):
    """One Name for each Ref, made when it is first asked for. It is found by a plain tuple too."""

    def __missing__(self, key: tuple[str, str, str]) -> Name:
        ref = Ref(*key)
        name = self[ref] = Name(ref)
        return name


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
    """The facts of a batch, and all names in it."""

    items: list[Fact]
    names: set[Name]


def extract(entries: Sequence[Entry], compiled: Compiled, known: Names) -> Facts:
    """Read the entries of a batch; `known` are the names that were met before."""
    names: set[Name] = set()
    items = [read_fact(entry, compiled, known, names) for entry in entries]
    return Facts(items, names)


def read_fact(entry: Entry, compiled: Compiled, known: Names, names: set[Name]) -> Fact:
    """What one entry says; adds the names it uses to `names`."""
    event = contract.read(entry.body)
    times = contract.times_of(event, entry.received_us)
    flags = 0
    if times.claimed_us is None:
        flags |= _TIME_MISSING
    if times.skewed:
        flags |= _CLOCK_SKEW
    named, odd = _named(event, compiled, known)
    correlation, junk = _correlation(event, compiled, known)
    if event.data.links or sum(map(len, named.values())) > len(named):
        links, linked, loose = _links(event, compiled, known)
        about, relations, more = _said(event.type, named, correlation, links, linked, compiled)
        odd |= loose
        names.update(*named.values(), linked, [] if correlation is None else [correlation])
    else:
        shape = _shape(compiled, event.type, tuple(named), correlation is not None)
        who = [group[0] for group in named.values()]
        if correlation is not None:
            who.append(correlation)
        names.update(who)
        about = [(who[place], subject) for place, subject in shape.about]
        relations = [(who[one], who[other], rel) for one, other, rel in shape.relations]
        more = shape.flags
    flags |= odd | junk | more
    return Fact(event, entry.body, entry.received_us, times.occurred_us, times.claimed_us, flags, about, relations)


class _Shape(NamedTuple):
    """What events say that name one object of each of some types, and then perhaps a correlation: by their places."""

    about: Sequence[tuple[int, bool]]
    relations: Sequence[tuple[int, int, str]]
    flags: int


@lru_cache(maxsize=4_096)
def _shape(compiled: Compiled, event_type: str, kinds: Sequence[str], correlated: bool) -> _Shape:
    """Worked out once: nearly all events of a source have the same few."""
    named = {kind: [Name(Ref(kind, "", ""))] for kind in kinds}
    correlation = Name(Ref(CORRELATION, "", "")) if correlated else None
    about, relations, flags = _said(event_type, named, correlation, [], [], compiled)
    places = {name: place for place, (name,) in enumerate(named.values())}
    if correlation is not None:
        places[correlation] = len(places)
    return _Shape(
        [(places[name], subject) for name, subject in about],
        [(places[one], places[other], rel) for one, other, rel in relations],
        flags,
    )


def _said(
    event_type: str,
    named: dict[str, list[Name]],
    correlation: Name | None,
    links: list[tuple[Name, Name, str]],
    linked: list[Name],
    compiled: Compiled,
) -> tuple[list[tuple[Name, bool]], list[tuple[Name, Name, str]], int]:
    """What an event is about, what it relates, and what is odd about that."""
    relations, flags = _relations(named, compiled)
    about, without = _about(event_type, named, correlation, relations, linked, compiled)
    if (links or len(named) > 2) and _indirect(about, [*relations, *links]):
        flags |= _INDIRECT
    if correlation is not None:
        relations += [(correlation, name, "correlation") for group in named.values() for name in group]
    return about, relations + links, flags | without


def part(facts: Facts, splits: Splits, known: Names) -> None:
    """Let each event name, of the names that were split, the object that was theirs at its time."""
    later = {
        known[ref]: [(since_us, Name(Ref(*epoch[:3]), epoch.object_id)) for since_us, epoch in begun]
        for ref, begun in splits.items()
        if ref in known
    }
    named = facts.names & later.keys()

    def at(name: Name, moment_us: int) -> Name:
        if name not in named:
            return name
        begun = [one for since_us, one in later[name] if since_us <= moment_us]
        return begun[-1] if begun else name

    for item in facts.items if named else ():
        moment_us = item.occurred_us
        item.about = [(at(name, moment_us), subject) for name, subject in item.about]
        item.relations = [(at(one, moment_us), at(other, moment_us), rel) for one, other, rel in item.relations]


def _indirect(about: Collection[tuple[Name, bool]], relations: Collection[tuple[Name, Name, str]]) -> bool:
    """Whether an event relates an object that is more than two of its relations away from all that it is about."""
    near = {name for name, _ in about}
    for _ in range(2):
        near |= {one for pair in relations if not near.isdisjoint(pair[:2]) for one in pair[:2]}
    return any(one not in near for pair in relations for one in pair[:2])


def _named(event: Event, compiled: Compiled, known: Names) -> tuple[dict[str, list[Name]], int]:
    """The objects that an event names by key, per type; junk left out."""
    named: dict[str, list[Name]] = {}
    flags = 0
    attributes = event.data.attributes
    for kind, keys in event.data.keys.items():
        namespace, missing = compiled.namespace(kind, event.source, attributes)
        if missing:
            flags |= _NAMESPACE_MISSING
        group: list[Name] = []
        for key in contract.key_list(keys):
            normal = compiled.normalise(kind, key)
            if normal is None:
                flags |= _JUNK_KEY
            elif (name := known[kind, namespace, normal]) not in group:
                group.append(name)
        if group:
            named[kind] = group
    return named, flags


def _correlation(event: Event, compiled: Compiled, known: Names) -> tuple[Name | None, int]:
    if event.correlationid is None:
        return None, 0
    key = compiled.normalise(CORRELATION, event.correlationid)
    return (None, _JUNK_KEY) if key is None else (known[CORRELATION, "", key], 0)


def _relations(named: dict[str, list[Name]], compiled: Compiled) -> tuple[list[tuple[Name, Name, str]], int]:
    """Co-mention relates what a model orders, when at least one side has a single key (rule 3)."""
    found: list[tuple[Name, Name, str]] = []
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


def _links(event: Event, compiled: Compiled, known: Names) -> tuple[list[tuple[Name, Name, str]], list[Name], int]:
    """The relations that an event states, the objects at their ends, and what is odd about those; junk left out."""
    found: list[tuple[Name, Name, str]] = []
    linked: list[Name] = []
    flags = 0
    for link in event.data.links:
        ends = []
        for end in (link.parent, link.child):
            namespace, missing = compiled.namespace(end.type, event.source, event.data.attributes)
            if missing:
                flags |= _NAMESPACE_MISSING
            key = compiled.normalise(end.type, end.key)
            if key is None:
                flags |= _JUNK_KEY
            else:
                ends.append(known[end.type, namespace, key])
        if len(ends) == 2 and ends[0] is not ends[1]:
            found.append((ends[0], ends[1], f"link:{link.rel}"))
            linked += ends
    return found, linked, flags


def _about(
    event_type: str,
    named: dict[str, list[Name]],
    correlation: Name | None,
    relations: list[tuple[Name, Name, str]],
    linked: list[Name],
    compiled: Compiled,
) -> tuple[list[tuple[Name, bool]], int]:
    """The objects that an event is about, each with whether it is a subject (rule 2).

    Beside its subjects these are the objects that it names but relates to nothing: they would lose it otherwise.
    Without a subject the correlation is the subject, and the event is shown with everything that it names.
    """
    subjects = next((named[kind] for kind in compiled.subject_types(event_type) if kind in named), None)
    if subjects is not None:
        tied = {name for one, other, _ in relations for name in (one, other)}
        chosen = set(subjects)
        loose = [name for group in named.values() for name in group if name not in tied and name not in chosen]
        return [(name, True) for name in subjects] + [(name, False) for name in loose], 0
    about = [(name, False) for group in named.values() for name in group]
    if correlation is not None:
        return [(correlation, True), *about], 0
    if not about:
        about = [(name, False) for name in dict.fromkeys(linked)]
    return about, _NO_SUBJECT
