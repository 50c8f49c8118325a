"""How a key of a type is made comparable, and which words are no key at all: the one place that knows. Pure.

The steps of a rule run in their order, and again until the key no longer changes: a key that was made comparable once
(on a page, in an address, in another system) is found again. Rules of which that can't be said are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from milepost.catalog.schema import Catalog, KeyRule, KeyStep
from milepost.errors import CatalogError

Form = Callable[[str], str]

ROUNDS: Final = 5
_NOT_ALNUM: Final = re.compile(r"[\W_]+")
STEPS: Final[Mapping[str, Form]] = {
    "strip": str.strip,
    "upper": str.upper,
    "lower": str.lower,
    "strip_zeros": lambda key: key.lstrip("0") or key[:1],
    "alphanumeric": lambda key: _NOT_ALNUM.sub("", key),
}
_PROBES: Final = (
    *(
        "S00024",
        " s-0012 ",
        "000123",
        "PO 4711",
        "WH/OUT/00047",
        "1Z 999 AA1 01 2345 6784",
        "00-00-7",
        "-0-A-00-",
        "0 0",
    ),
    *("INV/2026/00010", "0A0B0", "ä ö/ß", "aaaa", "AbAbAb", "1111", "_x_", "#1001", "x" * 60),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A key rule compiled. `form` makes a key comparable; `junk` are the words, folded, that are no key."""

    form: Form
    junk: frozenset[str]
    namespace: str

    def key(self, written: str) -> str | None:
        """The comparable form; None for junk."""
        key = self.form(written)
        return None if not key or key.casefold() in self.junk else key


def compile_rules(catalog: Catalog) -> tuple[dict[str, Rule], Rule]:
    """The rules by key type, and that of the types without one."""
    return {kind: _compile(rule, catalog.junk) for kind, rule in catalog.keys.items()}, _compile(
        KeyRule(), catalog.junk
    )


def normalise(catalog: Catalog, kind: str, key: str) -> str:
    """The comparable form of a key of type `kind`; empty when nothing is left of it."""
    return form_of(catalog.keys.get(kind, KeyRule()))(key)


def form_of(rule: KeyRule) -> Form:
    """What makes keys of this rule comparable."""
    steps = tuple(_step(item) for item in rule.normalise)
    if len(steps) == 1 and isinstance(rule.normalise[0], str):
        return steps[0]

    def form(key: str) -> str:
        for _ in range(ROUNDS):
            before = key
            for step in steps:
                key = step(key)
            if key == before:
                break
        return key

    return form


def words_of(rule: KeyRule, junk: list[str]) -> list[str]:
    """The words that are no key of a type: `junk` are those of all types."""
    keys = {word.casefold() for word in rule.not_junk}
    return [word for word in (*junk, *rule.junk) if word.casefold() not in keys]


def check(catalog: Catalog) -> None:
    """Raises CatalogError for steps that say nothing or too much, and for those that never come to an end."""
    for kind, rule in catalog.keys.items():
        where = f"journeys.yaml: {kind}: normalise"
        for step in rule.normalise:
            if isinstance(step, KeyStep):
                _check_step(where, step)
        form = form_of(rule)
        for probe in (*_PROBES, *_own_probes(rule)):
            once = form(probe)
            if form(once) != once:
                raise CatalogError(
                    f'{where}: "{probe}" becomes "{once}", and that becomes "{form(once)}": a key must stay as it is'
                    " when it is normalised again"
                )


def _compile(rule: KeyRule, junk: list[str]) -> Rule:
    form = form_of(rule)
    words = words_of(rule, junk)
    return Rule(
        form, frozenset(word.casefold() for written in words for word in (written, form(written))), rule.namespace
    )


def _step(step: str | KeyStep) -> Form:
    if isinstance(step, str):
        return STEPS[step]
    if step.drop is not None:
        table = str.maketrans("", "", step.drop)
        return lambda key: key.translate(table)
    if step.prefix is not None:
        prefixes = tuple(sorted(_several(step.prefix), key=len, reverse=True))
        return lambda key: _without(key, prefixes)
    pattern, put = re.compile(step.replace or ""), step.with_
    return lambda key: pattern.sub(put, key)


def _without(key: str, prefixes: tuple[str, ...]) -> str:
    """`key` without the first of the prefixes that it begins with, if anything is left of it."""
    if key.startswith(prefixes):
        for prefix in prefixes:
            if key.startswith(prefix) and key != prefix:
                return key[len(prefix) :]
    return key


def _check_step(where: str, step: KeyStep) -> None:
    if sum(value is not None for value in (step.drop, step.prefix, step.replace)) != 1:
        raise CatalogError(f"{where}: a step has one of drop, prefix and replace")
    if step.drop == "" or (step.prefix is not None and not all(_several(step.prefix) or [""])):
        raise CatalogError(f"{where}: a step must name what it takes away")
    if step.with_ and step.replace is None:
        raise CatalogError(f"{where}: with: only replace puts something in the place of what it finds")
    if step.replace is not None:
        try:
            re.compile(step.replace).sub(step.with_, "")
        except (re.error, IndexError) as error:
            raise CatalogError(f"{where}: replace: {step.replace}: {error}") from error


def _own_probes(rule: KeyRule) -> list[str]:
    """Keys made of what the steps look for."""
    found: list[str] = []
    for step in rule.normalise:
        if isinstance(step, KeyStep):
            texts = [*_several(step.prefix or []), step.drop or "", step.with_]
            found += [text for text in texts if text]
    cases = [text.lower() for text in found] + [text.upper() for text in found] + found
    return [*cases, *(f"{text}{text}001" for text in cases), *(f"0{text} 00-{text}1" for text in cases)]


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
