"""The report on a month's SLAs: who attained what, and every breach. Pure; as HTML in sla_report_html."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

from dashboards.queries.journey import money_text
from dashboards.queries.objectives import Breach
from dashboards.queries.sla_report import DIMENSIONS, Spans, Tally
from dashboards.spreadsheet import as_csv
from milepost.calendar import Calendar, calendar_of
from milepost.catalog.objective import month_of, zone_of
from milepost.catalog.policy import Policy
from milepost.catalog.schema import Catalog
from milepost.errors import ConfigurationError, NotFound

UNKNOWN: Final = "unknown"
MONTH: Final = r"^((?:19|20|21)[0-9]{2})-(0[1-9]|1[0-2])$"
Narrowed = Mapping[str, str]
"""Only what has these values, without regard to case: of DIMENSIONS, and `policy`."""


@dataclass(frozen=True, slots=True)
class Line:
    """What fell due for one value of a dimension; `policy` is "" for all policies together."""

    dimension: str
    value: str
    policy: str
    clocks: int
    misses: int

    @property
    def attained(self) -> float:
        return 1 - self.misses / self.clocks


@dataclass(frozen=True)
class Report:
    """A month. `made_at`: what fell due later isn't in it; `public_url`: where people reach Milepost, for links."""

    month: str
    made_at: datetime
    catalog: Catalog
    narrowed: Narrowed
    tallies: Sequence[Tally]
    breaches: Sequence[Breach]
    public_url: str = ""

    @cached_property
    def policies(self) -> Mapping[str, Policy]:
        return {policy.name: policy for policy in self.catalog.policies}

    @cached_property
    def by_policy(self) -> list[Line]:
        """One line a policy, in the order of the catalog; those that are in it no more last."""
        order = {name: place for place, name in enumerate(self.policies)}
        lines = _lines("policy", self.tallies, lambda tally: tally.policy)
        return sorted(
            (line for line in lines if not line.policy), key=lambda line: (order.get(line.value, 999), line.value)
        )

    def by(self, dimension: str) -> list[Line]:
        """For each value, all policies together first, then each; the most misses first, and last what has no value.

        Empty when no value is known."""
        place = DIMENSIONS.index(dimension)
        lines = list(_lines(dimension, self.tallies, lambda tally: tally.values[place] or UNKNOWN))
        if all(line.value == UNKNOWN for line in lines):
            return []
        worst = {line.value: -line.misses for line in lines if not line.policy}
        return sorted(lines, key=lambda line: (line.value == UNKNOWN, worst[line.value], line.value, line.policy))

    @property
    def counted(self) -> list[Breach]:
        return [found for found in self.breaches if found.counts]

    @property
    def taken_back(self) -> list[Breach]:
        """Breaches that count against nobody: retracted by late evidence, absorbed, withdrawn."""
        return [found for found in self.breaches if not found.counts]

    @cached_property
    def _calendars(self) -> dict[str, Calendar]:
        return {name: calendar_of(name, spec) for name, spec in self.catalog.calendars.items()}

    def calendar(self, found: Breach) -> Calendar:
        """By which a breach was judged, as the catalog has it now."""
        name = found.evidence.get("calendar", "always")
        return self._calendars.get(name) or self._calendars["always"]

    def late(self, found: Breach) -> timedelta:
        """How late, in business time; of what is open still, so far."""
        end = found.stopped_at or found.ended_at or self.made_at
        return max(timedelta(), self.calendar(found).between(found.due_at, end))


def spans(catalog: Catalog, month: str, now: datetime) -> Spans:
    """The month by policy, in the zone of its calendar, up to the present. Raises ConfigurationError."""
    found = re.fullmatch(MONTH, month)
    if found is None:
        raise ConfigurationError(f"{month} is no month; write it like 2026-11")
    year, number = int(found[1]), int(found[2])
    zones = {policy.name: zone_of(policy, catalog) for policy in catalog.policies}
    made = {}
    for name, zone in {**zones, "": ZoneInfo("UTC")}.items():
        first, after = month_of(datetime(year, number, 15, tzinfo=UTC), zone)
        made[name] = (first, max(first, min(after, now)))
    return made


def narrow(tallies: Iterable[Tally], narrowed: Narrowed) -> list[Tally]:
    return [
        tally for tally in tallies if _matches(narrowed, tally.policy, dict(zip(DIMENSIONS, tally.values, strict=True)))
    ]


