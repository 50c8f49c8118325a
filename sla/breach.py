"""What a breach says: why in plain words, the events that prove it, whom it concerns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from milepost.catalog.choice import Wish, choice
from milepost.catalog.schema import CORRELATION, Catalog, Milestone
from milepost.clock import from_us
from milepost.exceptions import Interval, Rules, intervals
from milepost.journeystate import JourneyChange, ObjectState, RunningClock, Scalar
from sla.evaluate import occurrence_of
from sla.policy import CompiledPolicy, of_exception

UNKNOWN: Final = "unknown"
NO_NAMES: Final[Mapping[int, str]] = {}


def why(
    policy: CompiledPolicy,
    catalog: Catalog,
    clock: RunningClock,
    change: JourneyChange,
    names: Mapping[int, str] = NO_NAMES,
) -> str:
    """One line for people. `names` has the keys of objects, for clocks that run per object."""
    policy = policy.variant(_attributes(policy, clock, change))
    if policy.kind == "exception":
        missing = _unresolved(policy, clock, exception(clock, change, catalog.exceptions))
    else:
        missing = _missing(policy, catalog, clock)
    return f"{_who(policy, clock, change, names)}{missing}: {_promise(policy, catalog, clock, change)}"


def _who(policy: CompiledPolicy, clock: RunningClock, change: JourneyChange, names: Mapping[int, str]) -> str:
    """The object, unless it is the journey's root."""
    if policy.per is None and (policy.kind != "exception" or clock.subject_id == change.root_id):
        return ""
    kind, key = policy.per or change.types.get(clock.subject_id), names.get(clock.subject_id)
    return "" if kind is None or key is None else f"{kind} {key} "


def _unresolved(policy: CompiledPolicy, clock: RunningClock, found: Interval | None) -> str:
    last = found.last if found is not None else None
    told = ": ".join(filter(None, (last.code, last.reason))) if last is not None else ""
    name = f"{found.type if found is not None else 'exception'}{f' ({told})' if told else ''}"
    return f"{name} not resolved" if clock.stopped_us is None else f"{name} over only {_at(policy, clock.stopped_us)}"


def exception(clock: RunningClock, change: JourneyChange, rules: Rules) -> Interval | None:
    """The exception that a clock runs on; None when its object's state isn't loaded, or objects were merged since."""
    state = change.states.get(clock.subject_id)
    kind = change.types.get(clock.subject_id, CORRELATION)  # of a stored journey only objects have their types here
    found = intervals(state, rules, kind) if state is not None else []
    return next((item for item in found if occurrence_of(item) == clock.occurrence), None)


def _missing(policy: CompiledPolicy, catalog: Catalog, clock: RunningClock) -> str:
    if policy.end is None:
        if clock.stopped_us is None:
            return f"stuck after {_title(policy, catalog, policy.start)}"
        return f"{_title(policy, catalog, policy.start)} for too long, until {_at(policy, clock.stopped_us)}"
    title = _title(policy, catalog, policy.end)
    return f"not {title}" if clock.stopped_us is None else f"{title} only {_at(policy, clock.stopped_us)}"


def _promise(policy: CompiledPolicy, catalog: Catalog, clock: RunningClock, change: JourneyChange) -> str:
    assert clock.due_us is not None
    due = f"due {_at(policy, clock.due_us)}{_stood_still(clock)}"
    zone = policy.calendar.zone.key
    if policy.date:
        value = _attributes(policy, clock, change).get(policy.date) or _told_by_member(policy.date, change)
        grace = f" with {policy.spec.grace.text} of grace" if policy.spec.grace.us else ""
        return f"{policy.date.replace('_', ' ')} is {value}, {due}{grace} ({zone})"
    if policy.cut_off is not None:
        return f"{_began(policy, catalog)} {_at(policy, clock.started_us)}, {due} ({_working_day(policy)}, {zone})"
    within = policy.spec.within.text if policy.spec.within is not None else ""
    length = within if policy.all_hours else f"{within} of business time, calendar {policy.calendar.name}"
    return f"{_began(policy, catalog)} {_at(policy, clock.started_us)}, {due} ({length}, {zone})"


def _began(policy: CompiledPolicy, catalog: Catalog) -> str:
    if policy.start is None:
        return "opened" if policy.kind == "exception" else "begun"
    return _title(policy, catalog, policy.start)


