"""A journey model in words: what journeys begin with, contain, go through, and end with. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from milepost.catalog.loader import descendants
from milepost.catalog.policy import Policy
from milepost.catalog.schema import Catalog, Completion, KeyRule, KeyStep, Milestone, Model


def explain(catalog: Catalog, model: Model) -> str:
    """The model as a text of several lines."""
    return "\n".join(_lines(catalog, model)) + "\n"


def _lines(catalog: Catalog, model: Model) -> Iterator[str]:
    yield f"{model.name}: {model.title or model.name}"
    yield ""
    yield "  A journey begins with"
    yield from (f"    {line}" for line in _roots(model))
    yield ""
    yield "  and contains what is found below it"
    yield from (f"    {line}" for root in _tops(model) for line in _tree(model, root))
    yield "    and what names the same correlation id, while one root names it"
    yield ""
    yield "  Steps"
    width = max(len(milestone.name) for milestone in model.milestones)
    for rank, milestone in enumerate(model.milestones, 1):
        yield f"    {rank:>2}  {milestone.name:<{width}}  {_step(milestone)}"
    yield ""
    yield from (f"  {line}" for line in _ends(model))
    yield from _titled("Promises", [_promise(policy) for policy in catalog.policies if policy.model == model.name])
    yield from _titled("Keys", list(_keys(catalog, model)))


def _titled(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"  {title}", *(f"    {line}" for line in lines))


def _roots(model: Model) -> Iterator[str]:
    below = descendants(model)
    for index, root in enumerate(model.roots):
        over = [other for other in model.roots[:index] if root in below.get(other, ())]
        taken = f", until {_either([_a(other) for other in over])} stands above it and takes it over" if over else ""
        yield f"{_a(root)}{taken}"


def _tops(model: Model) -> list[str]:
    """The roots that stand below no other root."""
    below = descendants(model)
    return [root for root in model.roots if not any(root in below.get(other, ()) for other in model.roots)]


def _tree(model: Model, root: str) -> Iterator[str]:
    """The types below a root, each below the lowest ones that stand above it."""
    below = descendants(model)

    def branch(kind: str, before: str) -> Iterator[str]:
        children = model.tree.get(kind, [])
        direct = [one for one in children if not any(one in below.get(other, ()) for other in children)]
        for index, child in enumerate(direct):
            last = index == len(direct) - 1
            yield f"{before}{'└─' if last else '├─'} {child}"
            yield from branch(child, before + ("   " if last else "│  "))

    yield root
    yield from branch(root, "")


def _step(milestone: Milestone) -> str:
    events = " or ".join(milestone.events)
    every = f", of every {milestone.all} that is not cancelled" if milestone.all else ""
    return f"{events}{every}{' (beside the flow)' if milestone.beside else ''}"


def _ends(model: Model) -> Iterator[str]:
    for index, way in enumerate(model.complete_when):
        yield f"{'Complete when' if not index else '       or when'} {_way(way)}"
    if not model.complete_when:
        yield "Never complete"
    if model.cancelled_by:
        yield f"Cancelled by {_either(model.cancelled_by)}, about what the journey began with"


def _way(way: Completion) -> str:
    without = f", and it has no {_either(way.without)}" if way.without else ""
    return f"it has reached {' and '.join(way.reached)}{without}"


def _promise(policy: Policy) -> str:
    per = f" of each {policy.per}" if policy.per else ""
    if policy.kind == "between":
        told = f"{policy.end} within {policy.within} of {policy.start}{per}"
    elif policy.kind == "dwell":
        told = f"something after {policy.start} within {policy.within}{per}"
    elif policy.cut_off is not None:
        told = f"{policy.end} by the working day, cut-off {policy.cut_off}{per}"
    elif policy.kind == "exception":
        told = f"exceptions{per} resolved within {policy.within}"
    else:
        told = f"{policy.end} by {policy.date}{per}"
    return f"{policy.name}: {told}"


def _keys(catalog: Catalog, model: Model) -> Iterator[str]:
    kinds = [*model.roots, *sorted(set().union(*descendants(model).values()) - set(model.roots))]
    width = max(map(len, kinds))
    for kind in kinds:
        rule = catalog.keys.get(kind, KeyRule())
        by = {"none": "unique everywhere", "source": "unique within its source"}
        space = by.get(rule.namespace, f"unique per {rule.namespace}")
        steps = ", ".join(_written(step) for step in rule.normalise) or "as it is written"
        yield f"{kind:<{width}}  {space}; {steps}"


def _written(step: str | KeyStep) -> str:
    if isinstance(step, str):
        return step
    if step.drop is not None:
        return f'drop "{step.drop}"'
    if step.prefix is not None:
        return f"prefix {step.prefix if isinstance(step.prefix, str) else ' or '.join(step.prefix)}"
    return f'replace {step.replace} by "{step.with_}"'


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)
