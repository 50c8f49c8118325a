"""Which source is to tell what a breach waits for, so that a feed that went dark explains it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from milepost.catalog.schema import Catalog
from milepost.gaps import required
from milepost.inbox.tellers import Teller
from sla.policy import CompiledPolicy


def milestone(policy: CompiledPolicy, catalog: Catalog) -> str | None:
    """The milestone that would end the clock: its end, or of a dwelling the next one that must come."""
    if policy.end is not None or policy.start is None:
        return policy.end
    model = catalog.models[policy.spec.model]
    start = next(rank for rank, step in enumerate(model.milestones) if step.name == policy.start)
    return next((step.name for rank, step in required(model) if rank > start), None)


def source(
    policy: CompiledPolicy,
    catalog: Catalog,
    tellers: Mapping[tuple[str, str], Teller],
    dimensions: Mapping[str, str],
) -> str | None:
    """Who tells that milestone, for these values of the dimensions; None where nobody is known to."""
    name = milestone(policy, catalog)
    teller = tellers.get((policy.spec.model, name)) if name is not None else None
    return teller.source(dimensions) if teller is not None else None
