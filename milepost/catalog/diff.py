"""What is different between two catalogs, entry by entry and field by field. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from milepost.catalog.policy import calendars_of
from milepost.catalog.schema import Catalog

NOT_SHOWN: Final = ("version", "policy_versions")
_WORDS: Final = {
    "policies": "policy",
    "flows": "policy",
    "aliases": "aliases of",
    "hub_limit": "hub limit",
    "classes": "class",
}
_LONGEST: Final = 100
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an entry: `path` like objective.target; None for what is not there."""

    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """An entry that is new, gone or changed. `section` is the catalog's: policies, calendars, routing …"""

    section: str
    name: str
    kind: Literal["new", "gone", "changed"]
    fields: tuple[Field, ...] = ()

    @property
    def title(self) -> str:
        return f"{_WORDS.get(self.section, self.section.removesuffix('s'))} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Diff:
    """What makes one catalog another. `judged_anew`: policies whose version differs though they read the same."""

    changes: tuple[Change, ...]
    judged_anew: Mapping[str, str]

    def lines(self) -> Iterator[str]:
        """For people; nothing where there is no difference."""
        marks = {"new": "+", "gone": "-", "changed": "~"}
        for change in self.changes:
            yield f"{marks[change.kind]} {change.title}{'' if change.kind == 'changed' else f' is {change.kind}'}"
            for field in change.fields:
                yield f"    {field.path or 'it'}: {_told(field, change.kind)}"
        for policy, why in self.judged_anew.items():
            yield f"~ policy {policy}: judged anew, because {why}"

    def summary(self) -> str:
        """In a few words, like policies: 2 changed, 1 new; calendars: 1 gone."""
        found: dict[str, Counter[str]] = {}
        for change in self.changes:
            found.setdefault(change.section, Counter())[change.kind] += 1
        told = {section: ", ".join(f"{number} {kind}" for kind, number in by.items()) for section, by in found.items()}
        return "; ".join(f"{section}: {words}" for section, words in told.items())


def diff(old: Catalog, new: Catalog) -> Diff:
    """What is different in `new`."""
    sections = [section for section in old.__struct_fields__ if section not in NOT_SHOWN]
    changes = tuple(change for name in sections for change in _section(name, getattr(old, name), getattr(new, name)))
    changed = {change.name for change in changes if change.section == "policies"}
    anew = {
        name: f"calendar {_calendar(new, name)} changed"
        for name, version in new.policy_versions.items()
        if name not in changed and old.policy_versions.get(name, version) != version
    }
    return Diff(changes, anew)


def _calendar(catalog: Catalog, policy: str) -> str:
    told = next(one.calendar for one in (*catalog.policies, *catalog.flows) if one.name == policy)
    return " or ".join(calendars_of(told))


def _section(section: str, old: Any, new: Any) -> Iterator[Change]:
    olds, news = _entries(old), _entries(new)
    if olds is None or news is None:
        fields = tuple(_fields("", _plain(old), _plain(new)))
        if fields:
            yield Change(section, "", "changed", fields)
        return
    for name in [*news, *(name for name in olds if name not in news)]:
        if name not in olds:
            yield Change(section, name, "new", tuple(_fields("", {}, stated(news[name]))))
        elif name not in news:
            yield Change(section, name, "gone")
        else:
            fields = tuple(_fields("", _plain(olds[name]), _plain(news[name])))
            if fields:
                yield Change(section, name, "changed", fields)


def _entries(value: Any) -> dict[str, Any] | None:
    """The named entries of a section or a field; None for one that has none."""
    if isinstance(value, list) and all(_name(item) for item in value):
        return {_name(item): item for item in value}
    if isinstance(value, dict) and all(isinstance(item, dict | msgspec.Struct) for item in value.values()):
        return value
    return None


def _name(item: Any) -> str:
    return str((item.get("name") if isinstance(item, dict) else getattr(item, "name", "")) or "")


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=repr)


def stated(entry: Any) -> Any:
    """What an entry says beside its name, without what goes without saying: fields at their default."""
    if not isinstance(entry, msgspec.Struct):
        return _plain(entry)
    found = {item.encode_name: (getattr(entry, item.name), item.default) for item in msgspec.structs.fields(entry)}
    return {
        name: stated(value)
        for name, (value, default) in found.items()
        if name != "name" and value != default and value not in ({}, [])
    }


def _fields(path: str, old: Any, new: Any) -> Iterator[Field]:
    if isinstance(old, list) and isinstance(new, list) and (old or new):
        olds, news = _entries(old), _entries(new)
        old, new = (old, new) if olds is None or news is None else (olds, news)
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            yield from _fields(f"{path}.{name}".lstrip("."), old.get(name, ""), new.get(name, ""))
    elif old != new:
        yield Field(path, _shown(old), _shown(new))


def _shown(value: Any) -> str | None:
    if value in (None, "", [], {}):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _told(field: Field, kind: str) -> str:
    new = "none" if field.new is None else field.new
    return new if kind == "new" else f"{'none' if field.old is None else field.old} -> {new}"
