"""Journey models that somebody might write, drawn at random: the oracle reads their YAML as the product does."""

from __future__ import annotations

import random
from copy import deepcopy
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from milepost.catalog import loader
from tests.chain import Chain
from tests.integration.test_correlation_property import JOURNEYS, TYPES, check, crowd, play

KINDS = ["order", "channel_order", "customer_po", "picking", "shipment", "package", "invoice", "ticket"]
EVENTS = [kind for kind in TYPES if not kind.startswith("message.")]
WORLDS = 8


def model(rng: random.Random) -> dict[str, Any]:
    """Any types above any others, any roots, and steps that may never be reached."""
    kinds = rng.sample(KINDS, k=rng.randint(2, 7))
    tree = {kind: [below for below in kinds[rank + 1 :] if rng.random() < 0.45] for rank, kind in enumerate(kinds)}
    steps: list[dict[str, Any]] = []
    for number in range(rng.randint(1, 5)):
        step: dict[str, Any] = {"name": f"step{number}", "events": rng.sample(EVENTS, k=rng.randint(1, 3))}
        step |= {"all": rng.choice(kinds)} if rng.random() < 0.5 else {}
        steps.append(step | ({"beside": True} if rng.random() < 0.2 else {}))
    names = [step["name"] for step in steps]
    ways = [{"reached": rng.sample(names, k=1), "without": rng.sample(kinds, k=rng.choice([0, 0, 1]))}]
    return {
        "roots": rng.sample(kinds, k=rng.choice([1, 1, 2])),
        "tree": tree,
        "milestones": steps,
        "complete_when": rng.choice([[], ways]),
        "cancelled_by": rng.sample(["order.cancelled", "shipment.cancelled", "picking.cancelled"], k=rng.randint(0, 2)),
    }


def journeys(rng: random.Random) -> dict[str, Any]:
    document: dict[str, Any] = deepcopy(JOURNEYS)
    document["models"] = {f"model{number}": model(rng) for number in range(rng.randint(1, 3))}
    for kind in ("shipment", "picking", "ticket"):
        document["keys"][kind] = {"namespace": rng.choice(["none", "source", "partner"])}
    return document


@pytest.mark.parametrize("seed", range(3))
def test_journeys_of_any_model_equal_the_oracles(engine: sa.Engine, seed: int) -> None:
    rng = random.Random(f"model-{seed}")
    limit, document = rng.choice([2, 3, 1000]), journeys(rng)
    own = {"journeys.yaml": yaml.safe_dump({**document, "hub_limit": limit}), "slas.yaml": "policies: []\n"}
    texts = {**loader.default_texts(), **own, "reconciliations.yaml": "reconciliations: {}\n"}
    chain = Chain(engine, recorders=2, catalog=loader.load(texts))
    worlds = crowd(rng, f"m{seed}", WORLDS)
    play(chain, rng, worlds, people=True)
    check(engine, f"m{seed}", worlds, limit, document)
