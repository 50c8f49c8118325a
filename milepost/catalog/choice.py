"""Which policy of several that promise the same runs for a journey, and why that one. Pure.

Policies that promise the same (model, kind, start, end, date and `per`) are a family. Of a family one runs: the first
that matches, ordered by the number of attributes that it asks for, then by priority, then by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from milepost.catalog.policy import Policy
from milepost.catalog.schema import Catalog

Scalar = str | int | float | bool | None
Attributes = Mapping[str, Scalar]
Family = tuple[str, str | None, str | None, str | None, str | None]
EXCEPTION: Final = {name: f"exception_{name}" for name in ("kind", "type", "code")}
"""What a policy of kind exception asks of the exception, told as attributes; its alerts may be grouped by them too."""

_NUMBER: Final = r"(-?\d+(?:\.\d+)?)"
_BOUND: Final = re.compile(rf"(>=|<=|>|<)\s*{_NUMBER}")
_SPAN: Final = re.compile(rf"{_NUMBER}\s*\.\.\s*{_NUMBER}")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two bounds that belong to it, or not (`open_low`, `open_high`); None: without end."""

    low: Decimal | None = None
    high: Decimal | None = None
    open_low: bool = False
    open_high: bool = False

    def holds(self, number: Decimal) -> bool:
        if self.low is not None and (number < self.low or (self.open_low and number == self.low)):
            return False
        return self.high is None or number < self.high or (number == self.high and not self.open_high)


@dataclass(frozen=True, slots=True)
class Wish:
    """What one policy asks for: of each attribute one of these values (`plain`), or a number in one of these ranges."""

    name: str
    priority: int
    values: tuple[tuple[str, frozenset[str]], ...]
    ranges: tuple[tuple[str, frozenset[str], tuple[Range, ...]], ...] = ()

    @property
    def rank(self) -> tuple[int, int, str]:
        """Those that come first win."""
        return (-len(self.values) - len(self.ranges), -self.priority, self.name)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.values] + [name for name, _, _ in self.ranges]

    def applies(self, attributes: Attributes) -> bool:
        """Whether every attribute asked for has one of the values asked for, without regard to case."""
        for name, values in self.values:
            if plain(attributes.get(name)) not in values:
                return False
        return all(_holds(attributes.get(name), values, spans) for name, values, spans in self.ranges)

    def lacks(self, attributes: Attributes) -> list[str]:
        """The attributes that are otherwise than asked for."""
        values = [name for name, wanted in self.values if plain(attributes.get(name)) not in wanted]
        return values + [name for name, values, spans in self.ranges if not _holds(attributes.get(name), values, spans)]


def _holds(value: Scalar, values: frozenset[str], ranges: tuple[Range, ...]) -> bool:
    if plain(value) in values:
        return True
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return False
    return number.is_finite() and any(span.holds(number) for span in ranges)


def plain(value: Scalar) -> str:
    """The comparable form of an attribute: its text without regard to case; empty when missing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip().casefold()


def range_of(text: str) -> Range | None:
    """ ">= 1000", "< 50" or "100..500" (both belong to it); None for a plain value."""
    bound, span = _BOUND.fullmatch(text.strip()), _SPAN.fullmatch(text.strip())
    if span is not None:
        return Range(Decimal(span[1]), Decimal(span[2]))
    if bound is None:
        return None
    number = Decimal(bound[2])
    if bound[1].startswith(">"):
        return Range(low=number, open_low=bound[1] == ">")
    return Range(high=number, open_high=bound[1] == "<")


def spellings(attribute: str, values: Iterable[str], catalog: Catalog) -> frozenset[str]:
    """The values, with every other way in which the catalog knows a partner to be written."""
    aliases = catalog.aliases.get(attribute, {})
    names = {aliases.get(value.strip().lower(), value) for value in values}
    forms = {form for form, name in aliases.items() if name in names}
    return frozenset(plain(value) for value in (*values, *names, *forms))


def wish_of(policy: Policy, catalog: Catalog) -> Wish:
    values: list[tuple[str, frozenset[str]]] = []
    ranges: list[tuple[str, frozenset[str], tuple[Range, ...]]] = []
    for name, told in policy.match.items():
        spans = tuple(span for text in told if (span := range_of(text)) is not None)
        wanted = spellings(name, [text for text in told if range_of(text) is None], catalog)
        if spans:
            ranges.append((name, wanted, spans))
        else:
            values.append((name, wanted))
    for name, attribute in EXCEPTION.items():
        if asked := getattr(policy.exception, name):
            values.append((attribute, frozenset(map(plain, asked))))
    return Wish(policy.name, policy.priority, tuple(values), tuple(ranges))


def family_of(policy: Policy) -> Family:
    return (policy.model, f"{policy.kind}:{policy.start}", policy.end, policy.date, policy.per)


def relatives(policy: Policy, catalog: Catalog) -> list[Wish]:
    """The policies of its family, itself too, in the order in which they are tried."""
    family = family_of(policy)
    return sorted((wish_of(one, catalog) for one in catalog.policies if family_of(one) == family), key=_rank)


def _rank(wish: Wish) -> tuple[int, int, str]:
    return wish.rank


# --- why --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """Why a policy runs: the attributes that it asked for with their values, and why the others of its family don't."""

    matched: Mapping[str, Scalar]
    others: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.matched or self.others)

    def __str__(self) -> str:
        matched = " and ".join(f"{name.replace('_', ' ')} is {value}" for name, value in self.matched.items())
        others = "; ".join(f"not {name}: {why}" for name, why in self.others.items())
        return "; ".join(filter(None, (matched, others)))


def choice(family: Sequence[Wish], name: str, attributes: Attributes) -> Choice | None:
    """Why `name` runs for these attributes; None when it doesn't."""
    chosen = next((wish for wish in family if wish.applies(attributes)), None)
    if chosen is None or chosen.name != name:
        return None
    others = {wish.name: _lost(wish, chosen, attributes) for wish in family if wish is not chosen}
    return Choice({one: attributes.get(one) for one in chosen.names}, others)


def _lost(wish: Wish, chosen: Wish, attributes: Attributes) -> str:
    lacking = wish.lacks(attributes)
    if lacking:
        told = (f"{name.replace('_', ' ')} is {_shown(attributes.get(name))}" for name in lacking)
        return f"it is for others ({', '.join(told)})"
    if len(wish.names) < len(chosen.names):
        return "it asks for fewer attributes"
    return "its priority is lower" if wish.priority < chosen.priority else "its name comes later"


def _shown(value: Scalar) -> str:
    return "not known" if value is None or value == "" else str(value)
