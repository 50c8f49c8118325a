"""Reconciliations: two sources' views of the same objects, compared again and again."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta, Struct

from milepost.catalog.schema import Duration, Ident, Model, Severity
from milepost.errors import CatalogError

FILE = "reconciliations.yaml"
_LONGEST_TIMEOUT = Duration("24h")
Match = Literal["object", "journey", "day"]
Direction = Literal["left", "right"]
EventType = Annotated[str, Meta(min_length=3, max_length=128, pattern=r"^[^.*]+\.[^*]+$")]
Source = Annotated[str, Meta(min_length=1, max_length=256)]


class Side(Struct, frozen=True, forbid_unknown_fields=True):
    """One view: what some sources say by some event types, or that journeys have reached a milestone.

    No `sources`: all of them; in their names `*` stands for anything. `amount`, `currency`: attributes of the events.
    """

    title: str = ""
    sources: list[Source] = []
    not_sources: list[Source] = []
    events: list[EventType] = []
    milestone: Ident | None = None
    amount: str = "amount"
    currency: str = "currency"


class Tolerance(Struct, frozen=True, forbid_unknown_fields=True):
    """What is not worth an alert. `share`: of a day's objects. `percent` and `amount`: of what is compared with each
    other, the pair's or the day's amounts; the larger one counts."""

    share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    percent: Annotated[float, Meta(ge=0, le=100)] = 0.0
    amount: dict[str, Decimal] = {}


class Reconciliation(Struct, frozen=True, forbid_unknown_fields=True):
    """A comparison of two sides.

    presence: what the left side has, the right one has too (`both_ways`: and the other way round). amount: what both
    have is worth the same to both; by day, the sums are equal. count: so are the numbers of a day. `unless`: event
    types that excuse an object. `settle`: how old something must be before it counts as missing. `patience`: how long
    a side that tells of nothing new is waited for.
    """

    left: Side
    right: Side
    title: str = ""
    compare: Literal["presence", "count", "amount"] = "presence"
    match: Match | None = None
    model: Ident | None = None
    both_ways: bool = False
    unless: list[EventType] = []
    settle: Duration = Duration("2h")
    lookback: Duration = Duration("7d")
    patience: Duration = Duration("4h")
    every: Duration = Duration("1h")
    timeout: Duration = Duration("10m")
    zone: str = "UTC"
    tolerance: Tolerance = Tolerance()
    severity: Severity = "warning"
    notify: bool = True
    owner: str | None = None
    runbook: str | None = None

    @property
    def by(self) -> Match:
        """What is compared with what."""
        return self.match or ("day" if self.compare == "count" else "object")

    def side(self, direction: Direction) -> Side:
        return self.left if direction == "left" else self.right

    def name_of(self, direction: Direction) -> str:
        """A side in words."""
        side = self.side(direction)
        return side.title or side.milestone or ", ".join(side.sources or side.events)


def check(found: Mapping[str, Reconciliation], models: Mapping[str, Model]) -> None:
    """What types can't say. Raises CatalogError."""
    for name, one in found.items():
        where = f"{FILE}: {name}"
        _check_match(where, one, models)
        for direction in ("left", "right"):
            _check_side(f"{where}: {direction}", one, one.side(direction), models)
        for currency, amount in one.tolerance.amount.items():
            if not (amount.is_finite() and amount >= 0):
                raise CatalogError(f"{where}: tolerance: amount: {currency}: {amount} is no amount")
        for field in ("lookback", "every", "timeout"):
            if not getattr(one, field).us:
                raise CatalogError(f"{where}: {field}: it must be longer than 0s")
        if one.timeout.us > _LONGEST_TIMEOUT.us:
            raise CatalogError(f"{where}: timeout: it must not be longer than {_LONGEST_TIMEOUT}")
        try:
            ZoneInfo(one.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise CatalogError(f'{where}: zone: "{one.zone}" is not a known time zone') from error


def _check_match(where: str, one: Reconciliation, models: Mapping[str, Model]) -> None:
    if one.compare == "presence" and one.by == "day":
        raise CatalogError(f"{where}: match: presence is of objects or journeys; compare a day's count or amount")
    if one.compare == "count" and one.by != "day":
        raise CatalogError(f"{where}: match: count compares whole days; compare presence, to match by {one.by}")
    if one.by == "day" and one.unless:
        raise CatalogError(f"{where}: unless: only what is matched by object or journey can be excused")
    if one.both_ways and one.compare != "presence":
        raise CatalogError(f"{where}: both_ways: only a comparison of presence has a direction")
    if one.by != "journey" and one.model is not None:
        raise CatalogError(f"{where}: model: only a match by journey has one")
    if one.by == "journey" and one.model is None:
        raise CatalogError(f"{where}: a match by journey needs model")
    if one.model is not None and one.model not in models:
        raise CatalogError(f"{where}: model: there is no model {one.model}; there are {', '.join(sorted(models))}")


def _check_side(where: str, one: Reconciliation, side: Side, models: Mapping[str, Model]) -> None:
    if bool(side.events) == (side.milestone is not None):
        raise CatalogError(f"{where}: it needs events, or else a milestone")
    if side.milestone is None:
        return
    if one.model is None:
        raise CatalogError(f"{where}: milestone: only a match by journey has milestones")
    if side.milestone not in {step.name for step in models[one.model].milestones}:
        raise CatalogError(f"{where}: milestone: model {one.model} has no milestone {side.milestone}")
    if side.sources or side.not_sources:
        raise CatalogError(f"{where}: sources: a milestone has none; name events instead")