def _working_day(policy: CompiledPolicy) -> str:
    spec = policy.spec
    cut_off = "its cut-off" if spec.cut_off == "calendar" else f"{spec.cut_off}"
    later = f", {spec.days} working day{'s' * (spec.days > 1)} later" if spec.days else ""
    return f"before {cut_off} the same working day, else the next{later}, calendar {policy.calendar.name}"


def _stood_still(clock: RunningClock) -> str:
    if clock.pause is None:
        return ""
    return f" after {timedelta(seconds=clock.pause.still_us // 1_000_000)} of standing still ({clock.pause.type})"


def _told_by_member(name: str, change: JourneyChange) -> Scalar:
    return next((value for state in change.states.values() if (value := state.values().get(name)) is not None), None)


def _title(policy: CompiledPolicy, catalog: Catalog, name: str | None) -> str:
    found = milestone(policy, catalog, name)
    return (found.title or found.name.replace("_", " ")) if found is not None else str(name)


def milestone(policy: CompiledPolicy, catalog: Catalog, name: str | None) -> Milestone | None:
    """A milestone of the policy's model."""
    model = catalog.models.get(policy.spec.model)
    return next((item for item in model.milestones if item.name == name), None) if model is not None else None


def _at(policy: CompiledPolicy, us: int) -> str:
    moment: datetime = from_us(us).astimezone(policy.calendar.zone)
    return f"{moment:%a %d %b %Y %H:%M}"


def evidence(
    policy: CompiledPolicy,
    catalog: Catalog,
    clock: RunningClock,
    change: JourneyChange,
    names: Mapping[int, str] = NO_NAMES,
    family: Sequence[Wish] = (),
) -> dict[str, Any]:
    """What record.breaches keeps as evidence: {why, calendar, zone, events: [{source, id, says}], choice}.

    `family` are the policies that promise the same; `choice`, where there are others or attributes were asked for:
    {matched: {attribute: value}, others: {policy: why not}}.
    """
    policy = policy.variant(_attributes(policy, clock, change))
    told = (
        _start_event(policy, clock, change),
        _date_event(policy, clock, change),
        _opening_event(policy, clock, change, catalog.exceptions),
    )
    return {
        "why": why(policy, catalog, clock, change, names),
        "calendar": policy.calendar.name,
        "zone": policy.calendar.zone.key,
        "events": [event for event in told if event is not None],
        **_choice(policy, clock, change, catalog.exceptions, family),
    }


def _choice(
    policy: CompiledPolicy, clock: RunningClock, change: JourneyChange, rules: Rules, family: Sequence[Wish]
) -> dict[str, Any]:
    """Why this policy and no other of its family, where there is something to say."""
    if not policy.wanted and len(family) < 2:
        return {}
    chosen = choice(family, policy.name, _of_exception(policy, clock, change, rules))
    return {"choice": {"matched": chosen.matched, "others": chosen.others}} if chosen is not None else {}


def _start_event(policy: CompiledPolicy, clock: RunningClock, change: JourneyChange) -> dict[str, str] | None:
    if policy.start is None:
        return None
    return _milestone_event(policy.start, policy.start_events, policy, clock, change)


def _opening_event(
    policy: CompiledPolicy, clock: RunningClock, change: JourneyChange, rules: Rules
) -> dict[str, str] | None:
    """The event that opened an exception, with its code and reason."""
    found = exception(clock, change, rules) if policy.kind == "exception" else None
    if found is None:
        return None
    first = found.first
    more = {name: value for name, value in (("code", first.code), ("reason", first.reason)) if value is not None}
    return {"source": first.source, "id": first.id, "says": found.type, **more}


def _resolving_event(clock: RunningClock, change: JourneyChange, rules: Rules) -> dict[str, str] | None:
    """Of events that resolve something only the first of each type is known by its name."""
    found = exception(clock, change, rules)
    state = change.states.get(clock.subject_id)
    if found is None or found.resolved_by is None or state is None:
        return None
    told = state.reached.get(found.resolved_by)
    if told is None or told.first_us != found.resolved_us:
        return None
    return {"source": told.first_source, "id": told.first_id, "says": found.resolved_by}


