"""SLA policies compiled for look-up: which of them runs for a journey, and when it falls due. Pure.

Which of several that promise the same runs is said in milepost/catalog/choice.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal

from milepost.calendar import DAYS, FIRST_YEAR, LAST_YEAR, Calendar, CalendarBoundsError, calendar_of
from milepost.catalog.choice import EXCEPTION, Family, Wish, family_of, plain, spellings, wish_of
from milepost.catalog.policy import CalendarChoice, Policy
from milepost.catalog.schema import Catalog, Milestone, Model
from milepost.clock import from_us, to_us
from milepost.exceptions import Interval, Rules
from milepost.journeystate import Scalar
from sla.cutoff import CutOff, minutes_of

FAULTS: Final = (ArithmeticError, LookupError, TypeError, ValueError)
"""What a faulty policy can raise: it is then disabled instead."""

_MICROSECOND: Final = timedelta(microseconds=1)
_CACHED_DATES: Final = 10_000
_CACHED_CATALOGS: Final = 8
_FLOOR_US: Final = to_us(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC))
_CEILING_US: Final = to_us(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC))

_PAUSES: Final[Mapping[str, str]] = {"between": "root", "dwell": "root", "by": "never", "exception": "never"}
"""What lets clocks of a kind stand still, unless the policy says. A promised date doesn't move."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a clock does not run although its policy applies: told, never raised."""

    policy: str
    reason: Literal["unreadable date", "outside the calendar", "faulty policy"]
    detail: str


