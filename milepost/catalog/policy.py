"""SLA policies as slas.yaml writes them: the promises that run clocks on journeys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from milepost.catalog import objective as objectives
from milepost.catalog.objective import Objective
from milepost.catalog.schema import After, Catalog, Duration, Ident, Model, Severity, TypeName
from milepost.errors import CatalogError

FILE: Final = "slas.yaml"


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
    journey's start.
    exception: an exception of a member that `exception` describes is resolved `within` its opening.
    `per` runs one clock for each member object of a type, on that object's own events.
    `pause`: what lets its clocks stand still. root: the journey's root is held. subject: so is the clock's own object.
    A list: exceptions of these types, "order.held", or with a code, "order.held:customer", of either.
    """

    name: Ident
    kind: Literal["between", "dwell", "by", "exception"]
    model: Ident
    title: str = ""
    start: Ident | None = None
    end: Ident | None = None
    within: Duration | None = None
    date: str | None = None
    grace: Duration = Duration("0s")
    exception: ExceptionMatch = ExceptionMatch()
    per: TypeName | None = None
    match: dict[str, list[str]] = {}
    calendar: str = "always"
    pause: Literal["root", "subject", "never"] | Annotated[list[str], Meta(min_length=1)] | None = None
    severity: Severity = "warning"
    warn_at: Annotated[float, Meta(gt=0, lt=1)] | None = 0.8
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
    "by": ("end", "date"),
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
        if policy.calendar not in catalog.calendars:
            raise CatalogError(f"{where}: calendar: there is no calendar {policy.calendar}")


def _check(where: str, policy: Policy, model: Model, types: Collection[str]) -> None:
    for name in _NEEDS[policy.kind]:
        if getattr(policy, name) is None:
            raise CatalogError(f"{where}: a policy of kind {policy.kind} needs {name}")
    if policy.kind == "exception" and (policy.start, policy.end, policy.date) != (None, None, None):
        raise CatalogError(f"{where}: a policy of kind exception has no start, end or date: it runs from the opening")
    if policy.kind != "exception" and policy.exception != ExceptionMatch():
        raise CatalogError(f"{where}: exception: only a policy of kind exception has it")
    names = {milestone.name for milestone in model.milestones}
    for field in ("start", "end"):
        value = getattr(policy, field)
        if value is not None and value not in names:
            raise CatalogError(f"{where}: {field}: model {model.name} has no milestone {value}")
    for told in policy.pause if isinstance(policy.pause, list) else ():
        if not all(told.partition(":")[0].partition(".")):
            raise CatalogError(f"{where}: pause: {told} is no event type, like order.held or order.held:customer")
    if policy.per is not None and policy.per not in types:
        raise CatalogError(f"{where}: per: {policy.per} is not in the tree of model {model.name}")
