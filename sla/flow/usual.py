"""For how long a source is usually quiet, by the hour of the day and the kind of day. Pure.

Asked of each minute of the past weeks: for how long had the source been quiet then? Of the minutes of one hour class,
weekdays and weekends apart, the answer that 99 of 100 don't exceed is the usual gap. So it holds nights and weekends as
the source itself has them, and a source that begins at eight is missed at nine. Of what was brought in as history, only
the hour is known in which something happened: then hours are asked instead of minutes.
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
from milepost.quiet import slot_of

SPAN: Final = timedelta(days=28)
LEAST: Final = timedelta(days=14)
"""A source that is known for a shorter time has no usual gap: two weekends must have been seen."""
QUANTILE: Final = 0.99
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
_WEEK: Final = timedelta(days=7)

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Usual:
    """`seconds` of quiet that are usual at most in an hour class, from so many minutes or hours."""

    seconds: float
    samples: int


def usual(heard: Sequence[datetime], unusual: Iterable[Span] = (), step: timedelta = MINUTE) -> dict[int, Usual]:
    """By hour class. `heard`: the minutes (or whatever `step` is) in which the source spoke, in order.

    What was judged to be a silence (`unusual`) is left out, and so is what came after the last word: that gap is not
    over.
    """
    if not heard or heard[-1] - heard[0] < LEAST:
        return {}
    steps = [_number(at, step) for at in heard]
    without = {at for begins, ends in unusual for at in range(_number(begins, step), _number(ends, step))}
    counts: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    slots = [slot_of(heard[0] + number * step) for number in range(_WEEK // step)]
    first = steps[0]
    for before, after in pairwise(steps):
        for at in range(before, after):
            if at not in without:
                counts[slots[(at - first) % len(slots)]][at - before + 1] += 1
    return {slot: _quantile(by_length, step) for slot, by_length in counts.items()}


def _quantile(by_length: dict[int, int], step: timedelta) -> Usual:
    total = sum(by_length.values())
    left = ceil(total * QUANTILE)
    for length in sorted(by_length):
        left -= by_length[length]
        if left <= 0:
            break
    return Usual((length * step).total_seconds(), total)


def _number(at: datetime, step: timedelta) -> int:
    return (at - EPOCH) // step
