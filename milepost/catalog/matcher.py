"""Matchers: which of the things that alerts are made of a silence or a maintenance window is about. Pure.

A matcher compares one label with values: `=` with any of them, `!=` with none. A value that ends in `*` stands for all
that begin so. A label that is missing is like an empty one, and no value with `*` matches it. Where matchers are typed,
a comma within a value is written with a backslash before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

Op = Literal["=", "!="]
Label = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
Value = Annotated[str, Meta(max_length=256)]
MOST: Final = 20
"""So many matchers a silence has at most, and each so many values."""

BACK: Final = "\\"
_COMMA: Final = re.compile(r"(?<!\\),")
_WRITTEN: Final = re.compile(r"([a-z][a-z0-9_]{0,63})\s*(!?=)\s*(.*)", re.DOTALL)
_CLOSED: Final[Mapping[str, frozenset[str]]] = {
    "kind": frozenset({"sla", "anomaly", "reconciliation", "platform"}),
    "severity": frozenset({"info", "warning", "critical"}),
}


class Matcher(Struct, frozen=True, forbid_unknown_fields=True):
    """One condition on a label."""

    label: Label
    op: Op
    values: Annotated[tuple[Value, ...], Meta(min_length=1, max_length=MOST)]

    def __str__(self) -> str:
        return f"{self.label}{self.op}{','.join(value.replace(',', BACK + ',') for value in self.values)}"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet it."""
        return self._found(labels.get(self.label, "")) is (self.op == "=")

    def _found(self, value: str) -> bool:
        return any(
            bool(value) and value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted
            for wanted in self.values
        )

    def narrows(self) -> bool:
        """Whether it names something: a `=` with values that are neither everything nor nothing."""
        if self.op != "=" or "*" in self.values or "" in self.values:
            return False
        every = _CLOSED.get(self.label)
        return every is None or not every <= set(self.values)


def read(text: str) -> Matcher:
    """A matcher as it is typed: `warehouse=north`, `carrier!=dhl,ups`, `rule=picking-*`. Raises ValueError."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'"{text}" is no matcher; write it like warehouse=north, carrier!=dhl,ups or rule=picking-*')
    label, op, written = found.groups()
    values = tuple(value.strip().replace(BACK + ",", ",") for value in _COMMA.split(written))
    if len(values) > MOST:
        raise ValueError(f'"{text}": a matcher has {MOST} values at most')
    return Matcher(label, "!=" if op == "!=" else "=", values)


def of_mappings(match: Mapping[str, Sequence[str]], unless: Mapping[str, Sequence[str]]) -> tuple[Matcher, ...]:
    """The matchers of a definition in the catalog."""
    wanted = [Matcher(label, "=", tuple(values)) for label, values in sorted(match.items())]
    return (*wanted, *(Matcher(label, "!=", tuple(values)) for label, values in sorted(unless.items())))


def match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether all of them do."""
    return all(one.matches(labels) for one in matchers)


def everything(matchers: Iterable[Matcher]) -> bool:
    """Whether nothing in them says what they are about, so that they match (nearly) whatever happens."""
    return not any(one.narrows() for one in matchers)


def said(matchers: Sequence[Matcher]) -> str:
    """All of them in one line."""
    return " and ".join(map(str, matchers)) if matchers else "everything"
