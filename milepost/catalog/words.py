"""Words for messages. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from itertools import islice


def near(word: str, known: Iterable[str]) -> str:
    """What was probably meant: " (did you mean shipment?)", or nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""


def and_more(names: Collection[object], most: int, between: str = ", ") -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(map(str, islice(names, most))) + more
