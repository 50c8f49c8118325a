"""What happens in the network, before anyone tells Milepost: happenings, written down order by order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["ok", "retried", "failed", "rejected"]
Keys = Mapping[str, str | list[str]]
Attributes = Mapping[str, str]
Link = tuple[str, str, str, str]
"""Type of both ends, the parent's key, the child's key, and what it is."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A fact as its source knows it. `at`: seconds since 1970, by the true clock."""

    at: float
    id: str
    source: str
    type: str
    keys: Keys
    attributes: Attributes
    links: tuple[Link, ...]
    outcome: Outcome
    code: str
    reason: str
    correlation: str


@dataclass(slots=True)
class Journal:
    """Collects happenings; their ids count up from `name`, whatever their source."""

    name: str
    happenings: list[Happening] = field(default_factory=list)

    def say(
        self,
        at: float,
        source: str,
        kind: str,
        keys: Keys,
        attributes: Attributes | None = None,
        *,
        links: Iterable[Link] = (),
        outcome: Outcome = "ok",
        code: str = "",
        reason: str = "",
        correlation: str = "",
    ) -> None:
        number = f"{self.name}-{len(self.happenings)}"
        self.happenings.append(
            Happening(
                at, number, source, kind, keys, attributes or {}, tuple(links), outcome, code, reason, correlation
            )
        )
