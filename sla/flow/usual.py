"""For how long a source is usually quiet, by the hour of the day and the kind of day. Pure.

Asked of each minute of the past weeks: for how long had the source been quiet then? Of the minutes of one hour class,
weekdays and weekends apart, the answer that 99 of 100 don't exceed is the usual gap. So it holds nights and weekends as
the source itself has them, and a source that begins at eight is missed at nine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import Final

from milepost.clock import EPOCH
from milepost.inbox.heard import slot_of

SPAN: Final = timedelta(days=28)
LEAST: Final = timedelta(days=14)
"""A source that is known for a shorter time has no usual gap: two weekends must have been seen."""
QUANTILE: Final = 0.99
MINUTE: Final = timedelta(minutes=1)
_DAY: Final = 1440

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Usual:
    """`seconds` of quiet that are usual at most in an hour class, from so many minutes."""

    seconds: float
    samples: int


def usual(heard: Sequence[datetime], unusual: Iterable[Span] = ()) -> dict[int, Usual]:
    """By hour class. `heard`: the minutes in which the source spoke, in order. What was judged to be a silence
    (`unusual`) is left out, and so is what came after the last word: that gap is not over."""
    if not heard or heard[-1] - heard[0] < LEAST:
        return {}
    minutes = [_number(at) for at in heard]
    without = {at for begins, ends in unusual for at in range(_number(begins), _number(ends))}
    counts: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    slots = _slots(heard[0])
    first = minutes[0]
    for before, after in pairwise(minutes):
        for at in range(before, after):
            if at not in without:
                counts[slots[(at - first) % len(slots)]][at - before + 1] += 1
    return {slot: _quantile(by_length) for slot, by_length in counts.items()}


def _quantile(by_length: dict[int, int]) -> Usual:
    total = sum(by_length.values())
    left = ceil(total * QUANTILE)
    for length in sorted(by_length):
        left -= by_length[length]
        if left <= 0:
            break
    return Usual(length * 60.0, total)


def _slots(first: datetime) -> list[int]:
    """The hour class of each minute of a week that begins with `first`."""
    return [slot_of(first + number * MINUTE) for number in range(7 * _DAY)]


def _number(at: datetime) -> int:
    return (at - EPOCH) // MINUTE
