"""Some entries laid over a whole catalog: what they would make of it. Pure but for reading the files.

A section that is a mapping of names (calendars, models) takes each name of the other's; a list of named entries
(policies, channels) too, an entry replacing the one of its name or standing behind the others; anything else is
replaced whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from milepost.catalog import loader, routing
from milepost.catalog.loader import Texts
from milepost.catalog.policy import in_class
from milepost.catalog.routing import Routing
from milepost.errors import CatalogError

POLICIES: Final = "slas.yaml"
SECTIONS: Final = {
    **dict.fromkeys(("keys", "junk", "hub_limit", "dimensions", "models", "exceptions"), "journeys.yaml"),
    **dict.fromkeys(("policies", "classes", "anomaly"), POLICIES),
    **dict.fromkeys(("sources", "privacy"), "sources.yaml"),
    **dict.fromkeys(("aliases", "edi"), "partners.yaml"),
    **dict.fromkeys(Routing.__struct_fields__, routing.FILE),
}
"""Where a section stands that no file has yet."""
CALENDARS: Final = "calendars.yaml"
Doc = dict[str, Any]


def read(path: Path) -> dict[str, Doc]:
    """The entries of a YAML file, or of the catalog files in a folder, by file name. Raises CatalogError."""
    if not path.exists():
        raise CatalogError(f"{path}: there is no such file")
    files = loader.yaml_files(path) if path.is_dir() else [path]
    if not files:
        raise CatalogError(f"{path}: there is no YAML file in it")
    return {file.name: loader.parse(file.name, loader.text_of(file)) for file in files}


def lay(entries: Mapping[str, Doc], over: Texts) -> dict[str, str]:
    """The catalog's texts with the entries in them."""
    docs = {name: loader.parse(name, over.get(name, "")) for name in loader.FILES}
    texts = dict(over)
    for file, doc in entries.items():
        for section, value in doc.items():
            home = _home(section, docs, file)
            known = docs.setdefault(home, {})
            known[section] = _merged(known.get(section), value)
            texts[home] = yaml.safe_dump(known, sort_keys=False, allow_unicode=True)
    return texts


def written(texts: Texts, policy: str) -> str | None:
    """A policy as YAML, as it stands in the texts, with its class and calendars; None where there is no such policy."""
    doc = loader.parse(POLICIES, texts.get(POLICIES, ""))
    spec = next((item for item in doc.get("policies") or () if _name(item) == policy), None)
    if spec is None:
        return None
    service = {name: told for name, told in (doc.get("classes") or {}).items() if name == spec.get("class")}
    told = in_class(spec, service).get("calendar")
    choice = [*told.get("calendars", {}).values(), told.get("else")] if isinstance(told, dict) else [told]
    known = loader.parse(CALENDARS, texts.get(CALENDARS, "")).get("calendars") or {}
    calendars = {name: known[name] for name in dict.fromkeys(choice) if name in known}
    found: Doc = {"policies": [spec]}
    found |= ({"classes": service} if service else {}) | ({"calendars": calendars} if calendars else {})
    return yaml.dump(found, Dumper=_Plain, sort_keys=False, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Without anchors: what is used twice is written twice."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _home(section: str, docs: Mapping[str, Doc], file: str) -> str:
    """The file of the catalog that a section belongs to, wherever it was written. Raises CatalogError."""
    known = next((name for name in loader.FILES if section in docs.get(name, {})), SECTIONS.get(section))
    if known is None and file not in loader.FILES:
        raise CatalogError(f"{file}: {section} is no section of a catalog")
    return known or file


def _merged(known: Any, value: Any) -> Any:
    if isinstance(known, dict) and isinstance(value, dict):
        return {**known, **value}
    if isinstance(value, list) and isinstance(known, list) and all(_name(item) for item in (*known, *value)):
        named = {_name(item): item for item in (*known, *value)}
        return list(named.values())
    return value


def _name(item: Any) -> str:
    return str(item.get("name") or "") if isinstance(item, dict) else ""
