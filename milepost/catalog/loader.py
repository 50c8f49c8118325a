"""From YAML texts to a checked Catalog. Pure: texts in, Catalog out; every error names file, entry and path."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from milepost.catalog import (
    diff,
    edi,
    flow,
    folder,
    keys,
    lines,
    mapping,
    oncall,
    policy,
    privacy,
    reconciliation,
    routing,
    schema,
    window,
)
from milepost.catalog.policy import Policy, calendars_of
from milepost.catalog.schema import Catalog, Duration, Model
from milepost.errors import CatalogError

FILES: Final = (
    "journeys.yaml",
    "slas.yaml",
    "calendars.yaml",
    routing.FILE,
    "sources.yaml",
    "partners.yaml",
    reconciliation.FILE,
    window.FILE,
)
MAPPINGS: Final = "mappings/"
"""The folder of mappings; each file is one, and its name is the mapping's."""
JUNK: Final = [
    "N/A", "NA", "N.A.", "#N/A", "NOT AVAILABLE", "NOT APPLICABLE", "TBD", "TBA", "TBC", "NONE", "NULL", "NIL", "NAN",
    "UNKNOWN", "UNDEFINED", "TEST", "DUMMY", "0", "00", "000", "0000", "-", "--", "---", "/", ".", "?", "??", "???",
]  # fmt: skip
"""Words that people and systems put where there is no key, unless journeys.yaml has a list of its own (junk)."""
T = TypeVar("T")
Texts = Mapping[str, str]

_ident: Final = re.compile(r"[a-z][a-z0-9_\-]{0,63}")


def default_texts() -> dict[str, str]:
    """The built-in catalog: {file name: YAML text}."""
    folder = resources.files("milepost.catalog") / "default"
    found = {name: _built_in(name) for name in FILES}
    mappings = (item for item in (folder / "mappings").iterdir() if item.name.endswith(".yaml"))
    return found | {MAPPINGS + item.name: item.read_text("utf-8") for item in mappings}


@cache
def _built_in(name: str) -> str:
    return (resources.files("milepost.catalog") / "default" / name).read_text("utf-8")


def read_texts(folder: Path | None) -> dict[str, str]:
    """The built-in files, replaced by those of the same name in `folder`. Raises CatalogError."""
    texts = default_texts()
    if folder is None:
        return texts
    if not folder.is_dir():
        raise CatalogError(f"{folder}: there is no such folder")
    for path in yaml_files(folder):
        if path.name not in FILES:
            raise CatalogError(f"{path.name}: unknown catalog file; known are {', '.join(FILES)}")
        texts[path.name] = text_of(path)
    return texts | {MAPPINGS + path.name: text_of(path) for path in yaml_files(folder / MAPPINGS)}


def yaml_files(folder: Path) -> list[Path]:
    """Those in a folder. Raises CatalogError for one that would count for nothing because of how its name ends."""
    for path in sorted(folder.glob("*.yml")):
        raise CatalogError(f"{path}: the names of catalog files end in .yaml; rename it to {path.stem}.yaml")
    return sorted(folder.glob("*.yaml"))


