"""Policies that judge a flow of events and not single journeys: silence, rate, backlog.

They stand in the list `policies` of slas.yaml among the others, told apart by `kind`, and in `Catalog.flows`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from milepost.catalog.schema import After, Catalog, Duration, Ident, Severity
from milepost.errors import CatalogError

FILE: Final = "slas.yaml"
COLUMNS: Final = ("channel", "warehouse", "carrier", "partner")
"""What journeys can be grouped and matched by."""
AUTO: Final = "auto"
_LONGEST: Final = Duration("24h")
_NO_STAGE: Final = "none"

Source = Annotated[str, Meta(min_length=1, max_length=256)]
EventPattern = Annotated[str, Meta(min_length=3, max_length=128, pattern=r"^[^.]+\.[^.]")]


class Flow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What all three say."""

    name: Ident
    title: str = ""
    match: dict[str, list[str]] = {}
    calendar: str = "always"
    severity: Severity = "warning"
    notify_within: Duration = Duration("24h")
    notify: bool = True
    after: After | None = None
    owner: str | None = None
    runbook: str | None = None


class Silence(Flow, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="silence"):
    """Each source speaks at least every `within` of the calendar's time. No `within`: for no longer than it usually is
    quiet at that hour.

    No `sources`: all. In names of sources and event types `*` stands for anything. `events` and `match` narrow what
    counts as speaking; each value in `match` is waited for by itself.
    """

    sources: list[Source] = []
    not_sources: list[Source] = []
    events: list[EventPattern] = []
    within: Duration | None = None
    group_by: list[str] = field(default_factory=lambda: ["source"])


class Rate(Flow, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="rate"):
    """The share of events that failed or were rejected in the last `window` stays at `limit` or below. It is judged
    while there are `at_least` so many events.

    `failures`: event types that say so themselves, whatever their outcome. Above the limit for `for_`, it is a breach,
    which ends at `until` (0.8 of the limit).
    """

    limit: Annotated[float, Meta(gt=0, lt=1)]
    sources: list[Source] = []
    not_sources: list[Source] = []
    events: list[EventPattern] = []
    failures: list[EventPattern] = []
    window: Duration = Duration("1h")
    at_least: Annotated[int, Meta(ge=1)] = 20
    for_: Duration = field(default=Duration("0s"), name="for")
    until: Annotated[float, Meta(ge=0, lt=1)] | None = None
    group_by: list[str] = field(default_factory=lambda: ["source"])


class Backlog(Flow, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="backlog"):
    """Of a model's open journeys no more than `limit` are in one of `stages` for longer than `older_than`; or they are
    worth no more (`measure: money`, each currency by itself)."""

    model: Ident
    stages: Annotated[list[Ident], Meta(min_length=1)]
    limit: Annotated[float, Meta(gt=0)]
    older_than: Duration = Duration("0s")
    measure: Literal["count", "money"] = "count"
    for_: Duration = field(default=Duration("0s"), name="for")
    until: Annotated[float, Meta(ge=0)] | None = None
    group_by: list[str] = []


FlowPolicy = Silence | Rate | Backlog
KINDS: Final = ("silence", "rate", "backlog")


def is_flow(item: Any) -> bool:
    """Whether an entry of `policies` is one of these."""
    return isinstance(item, dict) and item.get("kind") in KINDS


def plain(item: Mapping[str, Any]) -> dict[str, Any]:
    """The entry as its struct takes it: `within: auto` says what leaving it out says."""
    return {name: value for name, value in item.items() if (name, value) != ("within", AUTO)}


def named(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns means this name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def concerns(policy: Silence | Rate, source: str) -> bool:
    """Whether a source is one of the policy's."""
    return (not policy.sources or named(policy.sources, source)) and not named(policy.not_sources, source)


def dimension_of(policy: Silence | Rate) -> str | None:
    """The one attribute that parts what it counts, where there is one."""
    names = [name for name in (*policy.match, *policy.group_by) if name not in ("source", "type")]
    return names[0] if names else None


def by_type(policy: Silence | Rate) -> bool:
    return "type" in policy.group_by


# --- what types can't say ---------------------------------------------------------------------------------------------


def check(catalog: Catalog) -> None:
    """Raises CatalogError."""
    seen = {policy.name for policy in catalog.policies}
    for policy in catalog.flows:
        where = f"{FILE}: {policy.name}"
        if policy.name in seen:
            raise CatalogError(f"{where}: this name is used twice")
        seen.add(policy.name)
        if policy.calendar not in catalog.calendars:
            raise CatalogError(f"{where}: calendar: there is no calendar {policy.calendar}")
        if isinstance(policy, Backlog):
            _check_backlog(where, policy, catalog)
        else:
            _check_counted(where, policy, catalog)
        if not isinstance(policy, Silence) and policy.until is not None and policy.until > policy.limit:
            raise CatalogError(f"{where}: until: it must not be above the limit")


def _check_counted(where: str, policy: Silence | Rate, catalog: Catalog) -> None:
    known = ("source", *(("type",) if isinstance(policy, Rate) else ()), *catalog.dimensions)
    _check_names(where, "group_by", policy.group_by, known)
    _check_names(where, "match", policy.match, catalog.dimensions)
    names = {name for name in (*policy.match, *policy.group_by) if name in catalog.dimensions}
    if len(names) > 1:
        raise CatalogError(f"{where}: match: events are counted by one attribute at a time, not by {_list(names)}")
    if isinstance(policy, Silence):
        if names and not policy.match:
            raise CatalogError(f"{where}: group_by: name the values of {_list(names)} in match: who is waited for?")
        if policy.within is not None and policy.within.us < 60_000_000:
            raise CatalogError(f"{where}: within: silence is told by the minute; {policy.within} is less than 1m")
        if policy.within is None and (policy.events or policy.match):
            raise CatalogError(f"{where}: within: auto is for whole sources; say how long")
    elif not 60_000_000 <= policy.window.us <= _LONGEST.us:
        raise CatalogError(f"{where}: window: it must be 1m to {_LONGEST}")


def _check_backlog(where: str, policy: Backlog, catalog: Catalog) -> None:
    model = catalog.models.get(policy.model)
    if model is None:
        raise CatalogError(f"{where}: model: there is no model {policy.model}")
    stages = {step.name for step in model.milestones if not step.beside}
    for name in policy.stages:
        if name not in stages and name != _NO_STAGE:
            raise CatalogError(f"{where}: stages: {name} is no stage of model {policy.model}")
    _check_names(where, "group_by", policy.group_by, (*COLUMNS, "stage"))
    _check_names(where, "match", policy.match, COLUMNS)


def _check_names(where: str, entry: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise CatalogError(f"{where}: {entry}: {name} is none of {', '.join(known)}")


def _list(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))


# --- what probably means something else -------------------------------------------------------------------------------


def doubts(catalog: Catalog, event_types: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """(policy, entry, text) of what can be used but says probably not what is meant. `event_types`: those known."""
    types = list(event_types)
    for policy in catalog.flows:
        if isinstance(policy, Backlog):
            continue
        failures = policy.failures if isinstance(policy, Rate) else []
        for entry, patterns in (("events", policy.events), ("failures", failures)):
            for pattern in patterns:
                if not any(fnmatchcase(one, pattern) for one in types):
                    yield policy.name, entry, f"nothing that Milepost knows tells {pattern}; senders of your own may"
        for source in policy.sources:
            if "*" not in source and source not in catalog.sources:
                yield policy.name, "sources", f"{source} is not in sources.yaml: is it written so?"
