"""SLA policies as slas.yaml writes them: the promises that run clocks on journeys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from milepost.catalog import objective as objectives
from milepost.catalog.objective import Objective
from milepost.catalog.schema import After, Catalog, Duration, Ident, Model, Severity, TimeOfDay, TypeName
from milepost.errors import CatalogError

FILE: Final = "slas.yaml"


Share = Annotated[float, Meta(gt=0, lt=1)]


class CalendarChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """The calendar by the value of an attribute: a carrier's or a partner's own, however its name is spelled."""

    attribute: str
    calendars: Annotated[dict[str, str], Meta(min_length=1)]
    otherwise: str = field(default="always", name="else")


class ServiceClass(Struct, frozen=True, forbid_unknown_fields=True):
    """What policies of one class have in common. A policy's own fields win."""

    title: str = ""
    within: Duration | None = None
    calendar: str | CalendarChoice = "always"
    severity: Severity = "warning"
    warn_at: Share | None = 0.8
    notify_within: Duration = Duration("24h")
    objective: Objective = Objective()


class ExceptionMatch(Struct, frozen=True, forbid_unknown_fields=True):
    """Which exceptions: each list that is given must have the exception's value, as its last event tells it."""

    kind: list[Literal["business", "technical", "held"]] = []
    type: list[str] = []
    code: list[str] = []


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """One SLA.

    between: milestone `start` to milestone `end` within `within`.
    dwell: no milestone of higher rank within `within` of reaching `start`.
    by: milestone `end` no later than the date in attribute `date`, plus `grace`; runs from `start`, or from the
    journey's start. Or, with `cut_off`: what starts before it is due the same working day, and so many `days` later;
    `calendar` stands for the cut-offs of the calendar. Due when that day closes, or at `due_at`.
    exception: an exception of a member that `exception` describes is resolved `within` its opening.
    `per` runs one clock for each member object of a type, on that object's own events.
    `pause`: what lets its clocks stand still. root: the journey's root is held. subject: so is the clock's own object.
    A list: exceptions of these types, "order.held", or with a code, "order.held:customer", of either.
    """

    name: Ident
    kind: Literal["between", "dwell", "by", "exception"]
    model: Ident
    class_: Ident | None = field(default=None, name="class")
    title: str = ""
    start: Ident | None = None
    end: Ident | None = None
    within: Duration | None = None
    date: str | None = None
    grace: Duration = Duration("0s")
    cut_off: Annotated[str, Meta(pattern=r"^(([01]?\d|2[0-3]):[0-5]\d|24:00|calendar)$")] | None = None
    days: Annotated[int, Meta(ge=0, le=366)] = 0
    due_at: TimeOfDay | None = None
    exception: ExceptionMatch = ExceptionMatch()
    per: TypeName | None = None
    match: dict[str, list[str]] = {}
    calendar: str | CalendarChoice = "always"
    pause: Literal["root", "subject", "never"] | Annotated[list[str], Meta(min_length=1)] | None = None
    severity: Severity = "warning"
    warn_at: Share | None = 0.8
    notify_within: Duration = Duration("24h")
    notify: bool = True
    after: After | None = None
    group_by: list[str] = []
    priority: int = 0
    objective: Objective = Objective()
    owner: str | None = None
    runbook: str | None = None


_NEEDS: Final = {
    "between": ("start", "end", "within"),
    "dwell": ("start", "within"),
    "by": ("end",),
    "exception": ("within",),
}


def check(catalog: Catalog, types: Mapping[str, Collection[str]]) -> None:
    """What types can't say. `types` gives the object types of each model. Raises CatalogError."""
    seen: set[str] = set()
    for policy in catalog.policies:
        where = f"{FILE}: {policy.name}"
        if policy.name in seen:
            raise CatalogError(f"{where}: this name is used twice")
        seen.add(policy.name)
        model = catalog.models.get(policy.model)
        if model is None:
            raise CatalogError(f"{where}: model: there is no model {policy.model}")
        _check(where, policy, model, types[policy.model])
        objectives.check(where, policy.objective)
        for name in calendars_of(policy.calendar):
            if name not in catalog.calendars:
                raise CatalogError(f"{where}: calendar: there is no calendar {name}")
            if policy.cut_off == "calendar" and not catalog.calendars[name].cut_offs:
                raise CatalogError(f"{where}: cut_off: calendar {name} has no cut_offs")


def in_class(item: Mapping[str, Any], classes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A policy as it is written, with what its class says and it doesn't. Raises CatalogError.

    A single value that is to be matched is a list of one.
    """
    match = item.get("match")
    if isinstance(match, dict):
        item = {**item, "match": {name: [one] if isinstance(one, str) else one for name, one in match.items()}}
    name = item.get("class")
    if name is None:
        return dict(item)
    if name not in classes:
        known = ", ".join(sorted(classes)) or "none"
        raise CatalogError(f"{FILE}: {item.get('name')}: class: there is no class {name}; there are {known}")
    told = {field: value for field, value in classes[name].items() if field != "title"}
    if item.get("kind") == "by":
        told.pop("within", None)
    return {**told, **item}


def calendars_of(told: str | CalendarChoice) -> list[str]:
    """The names of the calendars that clocks can run by, the usual one first."""
    return [told] if isinstance(told, str) else [told.otherwise, *dict.fromkeys(told.calendars.values())]


def _check(where: str, policy: Policy, model: Model, types: Collection[str]) -> None:
    for name in _NEEDS[policy.kind]:
        if getattr(policy, name) is None:
            raise CatalogError(f"{where}: a policy of kind {policy.kind} needs {name}")
    _check_kind(where, policy)
    names = {milestone.name for milestone in model.milestones}
    for step in ("start", "end"):
        value = getattr(policy, step)
        if value is not None and value not in names:
            raise CatalogError(f"{where}: {step}: model {model.name} has no milestone {value}")
    for told in policy.pause if isinstance(policy.pause, list) else ():
        if not all(told.partition(":")[0].partition(".")):
            raise CatalogError(f"{where}: pause: {told} is no event type, like order.held or order.held:customer")
    if policy.per is not None and policy.per not in types:
        raise CatalogError(f"{where}: per: {policy.per} is not in the tree of model {model.name}")


def _check_kind(where: str, policy: Policy) -> None:
    """What only policies of some kinds have."""
    if policy.kind == "by" and (policy.date is None) == (policy.cut_off is None):
        raise CatalogError(f"{where}: a policy of kind by needs date or cut_off, and not both")
    if policy.cut_off is None and (policy.days, policy.due_at) != (0, None):
        raise CatalogError(f"{where}: days and due_at say when after a cut_off it is due, and there is none")
    if policy.cut_off is not None and policy.kind != "by":
        raise CatalogError(f"{where}: cut_off: only a policy of kind by has one")
    if policy.kind == "exception" and (policy.start, policy.end, policy.date) != (None, None, None):
        raise CatalogError(f"{where}: a policy of kind exception has no start, end or date: it runs from the opening")
    if policy.kind != "exception" and policy.exception != ExceptionMatch():
        raise CatalogError(f"{where}: exception: only a policy of kind exception has it")
