"""Journey models compiled for look-up, and what a catalog says of keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from milepost.catalog import loader
from milepost.catalog.keys import compile_rules
from milepost.catalog.schema import CORRELATION, Catalog, Model

MAX_NAMESPACE: Final = 256
"""Characters: a namespace is part of an index row, which holds 2,700 bytes."""
MAX_VALUE: Final = 128
"""Characters of a dimension's value that are kept with a journey and counted by: four of them are in an index row."""


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A milestone with its rank; `all_type` and `beside` as in the catalog."""

    name: str
    rank: int
    all_type: str | None
    beside: bool
    cancelled: str
    """The event type that cancels an object of `all_type`."""


@dataclass(frozen=True)
class CompiledModel:
    """A journey model.

    `below[t]` holds all types below t, `above[t]` those above it. `root_rank[t]` is the preference of a root type,
    0 the first. `steps_of` maps an event type to the milestones it counts for. `all_types` are the types that some
    milestone needs all members of.
    """

    name: str
    types: frozenset[str]
    below: Mapping[str, frozenset[str]]
    above: Mapping[str, frozenset[str]]
    root_rank: Mapping[str, int]
    steps: tuple[Step, ...]
    steps_of: Mapping[str, tuple[Step, ...]]
    all_types: frozenset[str]
    source: Model

    @cached_property
    def cancelling(self) -> tuple[str, ...]:
        return tuple(self.source.cancelled_by)


def compile_model(model: Model) -> CompiledModel:
    steps = tuple(
        Step(item.name, rank, item.all, item.beside, f"{item.all}.cancelled")
        for rank, item in enumerate(model.milestones)
    )
    steps_of: dict[str, tuple[Step, ...]] = {}
    for step, item in zip(steps, model.milestones, strict=True):
        for event_type in item.events:
            steps_of[event_type] = (*steps_of.get(event_type, ()), step)
    below = {kind: frozenset(kinds) for kind, kinds in loader.descendants(model).items()}
    above = {kind: frozenset(one for one in below if kind in below[one]) for kind in below}
    ranks = {kind: rank for rank, kind in enumerate(model.roots)}
    all_types = frozenset(step.all_type for step in steps if step.all_type is not None)
    return CompiledModel(
        model.name, frozenset(below) | {CORRELATION}, below, above, ranks, steps, steps_of, all_types, model
    )


def stands_over(upper: str, lower: str, linked: int, model: CompiledModel) -> bool:
    """Whether a model puts one type above the other: by its tree; of two types that it doesn't order, the direction of
    an explicit link counts (`linked`)."""
    if lower in model.below.get(upper, ()):
        return True
    if not linked or lower not in model.types or upper not in model.types:
        return False
    return upper not in model.below.get(lower, ())


class Compiled:
    """All that the correlator asks of a catalog, compiled once per version."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.version = catalog.version
        self.models = tuple(compile_model(model) for model in catalog.models.values())
        self.root_types = frozenset(kind for model in self.models for kind in model.root_rank)
        self.dimensions = tuple(catalog.dimensions)
        self.ranks = {name: source.rank for name, source in catalog.sources.items() if source.rank}
        self._rules, self._plain = compile_rules(catalog)
        self._related: dict[tuple[str, str], bool] = {}
        self._subjects: dict[str, tuple[str, ...]] = {}

    def related(self, one: str, other: str) -> bool:
        """Whether one type is an ancestor of the other in any model."""
        pair = (one, other)
        known = self._related.get(pair)
        if known is None:
            known = any(other in m.below.get(one, ()) or one in m.below.get(other, ()) for m in self.models)
            self._related[pair] = known
        return known

    def subject_types(self, event_type: str) -> tuple[str, ...]:
        """The key types an event is about, in order of preference."""
        known = self._subjects.get(event_type)
        if known is None:
            known = loader.subject_types(self.catalog.models.values(), event_type)
            self._subjects[event_type] = known
        return known

    def normalise(self, kind: str, key: str) -> str | None:
        """The comparable form of a key; None for junk."""
        return self._rules.get(kind, self._plain).key(key)

    def namespace_of(self, kind: str) -> str:
        """none, source, or the attribute that gives keys of this type their namespace."""
        return self._rules.get(kind, self._plain).namespace

    def namespace(self, kind: str, source: str, attributes: Mapping[str, object]) -> tuple[str, bool]:
        """The namespace of a key, and whether the attribute that should give it is missing, or too long for a name."""
        by = self.namespace_of(kind)
        if by == "none":
            return "", False
        if by == "source":
            return f"source={source}", False
        value = attributes.get(by)
        name = "" if value is None else self.one_name(by, str(value))
        if not 0 < len(name) <= MAX_NAMESPACE:
            return f"source={source}", True
        return f"{by}={name}", False

    def one_name(self, attribute: str, value: str) -> str:
        """The catalog's one name of a partner, however it is spelled."""
        value = value.strip()
        return self.catalog.aliases.get(attribute, {}).get(value.lower(), value)