class UnreadableDate(ValueError):
    """An attribute that should be a date is none."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledPolicy:
    """One policy, ready to run. Lengths in microseconds of the calendar's business time.

    `after_start` and `after_end` are the milestones of higher rank in the flow, those beside it left out.
    `variants` are the same policy by the value of the attribute that chooses its calendar. `unconditional`: it runs for
    everything, by one calendar. Deadlines of clocks of `kept_version` are taken over; where an attribute chooses the
    calendar that is none, since it may have changed.
    `start_events`, `end_events`, `higher_events` and `cancel_event` say what counts on a single object (`per`).
    """

    spec: Policy
    version: str
    calendar: Calendar
    wish: Wish
    after_start: frozenset[str]
    after_end: frozenset[str]
    start_events: tuple[str, ...]
    end_events: tuple[str, ...]
    higher_events: tuple[str, ...]
    cancel_event: str
    name: str = field(init=False)
    kind: str = field(init=False)
    start: str | None = field(init=False)
    end: str | None = field(init=False)
    per: str | None = field(init=False)
    date: str = field(init=False)
    within_us: int = field(init=False)
    warn_us: int | None = field(init=False)
    all_hours: bool = field(init=False)
    wanted: bool = field(init=False)
    reads_attributes: bool = field(init=False)
    variants: Mapping[str, CompiledPolicy] = field(default_factory=dict)
    by_attribute: str = ""
    cut_off: CutOff | None = None
    unconditional: bool = field(init=False)
    kept_version: str = field(init=False)
    may_pause: bool = field(init=False)
    subject_pauses: bool = field(init=False)
    _dates: dict[str, int] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        within = self.spec.within.us if self.spec.within is not None else 0
        share = self.spec.warn_at
        for name in ("name", "kind", "start", "end", "per"):
            object.__setattr__(self, name, getattr(self.spec, name))
        if self.spec.kind == "dwell":
            object.__setattr__(self, "end", None)
        object.__setattr__(self, "date", self.spec.date or "")
        object.__setattr__(self, "within_us", within)
        object.__setattr__(self, "warn_us", None if share is None else int(within * share))
        object.__setattr__(self, "all_hours", self.calendar.hours is None)
        object.__setattr__(self, "wanted", bool(self.wish.values or self.wish.ranges))
        object.__setattr__(self, "reads_attributes", self.wanted or bool(self.date) or bool(self.variants))
        chooses = isinstance(self.spec.calendar, CalendarChoice)
        object.__setattr__(self, "unconditional", not self.wanted and not chooses)
        object.__setattr__(self, "kept_version", "" if chooses else self.version)
        pause = self.spec.pause or _PAUSES[self.spec.kind]
        object.__setattr__(self, "may_pause", pause != "never")
        object.__setattr__(self, "subject_pauses", pause != "root")

    def applies(self, attributes: Mapping[str, Scalar]) -> bool:
        """Whether every attribute asked for has one of the values asked for, without regard to case."""
        return self.wish.applies(attributes)

    def variant(self, attributes: Mapping[str, Scalar]) -> CompiledPolicy:
        """The same policy with the calendar that goes by these attributes."""
        return self.variants.get(plain(attributes.get(self.by_attribute)), self) if self.variants else self

    def pauses(self, exception: Interval) -> bool:
        """Whether a clock of this policy stands still while this exception is open."""
        told = self.spec.pause
        if isinstance(told, list):
            return exception.type in told or f"{exception.type}:{exception.last.code}" in told
        return exception.kind == "held"

    def run(self, since_us: int, until_us: int) -> int:
        """The business time from one time to a later one."""
        return self.calendar.between_us(bounded(since_us), bounded(until_us))

    def after(self, at_us: int, length_us: int) -> int:
        """When `length_us` of business time has run since `at_us`. Raises CalendarBoundsError."""
        if self.all_hours:
            return bounded(at_us + length_us)
        if length_us <= 0:
            return to_us(self.calendar.add(from_us(at_us), timedelta(microseconds=length_us)))
        return bounded(self.calendar.add_us(bounded(at_us), length_us))

    def deadline(self, start_us: int) -> tuple[int, int | None]:
        """Due and warn time of a clock that goes by when it started."""
        if self.cut_off is not None:
            due = self.after(self.cut_off.due_us(start_us), self.spec.grace.us)
            return due, self.warning_before(start_us, due)
        if self.all_hours:
            due = bounded(start_us + self.within_us)
            return due, None if self.warn_us is None else start_us + self.warn_us
        due = self.after(start_us, self.within_us)
        return due, None if self.warn_us is None else self.after(start_us, self.warn_us)

    def promised(self, value: Scalar) -> int:
        """Due time by the date that an attribute tells, with the grace. Raises UnreadableDate, CalendarBoundsError."""
        if not isinstance(value, str):
            raise UnreadableDate(f"{value!r} is not a date")
        known = self._dates.get(value)
        if known is None:
            if len(self._dates) >= _CACHED_DATES:
                self._dates.clear()
            known = self._dates[value] = self._promised(value.strip())
        return known

    def _promised(self, text: str) -> int:
        grace = self.spec.grace.us
        day = _day(text)
        if day is not None:
            # a day's last instant: what happens at midnight happens on the next day
            return self.after(to_us(self.calendar.end_of_day(day)), grace) - 1
        return self.after(_moment(text, self.calendar), grace)

    def warning_before(self, start_us: int, due_us: int) -> int | None:
        """The warn time of a clock whose due time is given; None when nothing lies between."""
        share = self.spec.warn_at
        if share is None or due_us <= start_us:
            return None
        if self.all_hours:
            return start_us + int((due_us - start_us) * share)
        business = self.calendar.between(from_us(start_us), from_us(due_us)) // _MICROSECOND
        return None if business <= 0 else self.after(start_us, int(business * share))


def _day(text: str) -> date | None:
    """The date, when the text is nothing but one."""
    if len(text) > len("2026-11-20"):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UnreadableDate(f'"{text}" is not a date; write it like 2026-11-20 or 2026-11-20T14:00:00Z') from error


def _moment(text: str, calendar: Calendar) -> int:
    """An ISO date and time; without an offset it is the calendar's wall time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UnreadableDate(f'"{text}" is not a date; write it like 2026-11-20 or 2026-11-20T14:00:00Z') from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=calendar.zone)
    return bounded(to_us(moment))


def bounded(at_us: int) -> int:
    """The same time. Raises CalendarBoundsError outside the years that calendars know."""
    if not _FLOOR_US <= at_us <= _CEILING_US:
        raise CalendarBoundsError(f"a time outside the years {FIRST_YEAR} to {LAST_YEAR}")
    return at_us


