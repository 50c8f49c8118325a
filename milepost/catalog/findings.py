"""What is wrong with a catalog that can be used: steps that nothing reaches, ways that contradict themselves, overlaps.

An error never does what it says; a warning probably means something else than it says. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from milepost.catalog import flow, keys, reached, reconciliation, routing
from milepost.catalog.known import VERBS, event_types
from milepost.catalog.lines import Lines, Path
from milepost.catalog.loader import descendants, subject_types, types_of
from milepost.catalog.policy import Policy
from milepost.catalog.schema import CORRELATION, Catalog, Completion, KeyRule, Milestone, Model
from milepost.catalog.words import near

Level = Literal["error", "warning"]
_JOURNEYS: Final = "journeys.yaml"
_SLAS: Final = "slas.yaml"


@dataclass(frozen=True, slots=True)
class Finding:
    """`place` names the entry in words: order: milestones: packed."""

    level: Level
    file: str
    line: int
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.level}: {self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class _Found:
    level: Level
    path: Path
    text: str


def findings(texts: Mapping[str, str], catalog: Catalog) -> list[Finding]:
    """All of them, errors first, then as they stand in the files."""
    found: list[Finding] = []
    for file, checks in _CHECKS.items():
        lines = Lines(texts[file])
        for check in checks:
            found += [_told(file, lines, item) for item in check(catalog)]
    return sorted(found, key=lambda item: (item.level, item.file, item.line))


def _told(file: str, lines: Lines, item: _Found) -> Finding:
    named = len(item.path) > 1 and isinstance(item.path[1], str)
    words = [f": {part}" if isinstance(part, str) else f"[{part}]" for part in item.path[named:]]
    return Finding(item.level, file, lines.of(item.path), "".join(words).removeprefix(": "), item.text)


# --- types and keys ---------------------------------------------------------------------------------------------------


def _trees(catalog: Catalog) -> Iterator[_Found]:
    for model in catalog.models.values():
        below = descendants(model)
        reached = set(model.roots).union(*(below.get(root, set()) for root in model.roots))
        for kind in sorted(types_of(model) - reached):
            text = f"no root stands above {kind}: it is never part of a journey"
            yield _Found("warning", ("models", model.name, "tree", kind), text)
        for index, lesser in enumerate(model.roots[1:], 1):
            if not any(lesser in below.get(root, ()) for root in model.roots[:index]):
                text = f"{lesser} stands below none of the roots before it: none of them ever takes it over"
                yield _Found("warning", ("models", model.name, "roots", index), text)


def _cycles(catalog: Catalog) -> Iterator[_Found]:
    """Models that turn the same two types round."""
    below = {model.name: descendants(model) for model in catalog.models.values()}
    names = list(below)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            pairs = [(a, b) for a, kinds in below[one].items() for b in kinds if a in below[other].get(b, ())]
            for upper, lower in sorted(pairs):
                text = f"{upper} stands above {lower} in {one} and below it in {other}: a cycle"
                yield _Found("error", ("models", other, "tree", lower), text)


def _key_rules(catalog: Catalog) -> Iterator[_Found]:
    used = {kind: model.name for model in catalog.models.values() for kind in sorted(types_of(model))}
    for kind, name in used.items():
        if kind not in catalog.keys:
            text = f"{kind} has no entry in keys: only blanks around it are taken away, and it is unique everywhere"
            yield _Found("warning", ("models", name, "tree"), text)
    named = {kind for mapping in catalog.mappings.values() for rule in mapping.events for kind in rule.keys}
    for kind, rule in catalog.keys.items():
        if kind not in used and kind not in named and kind != CORRELATION:
            text = f"no model and no mapping has a type {kind}{near(kind, used)}"
            yield _Found("warning", ("keys", kind), text)
        yield from _words(kind, rule)


def _words(kind: str, rule: KeyRule) -> Iterator[_Found]:
    form = keys.form_of(rule)
    for index, word in enumerate(rule.junk):
        if not form(word):
            text = f'nothing is left of "{word}" after normalise: such a key is refused anyway'
            yield _Found("warning", ("keys", kind, "junk", index), text)


# --- milestones -------------------------------------------------------------------------------------------------------


def _event_types(catalog: Catalog) -> Iterator[_Found]:
    known = event_types(catalog)
    for model in catalog.models.values():
        for path, kind in _mentioned(model):
            meant = "" if kind in known else near(kind, known)
            if kind not in known and (_object(kind) in VERBS or (meant and _object(kind) not in types_of(model))):
                text = f"nothing that Milepost knows tells {kind}{meant}; senders of your own may"
                yield _Found("warning", path, text)


def _mentioned(model: Model) -> Iterator[tuple[Path, str]]:
    own: Path = ("models", model.name)
    for milestone in model.milestones:
        for number, kind in enumerate(milestone.events):
            yield (*own, "milestones", milestone.name, "events", number), kind
    for number, kind in enumerate(model.cancelled_by):
        yield (*own, "cancelled_by", number), kind


def _reach(catalog: Catalog) -> Iterator[_Found]:
    for model in catalog.models.values():
        types = types_of(model)
        for milestone in model.milestones:
            path: Path = ("models", model.name, "milestones", milestone.name)
            for number, kind in enumerate(milestone.events):
                if not _about(catalog, kind) & types:
                    text = f"{_object(kind)} is no type of this model: {kind} counts only where it names no"
                    yield _Found("warning", (*path, "events", number), f"{text} {_object(kind)} but a correlationid")
            if milestone.all is not None and not _tells_of(catalog, milestone, milestone.all):
                text = (
                    f"all: {milestone.all}: none of its events is about a {milestone.all}, so that a journey that has"
                )
                yield _Found("error", (*path, "all"), f"{text} one can never reach {milestone.name}")
        for number, kind in enumerate(model.cancelled_by):
            if not _about(catalog, kind) & set(model.roots):
                text = f"{kind} is about no root of this model: it never cancels a journey"
                yield _Found("error", ("models", model.name, "cancelled_by", number), text)


def _overlaps(catalog: Catalog) -> Iterator[_Found]:
    """Of two milestones that the same event reaches, only the later one is ever the stage."""
    for model in catalog.models.values():
        for rank, one in enumerate(model.milestones):
            for other in model.milestones[rank + 1 :]:
                if one.all != other.all or one.beside or other.beside or not set(one.events) <= set(other.events):
                    continue
                text = (
                    f"whatever reaches {one.name} reaches {other.name} too, which ranks above it: {one.name} is never"
                )
                yield _Found("warning", ("models", model.name, "milestones", other.name), f"{text} the stage")
            for number, kind in enumerate(one.events):
                if kind in one.events[:number]:
                    path: Path = ("models", model.name, "milestones", one.name, "events", number)
                    yield _Found("warning", path, f"{kind} stands here twice")


# --- the end of journeys ----------------------------------------------------------------------------------------------


def _ends(catalog: Catalog) -> Iterator[_Found]:
    for model in catalog.models.values():
        if not model.complete_when:
            yield _Found("warning", ("models", model.name), "without complete_when its journeys never end")
        for index, way in enumerate(model.complete_when):
            path: Path = ("models", model.name, "complete_when", index)
            yield from (_Found(level, path, text) for level, text in _way(catalog, model, way))
            for former in model.complete_when[:index]:
                if set(former.reached) <= set(way.reached) and set(former.without) <= set(way.without):
                    text = "an earlier way is fulfilled whenever this one is: it changes nothing"
                    yield _Found("warning", path, text)


def _way(catalog: Catalog, model: Model, way: Completion) -> Iterator[tuple[Level, str]]:
    types, absent = types_of(model), set(way.without)
    for kind in sorted(absent - types):
        yield "warning", f"without: {kind} is no type of this model: no journey has one"
    for kind in sorted(absent & set(model.roots[:1])):
        yield "error", f"without: every journey that began with {kind} has one"
    for milestone in model.milestones:
        if milestone.name in way.reached:
            about = set().union(*(_about(catalog, kind) & types for kind in milestone.events))
            if about and about <= absent:
                told = ", ".join(sorted(about))
                yield "error", f"{milestone.name} is only reached by events about {told}, of which there must be none"


# --- promises ---------------------------------------------------------------------------------------------------------


def _policies(catalog: Catalog) -> Iterator[_Found]:
    for policy in catalog.policies:
        steps = {milestone.name: milestone for milestone in catalog.models[policy.model].milestones}
        for level, field, text in _promise(catalog, policy, steps):
            yield _Found(level, ("policies", policy.name, field), text)


def _exceptions(catalog: Catalog) -> Iterator[_Found]:
    """Types of exceptions that policies name and that nothing tells."""
    known = event_types(catalog) | catalog.exceptions.keys()
    for policy in catalog.policies:
        pauses = [told.partition(":")[0] for told in policy.pause] if isinstance(policy.pause, list) else []
        for field, types in (("pause", pauses), ("exception", policy.exception.type)):
            for kind in types:
                if kind not in known:
                    yield _Found("warning", ("policies", policy.name, field), _untold(kind, known))


def _flows(catalog: Catalog) -> Iterator[_Found]:
    for name, entry, text in flow.doubts(catalog, event_types(catalog)):
        yield _Found("warning", ("policies", name, entry), text)


def _reconciliations(catalog: Catalog) -> Iterator[_Found]:
    """Event types that nothing tells and no model names either, which would be found wanting there."""
    known = event_types(catalog) | {kind for model in catalog.models.values() for _, kind in _mentioned(model)}
    for name, one in catalog.reconciliations.items():
        own: Path = ("reconciliations", name)
        named = {(*own, "left", "events"): one.left.events, (*own, "right", "events"): one.right.events}
        for path, types in {**named, (*own, "unless"): one.unless}.items():
            for number, kind in enumerate(types):
                if kind not in known:
                    yield _Found("warning", (*path, number), _untold(kind, known))


def _untold(kind: str, known: Iterable[str]) -> str:
    return f"nothing that Milepost knows tells {kind}{near(kind, known)}; senders of your own may"


def _promise(catalog: Catalog, policy: Policy, steps: Mapping[str, Milestone]) -> Iterator[tuple[Level, str, str]]:
    rank = {name: number for number, name in enumerate(steps)}
    if policy.kind == "between" and policy.start and policy.end and rank[policy.end] <= rank[policy.start]:
        yield "warning", "end", f"{policy.end} ranks not above {policy.start}, from which the time runs"
    higher = [name for name, step in steps.items() if not step.beside and rank[name] > rank.get(policy.start or "", -1)]
    if policy.kind == "dwell" and not higher:
        yield "warning", "start", f"nothing ranks above {policy.start}: only the end of the journey ends the clock"
    for field in ("start", "end"):
        name = getattr(policy, field)
        if policy.per is not None and name is not None and not _tells_of(catalog, steps[name], policy.per):
            yield "error", field, f"per: {policy.per}: none of the events of {name} is about a {policy.per}"


def _routes(catalog: Catalog) -> Iterator[_Found]:
    return (_Found(*found) for found in reached.check(catalog))


# --- words ------------------------------------------------------------------------------------------------------------


def _about(catalog: Catalog, event_type: str) -> set[str]:
    return set(subject_types(catalog.models.values(), event_type))


def _tells_of(catalog: Catalog, milestone: Milestone, kind: str) -> bool:
    return any(kind in _about(catalog, event_type) for event_type in milestone.events)


def _object(event_type: str) -> str:
    return event_type.partition(".")[0]


_CHECKS: Final[Mapping[str, tuple[Callable[[Catalog], Iterator[_Found]], ...]]] = {
    _JOURNEYS: (_trees, _cycles, _key_rules, _event_types, _reach, _overlaps, _ends),
    _SLAS: (_policies, _exceptions, _flows),
    routing.FILE: (_routes,),
    reconciliation.FILE: (_reconciliations,),
}
