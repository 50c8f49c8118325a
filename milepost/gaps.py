"""Which milestones must have happened: those of the flow before one that is reached. Pure.

The rule is in docs/explanation/correlation.md. What runs beside the flow is never missing, and neither is what the
model calls optional, or what every member of a type must reach in a journey without members of that type.
"""

from __future__ import annotations

from collections.abc import Collection

from milepost.catalog.schema import Milestone, Model


def required(model: Model) -> list[tuple[int, Milestone]]:
    """The milestones that can be missing, with their ranks."""
    return [(rank, step) for rank, step in enumerate(model.milestones) if not step.beside and not step.optional]


def missing(model: Model, reached: Collection[str], types: Collection[str]) -> list[Milestone]:
    """What must have happened and wasn't seen, in order. `types`: the object types of the journey's members."""
    highest = max(
        (i for i, step in enumerate(model.milestones) if step.name in reached and not step.beside), default=-1
    )
    return [
        step
        for rank, step in required(model)
        if rank < highest and step.name not in reached and (step.all is None or step.all in types)
    ]