class Compiled:
    """The policies of one catalog version, by model and family, those of kind exception apart.

    `lesser`: the types that stand in for a model's first root type. `relatives`: what all policies of a policy's family
    ask for. `disabled` says what is wrong with the faulty ones.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.version = catalog.version
        self.rules: Rules = catalog.exceptions
        self.lesser = {name: frozenset(model.roots[1:]) for name, model in catalog.models.items()}
        self.policies: dict[str, CompiledPolicy] = {}
        self.disabled: dict[str, str] = {}
        self.families: dict[str, list[list[CompiledPolicy]]] = {}
        self.exceptions: dict[str, list[list[CompiledPolicy]]] = {}
        self.relatives: dict[str, list[Wish]] = {}
        families: dict[Family, list[CompiledPolicy]] = {}
        calendars: dict[str, Calendar] = {}
        for policy in catalog.policies:
            try:
                compiled = _compile(policy, catalog, calendars)
            except FAULTS as error:
                self.disabled[policy.name] = f"{type(error).__name__}: {error}"
                continue
            self.policies[policy.name] = compiled
            families.setdefault(family_of(policy), []).append(compiled)
        for (model, *_), members in families.items():
            members.sort(key=lambda policy: policy.wish.rank)
            wishes = [policy.wish for policy in members]
            self.relatives.update((policy.name, wishes) for policy in members)
            target = self.exceptions if members[0].kind == "exception" else self.families
            target.setdefault(model, []).append(members)

    def disable(self, policy: CompiledPolicy, error: Exception) -> Verdict:
        """Take a policy out of service for this process."""
        self.disabled[policy.name] = f"{type(error).__name__}: {error}"
        self.policies.pop(policy.name, None)
        for families in (*self.families.values(), *self.exceptions.values()):
            for members in families:
                members[:] = [member for member in members if member.name != policy.name]
        return Verdict(policy.name, "faulty policy", self.disabled[policy.name])


def select(family: Iterable[CompiledPolicy], attributes: Mapping[str, Scalar]) -> CompiledPolicy | None:
    """The policy of a family that runs for these attributes."""
    for policy in family:
        if not policy.wanted or policy.applies(attributes):
            return policy.variant(attributes) if policy.variants else policy
    return None


_catalogs: dict[str, Compiled] = {}


def compile_catalog(catalog: Catalog) -> Compiled:
    """The compiled policies of a catalog; one object per version and process, so that what is disabled stays so."""
    known = _catalogs.get(catalog.version)
    if known is None:
        if len(_catalogs) >= _CACHED_CATALOGS:
            _catalogs.pop(next(iter(_catalogs)))
        known = _catalogs[catalog.version] = Compiled(catalog)
    return known


def _compile(policy: Policy, catalog: Catalog, calendars: dict[str, Calendar]) -> CompiledPolicy:
    told = policy.calendar
    if isinstance(told, str):
        return _with_calendar(policy, catalog, _calendar(told, catalog, calendars))
    variants = {
        form: _with_calendar(policy, catalog, _calendar(name, catalog, calendars))
        for value, name in told.calendars.items()
        for form in spellings(told.attribute, [value], catalog)
    }
    usual = _calendar(told.otherwise, catalog, calendars)
    return _with_calendar(policy, catalog, usual, variants=variants, by_attribute=told.attribute)


def _calendar(name: str, catalog: Catalog, calendars: dict[str, Calendar]) -> Calendar:
    if name not in calendars:
        calendars[name] = calendar_of(name, catalog.calendars[name])
    return calendars[name]


def _with_calendar(policy: Policy, catalog: Catalog, calendar: Calendar, **more: Any) -> CompiledPolicy:
    model = catalog.models[policy.model]
    start_rank, end_rank = _rank(model, policy.start), _rank(model, policy.end)
    return CompiledPolicy(
        spec=policy,
        version=catalog.policy_versions[policy.name],
        calendar=calendar,
        wish=wish_of(policy, catalog),
        after_start=frozenset(item.name for item in _after(model, start_rank)),
        after_end=frozenset(item.name for item in _after(model, end_rank)),
        start_events=_events(model.milestones[start_rank : start_rank + 1]) if policy.start else (),
        end_events=_events(model.milestones[end_rank : end_rank + 1]) if policy.end else (),
        higher_events=_events(_after(model, start_rank)),
        cancel_event=f"{policy.per}.cancelled",
        cut_off=_cut_off(policy, calendar, catalog),
        **more,
    )


def _cut_off(policy: Policy, calendar: Calendar, catalog: Catalog) -> CutOff | None:
    if policy.cut_off is None:
        return None
    if policy.cut_off == "calendar":
        told = catalog.calendars[calendar.name].cut_offs
        minutes = [minutes_of(told[day]) if day in told else None for day in DAYS]
    else:
        minutes = [minutes_of(policy.cut_off)] * len(DAYS)
    return CutOff(calendar, minutes, policy.days, None if policy.due_at is None else minutes_of(policy.due_at))


def of_exception(exception: Interval) -> dict[str, Scalar]:
    """What policies of kind exception match, beside the object's attributes."""
    told = {"kind": exception.kind, "type": exception.type, "code": exception.last.code}
    return {EXCEPTION[name]: value for name, value in told.items()}


def _rank(model: Model, milestone: str | None) -> int:
    """The place of a milestone; -1 for none."""
    return -1 if milestone is None else [item.name for item in model.milestones].index(milestone)


def _after(model: Model, rank: int) -> list[Milestone]:
    """The milestones that end a dwelling at this rank; none when there is no such rank."""
    return [item for item in model.milestones[rank + 1 :] if not item.beside] if rank >= 0 else []


def _events(milestones: Iterable[Milestone]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(event for milestone in milestones for event in milestone.events))