def stop_event(
    policy: CompiledPolicy, clock: RunningClock, change: JourneyChange, rules: Rules
) -> dict[str, str] | None:
    """The event that stopped a clock; None when none did (cancelled, withdrawn)."""
    if policy.kind == "exception":
        return _resolving_event(clock, change, rules)
    if policy.end is not None:
        return _milestone_event(policy.end, policy.end_events, policy, clock, change)
    if policy.per is not None:
        return _milestone_event(None, policy.higher_events, policy, clock, change)
    higher = [item for item in change.milestones.values() if item.name in policy.after_start]
    if not higher:
        return None
    first = min(higher, key=lambda item: (item.reached_us, item.rank))
    return {"source": first.source, "id": first.event_id, "says": first.name}


def _milestone_event(
    name: str | None, types: Iterable[str], policy: CompiledPolicy, clock: RunningClock, change: JourneyChange
) -> dict[str, str] | None:
    if policy.per is None:
        reached = change.milestones.get(name or "")
        return {"source": reached.source, "id": reached.event_id, "says": reached.name} if reached is not None else None
    state = change.states.get(clock.subject_id)
    told = [(state.reached[kind], kind) for kind in types if kind in state.reached] if state is not None else []
    if not told:
        return None
    first, kind = min(told, key=lambda pair: (pair[0].first_us, pair[0].first_source, pair[0].first_id))
    return {"source": first.first_source, "id": first.first_id, "says": name or kind}


def _date_event(policy: CompiledPolicy, clock: RunningClock, change: JourneyChange) -> dict[str, str] | None:
    """The event that told the date of a `by` policy."""
    if policy.kind != "by":
        return None
    for object_id in (clock.subject_id, change.root_id, *change.states):
        state = change.states.get(object_id)
        for group in state.attributes if state is not None else ():
            if policy.date in group.values:
                return {"source": group.source, "id": group.id, "says": policy.date}
    return None


def dimensions(policy: CompiledPolicy, catalog: Catalog, clock: RunningClock, change: JourneyChange) -> dict[str, str]:
    """The declared dimensions, and what the policy groups by, as far as they are known.

    They are those of the object whose milestone is missing: of the clock's own, or of the only ones without it where a
    milestone needs all members of a type; else the journey's.
    """
    attributes = _of_exception(policy, clock, change, catalog.exceptions)
    lacking = [state.values() for state in _lacking(policy, catalog, change)]
    found = {}
    for name in dict.fromkeys((*catalog.dimensions, *policy.spec.group_by)):
        values = {str(values[name]) for values in lacking if values.get(name) not in (None, "")}
        value = values.pop() if len(values) == 1 else attributes.get(name)
        if value is not None and value != "":
            found[name] = str(value)
    return found


def group(policy: CompiledPolicy, known: Mapping[str, str]) -> dict[str, str]:
    """The values that choose the alert."""
    return {name: known.get(name, UNKNOWN) for name in policy.spec.group_by}


def _of_exception(
    policy: CompiledPolicy, clock: RunningClock, change: JourneyChange, rules: Rules
) -> Mapping[str, Scalar]:
    """The attributes, with those of the exception that the clock runs on."""
    found = exception(clock, change, rules) if policy.kind == "exception" else None
    attributes = _attributes(policy, clock, change)
    return attributes if found is None else {**attributes, **of_exception(found)}


def _attributes(policy: CompiledPolicy, clock: RunningClock, change: JourneyChange) -> Mapping[str, Scalar]:
    of_object = policy.per is not None or policy.kind == "exception"
    state = change.states.get(clock.subject_id) if of_object else None
    return change.attributes if state is None else {**change.attributes, **state.values()}


def all_type(policy: CompiledPolicy, catalog: Catalog) -> str | None:
    """The type of which every member must reach the policy's end."""
    end = milestone(policy, catalog, policy.end)
    return end.all if end is not None and policy.per is None else None


def _lacking(policy: CompiledPolicy, catalog: Catalog, change: JourneyChange) -> Iterable[ObjectState]:
    kind = all_type(policy, catalog)
    if kind is None:
        return
    done = (*policy.end_events, f"{kind}.cancelled")
    for object_id, state in change.states.items():
        if change.types.get(object_id) == kind and not any(event in state.reached for event in done):
            yield state