def text_of(path: Path) -> str:
    """Raises CatalogError."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CatalogError(f"{path}:{line}: this is not UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror}") from error


def load(texts: Texts) -> Catalog:
    """Parse and check. Raises CatalogError. Safe in several threads."""
    with _one_at_a_time:
        return _load(texts)


# msgspec notes what it knows about a type when it first meets it; two threads that do so at once crash the process.
_one_at_a_time: Final = threading.Lock()


def _load(texts: Texts) -> Catalog:
    names = [*FILES, *sorted(name for name in texts if name.startswith(MAPPINGS))]
    docs = {name: parse(name, texts.get(name, "")) for name in names}
    journeys, slas, partners = (
        docs["journeys.yaml"],
        docs["slas.yaml"],
        docs["partners.yaml"],
    )
    models = _named("journeys.yaml", "models", journeys.get("models", {}), Model)
    calendars = _named(
        "calendars.yaml",
        "calendars",
        docs["calendars.yaml"].get("calendars", {}),
        schema.CalendarSpec,
    )
    classes = slas.get("classes") or {}
    services = _named("slas.yaml", "classes", classes, policy.ServiceClass)
    policies, flows = _policies(slas.get("policies", []), classes)
    catalog = Catalog(
        version=_hash(docs),
        keys=_named("journeys.yaml", "keys", journeys.get("keys", {}), schema.KeyRule),
        models={name: msgspec.structs.replace(model, name=name) for name, model in models.items()},
        policies=policies,
        flows=flows,
        classes=services,
        calendars={"always": schema.CalendarSpec(), **calendars},
        routing=_convert(routing.FILE, "", docs[routing.FILE], routing.Routing),
        sources=_named(
            "sources.yaml",
            "sources",
            docs["sources.yaml"].get("sources", {}),
            schema.SourceSpec,
        ),
        aliases=_aliases(partners.get("aliases", {})),
        dimensions=_convert("journeys.yaml", "dimensions", journeys.get("dimensions", []), list[str]),
        junk=_convert("journeys.yaml", "junk", journeys.get("junk", JUNK), list[str]),
        hub_limit=_convert("journeys.yaml", "hub_limit", journeys.get("hub_limit", 1000), int),
        exceptions=_named("journeys.yaml", "exceptions", journeys.get("exceptions", {}), schema.ExceptionRule),
        anomaly=_convert("slas.yaml", "anomaly", slas.get("anomaly", {}), schema.AnomalySpec),
        policy_versions={},
        edi=_convert("partners.yaml", "edi", partners.get("edi", {}), edi.Edi),
        windows=_named(window.FILE, "windows", docs[window.FILE].get("windows", {}), window.Window),
        reconciliations=_reconciliations(docs[reconciliation.FILE].get("reconciliations", {}), texts, models),
        privacy=_convert("sources.yaml", "privacy", docs["sources.yaml"].get("privacy", {}), privacy.Privacy),
        mappings={_mapping_name(name): mapping.convert(name, docs[name]) for name in names[len(FILES) :]},
    )
    check(catalog)
    versions = {one.name: _policy_version(one, catalog) for one in [*policies, *flows]}
    return msgspec.structs.replace(catalog, policy_versions=versions)


def parse(name: str, text: str) -> dict[str, Any]:
    """The document of a catalog file; nothing in it is an empty one. Raises CatalogError."""
    doc = lines.parse(name, text)
    if doc is None:
        return {}
    if not isinstance(doc, dict):
        raise CatalogError(f"{name}: expected a mapping at the top")
    return doc


def _decode_custom(kind: type[Any], value: Any) -> Any:
    if issubclass(kind, Duration | oncall.Day):
        return kind(str(value))
    raise NotImplementedError(kind)


def _convert(file: str, entry: str, value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind, dec_hook=_decode_custom, builtin_types=(date,))
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        place = ": ".join(part for part in (file, entry, path.rstrip("`").lstrip(".")) if part)
        raise CatalogError(f"{place}: {text}") from error


def _named(file: str, section: str, value: Any, kind: type[T]) -> dict[str, T]:
    if not isinstance(value, dict):
        raise CatalogError(f"{file}: {section}: expected a mapping of names")
    return {str(name): _convert(file, str(name), item, kind) for name, item in value.items()}


def _mapping_name(file: str) -> str:
    name = file.removeprefix(MAPPINGS).removesuffix(".yaml")
    if not _ident.fullmatch(name):
        raise CatalogError(f"{file}: a mapping's name is lower case letters, digits, - and _, and begins with a letter")
    return name


def _policies(value: Any, classes: Mapping[str, Any]) -> tuple[list[Policy], list[flow.FlowPolicy]]:
    """Those that run clocks on journeys, and those that judge a flow."""
    if not isinstance(value, list):
        raise CatalogError("slas.yaml: policies: expected a list")
    policies: list[Policy] = []
    flows: list[flow.FlowPolicy] = []
    for index, item in enumerate(value):
        name = item.get("name", f"policies[{index}]") if isinstance(item, dict) else f"policies[{index}]"
        if flow.is_flow(item):
            flows.append(_convert("slas.yaml", str(name), flow.plain(item), flow.FlowPolicy))  # type: ignore[arg-type]
        else:
            told = policy.in_class(item, classes) if isinstance(item, dict) else item
            policies.append(_convert("slas.yaml", str(name), told, Policy))
    return policies, flows


def _reconciliations(value: Any, texts: Texts, models: Mapping[str, Model]) -> dict[str, reconciliation.Reconciliation]:
    """Of the built-in ones those whose models there are: models of one's own need no file of one's own for this too."""
    found = _named(reconciliation.FILE, "reconciliations", value, reconciliation.Reconciliation)
    for name in found:
        if not _ident.fullmatch(name):
            raise CatalogError(f"{reconciliation.FILE}: {name}: a name is lower case letters, digits, - and _")
    if texts.get(reconciliation.FILE) == _built_in(reconciliation.FILE):
        found = {name: one for name, one in found.items() if one.model is None or one.model in models}
    return found


def _aliases(value: Any) -> dict[str, dict[str, str]]:
    """YAML says {attribute: {name: [written forms]}}; turned round for look-up, without regard to case."""
    spelled = _convert("partners.yaml", "aliases", value, dict[str, dict[str, list[str]]])
    return {
        attribute: {form.strip().lower(): name for name, forms in names.items() for form in [name, *forms]}
        for attribute, names in spelled.items()
    }


def check(catalog: Catalog) -> None:
    """What types can't say: references, cycles, fields that a kind needs. Raises CatalogError."""
    if catalog.hub_limit < 1:
        raise CatalogError(f"journeys.yaml: hub_limit: {catalog.hub_limit} is less than 1")
    keys.check(catalog)
    for name, calendar in catalog.calendars.items():
        _check_calendar(name, calendar)
    for model in catalog.models.values():
        _check_model(model)
    for name, rule in catalog.exceptions.items():
        _check_exception(name, rule)
    policy.check(catalog, {name: types_of(model) for name, model in catalog.models.items()})
    flow.check(catalog)
    routing.check(catalog.routing)
    oncall.check(catalog.routing, catalog.calendars)
    edi.check(catalog.edi, "partners.yaml")
    reconciliation.check(catalog.reconciliations, catalog.models)
    window.check(catalog.windows)
    privacy.check(catalog.privacy, "sources.yaml")
    for name, source in catalog.sources.items():
        privacy.check(source.privacy, f"sources.yaml: {name}")
        if source.folder is not None:
            folder.check(source.folder, catalog.mappings, f"sources.yaml: {name}: folder")
        if source.hook is not None:
            _check_hook(f"sources.yaml: {name}: hook", name, source.hook, catalog)


