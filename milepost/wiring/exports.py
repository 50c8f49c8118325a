"""What an export needs of the correlator and of the SLA engine, which stand beside it, not below it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from correlator.facts import Names, read_fact
from correlator.model import Compiled
from exports.durations import Business, Measured
from exports.journeys import Reached
from exports.told import Named, Reader
from milepost.calendar import Calendar, calendar_of
from milepost.catalog.schema import CORRELATION, Catalog
from milepost.contract import Entry, Event, key_list
from milepost.errors import NotFound
from milepost.inbox.objects import Ref
from milepost.journeystate import Scalar
from milepost.ocel import Qualifier
from sla.policy import compile_catalog, select


def reader(catalog: Catalog) -> Reader:
    """The correlator's reading of events."""
    compiled = Compiled(catalog)

    def read(body: bytes, received_us: int) -> tuple[Event, Named]:
        known = Names()
        fact = read_fact(Entry(b"", 0, received_us, body), compiled, known, set())
        refs = [name.ref for name in known.values()]
        subjects = {name.ref for name, subject in fact.about if subject}
        linked = _only_linked(fact.event, refs, compiled) if fact.event.data.links else set[Ref]()
        return fact.event, [(ref, _qualifier(ref, subjects, linked)) for ref in sorted(refs)]

    return read


def _qualifier(ref: Ref, subjects: Collection[Ref], linked: Collection[Ref]) -> Qualifier:
    if ref in subjects:
        return "subject"
    if ref in linked:
        return "linked"
    return "correlation" if ref.type == CORRELATION else "other"


def _only_linked(event: Event, refs: Collection[Ref], compiled: Compiled) -> set[Ref]:
    """The objects that an event names by its links and by no key."""
    keys = event.data.keys
    named = {(kind, compiled.normalise(kind, key)) for kind, given in keys.items() for key in key_list(given)}
    return {ref for ref in refs if ref.type != CORRELATION and (ref.type, ref.key) not in named}


def business(catalog: Catalog, calendar: str | None = None) -> Business:
    """Business time by the calendar of the policy that promises the step, else by `calendar`.

    Raises NotFound for a calendar that the catalog doesn't know.
    """
    families = {
        (family[0].spec.model, family[0].start, family[0].end): family
        for some in compile_catalog(catalog).families.values()
        for family in some
        if family and family[0].kind == "between" and family[0].per is None
    }
    usual = None if calendar is None else _named(calendar, catalog)

    def measure(model: str, first: Reached, second: Reached, attributes: Mapping[str, Scalar]) -> Measured | None:
        policy = select(families.get((model, first.name, second.name), ()), attributes)
        hours = usual if policy is None else policy.calendar
        return None if hours is None else Measured(hours.name, hours.between(first.at, second.at).total_seconds())

    return measure


def _named(calendar: str, catalog: Catalog) -> Calendar:
    if calendar not in catalog.calendars:
        raise NotFound(f"there is no calendar {calendar}; there are {', '.join(sorted(catalog.calendars))}")
    return calendar_of(calendar, catalog.calendars[calendar])
