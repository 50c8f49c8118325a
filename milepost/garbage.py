"""Garbage in cycles, collected between two steps of work instead of amid one.

CPython looks for it after every so many new objects, and walks through all of them: amid a large step that is what the
step has in hand, again and again, and nothing of it is garbage (docs/decisions/0016). Between two steps next to nothing
is left to walk through. What has outlived a step is not looked at again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def by_hand() -> Iterator[None]:
    """Within the block nothing is collected but by `collect`."""
    were = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if were:
            gc.enable()


def collect() -> None:
    """Collect what was made since the last time: between two steps."""
    gc.collect(1)