def _check_calendar(name: str, calendar: schema.CalendarSpec) -> None:
    try:
        ZoneInfo(calendar.zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise CatalogError(f'calendars.yaml: {name}: zone: "{calendar.zone}" is not a known time zone') from error
    for field, day in [*(("holidays", day) for day in calendar.holidays), *(("days", day) for day in calendar.days)]:
        try:
            date.fromisoformat(day)
        except ValueError as error:
            raise CatalogError(f'calendars.yaml: {name}: {field}: "{day}" is not a date (YYYY-MM-DD)') from error


def _check_model(model: Model) -> None:
    where = f"journeys.yaml: {model.name}"
    if not model.roots or not model.milestones:
        raise CatalogError(f"{where}: a model needs roots and milestones")
    if schema.CORRELATION in types_of(model):
        place = "roots" if schema.CORRELATION in model.roots else "tree"
        raise CatalogError(
            f"{where}: {place}: correlation is no type of object: leave it out, an id joins what names it by itself"
        )
    descendants(model)
    names = [milestone.name for milestone in model.milestones]
    for name in names:
        if names.count(name) > 1:
            raise CatalogError(f"{where}: milestones: {name}: this name is used twice")
    for completion in model.complete_when:
        for name in completion.reached:
            if name not in names:
                raise CatalogError(f"{where}: complete_when: there is no milestone {name}")
    for milestone in model.milestones:
        _check_milestone(f"{where}: milestones: {milestone.name}", milestone, types_of(model))


def _check_milestone(where: str, milestone: schema.Milestone, known: set[str]) -> None:
    for kind in milestone.events:
        if kind.startswith("message."):
            raise CatalogError(f"{where}: {kind} is about no object, and never a milestone")
    if milestone.all is not None and milestone.all not in known:
        raise CatalogError(f"{where}: all: {milestone.all} is not in the tree")


def _check_exception(name: str, rule: schema.ExceptionRule) -> None:
    for kind in (name, *rule.resolved_by):
        if not all(kind.partition(".")):
            raise CatalogError(f'journeys.yaml: exceptions: {name}: "{kind}" is no event type, like order.held')
    if name in rule.resolved_by:
        raise CatalogError(f"journeys.yaml: exceptions: {name}: resolved_by: it can't resolve itself")


def types_of(model: Model) -> set[str]:
    """All object types of a model."""
    return {
        *model.roots,
        *model.tree,
        *(child for children in model.tree.values() for child in children),
    }


def subject_types(models: Iterable[Model], event_type: str) -> tuple[str, ...]:
    """The key types that an event is about, in order of preference.

    The type before the dot; where that is the first root type of a model, the model's lesser root types stand in for it
    (a channel's `order.received` names only its own order number).
    """
    kind = event_type.partition(".")[0]
    lesser = [name for model in models if model.roots[0] == kind for name in model.roots[1:]]
    return (kind, *dict.fromkeys(lesser))


def descendants(model: Model) -> dict[str, set[str]]:
    """For each type all types below it. Raises CatalogError for a cycle."""
    below: dict[str, set[str]] = {}

    def walk(kind: str, path: tuple[str, ...]) -> set[str]:
        if kind in path:
            raise CatalogError(f"journeys.yaml: {model.name}: tree: cycle {' -> '.join((*path, kind))}")
        if kind not in below:
            children = model.tree.get(kind, [])
            below[kind] = set(children).union(*(walk(child, (*path, kind)) for child in children))
        return below[kind]

    for kind in sorted(types_of(model)):
        walk(kind, ())
    return below


def _check_hook(where: str, source: str, hook: schema.HookSpec, catalog: Catalog) -> None:
    spec = catalog.mappings.get(hook.mapping)
    if spec is None:
        known = ", ".join(sorted(catalog.mappings))
        raise CatalogError(f"{where}: mapping: there is no mapping {hook.mapping}; there are {known}")
    if spec.source not in ("", source):
        raise CatalogError(f"{where}: mapping: {hook.mapping} makes events of source {spec.source}")
    if spec.table is not None:
        raise CatalogError(f"{where}: mapping: {hook.mapping} reads rows of a table, and webhooks have none")
    if hook.scheme != "key" and not hook.secret_env:
        raise CatalogError(f"{where}: secret_env: name the variable that holds the secret")
    if hook.scheme == "hmac" and not hook.header:
        raise CatalogError(f"{where}: header: name the header that holds the signature")
    if hook.scheme == "token" and bool(hook.header) == bool(hook.query):
        raise CatalogError(f"{where}: header: name the header that holds the token, or the parameter (query)")


def _policy_version(one: Policy | flow.FlowPolicy, catalog: Catalog) -> str:
    # without defaults: what a later Milepost adds changes no version
    return _hash(
        [one.name, diff.stated(one), *(diff.stated(catalog.calendars[name]) for name in calendars_of(one.calendar))]
    )


def _hash(value: Any) -> str:
    canonical = msgspec.json.encode(value, order="sorted", enc_hook=str)
    return hashlib.sha256(canonical).hexdigest()[:12]