def narrow_breaches(found: Iterable[Breach], narrowed: Narrowed) -> list[Breach]:
    return [one for one in found if _matches(narrowed, one.policy, one.dimensions)]


def checked(narrowed: Mapping[str, str | None], catalog: Catalog) -> Narrowed:
    """What was asked for. Raises NotFound for a policy that the catalog doesn't have."""
    given = {name: value for name, value in narrowed.items() if value}
    policy = given.get("policy")
    if policy is not None and all(policy != one.name for one in catalog.policies):
        raise NotFound(f"there is no policy {policy}")
    return given


def _matches(narrowed: Narrowed, policy: str, values: Mapping[str, str | None]) -> bool:
    known = {"policy": policy, **values}
    return all((known.get(name) or UNKNOWN).casefold() == value.casefold() for name, value in narrowed.items())


def _lines(dimension: str, tallies: Iterable[Tally], value_of: Callable[[Tally], str]) -> Iterator[Line]:
    clocks: Counter[tuple[str, str]] = Counter()
    misses: Counter[tuple[str, str]] = Counter()
    for tally in tallies:
        for key in ((value_of(tally), ""), (value_of(tally), tally.policy)):
            clocks[key] += tally.clocks
            misses[key] += tally.misses
    for (value, policy), count in clocks.items():
        yield Line(dimension, value, policy, count, misses[value, policy])


def worth(found: Iterable[Breach]) -> dict[str, Decimal]:
    """The money in breaches by currency, each journey once."""
    amounts = {(one.model, one.key, one.namespace): (one.currency or "", one.amount) for one in found if one.amount}
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for currency, amount in amounts.values():
        sums[currency] += amount or 0
    return dict(sorted(sums.items()))


# --- CSV --------------------------------------------------------------------------------------------------------------


def attainment_csv(report: Report) -> str:
    """A row for each policy, then for each value of each dimension with each policy."""
    heads = ["dimension", "value", "policy", "target", "due", "in_time", "missed", "attained", "allowed"]
    lines = [*report.by_policy, *(line for name in DIMENSIONS for line in report.by(name))]
    return as_csv(heads, [_line_cells(report, line) for line in lines])


def _line_cells(report: Report, line: Line) -> list[str]:
    policy = report.policies.get(line.value if line.dimension == "policy" else line.policy)
    target = allowed = ""
    if policy is not None:
        target = f"{policy.objective.target:g}"
        allowed = f"{(1 - policy.objective.target) * line.clocks:.2f}"
    numbers = (line.clocks, line.clocks - line.misses, line.misses)
    shown = line.value if line.dimension == "policy" else line.policy or "all"
    return [line.dimension, line.value, shown, target, *(str(n) for n in numbers), f"{line.attained:.6f}", allowed]


def breaches_csv(report: Report) -> str:
    """Every breach; those that were taken back say so in `counts`."""
    heads = [
        "breach", "policy", "version", "counts", "end", "kind", "key", *DIMENSIONS, "started_at", "due_at",
        "reached_at", "late_seconds", "calendar", "amount", "currency", "why", "evidence",
    ]  # fmt: skip
    return as_csv(heads, [_breach_cells(report, one) for one in report.breaches])


def _breach_cells(report: Report, one: Breach) -> list[str]:
    counts = "yes" if one.counts else "no"
    late = f"{report.late(one).total_seconds():.0f}" if one.counts else ""
    money = money_text(one.amount) if one.amount is not None else ""
    return [
        str(one.breach_id), one.policy, one.policy_version, counts, one.end or "open", one.model, one.key,
        *(one.dimensions.get(name, "") for name in DIMENSIONS),
        iso(one.started_at), iso(one.due_at), iso(one.stopped_at), late, report.calendar(one).name, money,
        one.currency or "", one.evidence.get("why", ""), "; ".join(evidence(one)),
    ]  # fmt: skip


def iso(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def evidence(one: Breach) -> list[str]:
    """The events that prove it: "says: source id"."""
    events = [*one.evidence.get("events", []), *one.evidence.get("end", {}).get("events", [])]
    return [f"{event.get('says', '')}: {event.get('source')} {event.get('id')}" for event in events]
