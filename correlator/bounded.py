"""Caches that forget what they took in first."""

from __future__ import annotations

from itertools import islice
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def forget_oldest(cache: dict[K, V], most: int) -> list[K]:
    """Leave `most` entries at most; the keys of the others. Called after each step it costs what has come since."""
    over = len(cache) - most
    old = list(islice(cache, over)) if over > 0 else []
    for key in old:
        del cache[key]
    return old
