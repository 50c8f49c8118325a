"""HTML attributes whose names are no Python names."""

from __future__ import annotations

from typing import Any


def attrs(**values: str) -> dict[str, Any]:
    """aria_label="x" as {"aria-label": "x"}; to be handed on with **."""
    return {name.replace("_", "-"): value for name, value in values.items()}
