"""How long journeys took from one step to the next. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from exports.journeys import Journey, Reached
from milepost.journeystate import Scalar


@dataclass(frozen=True, slots=True)
class Measured:
    """Open time on a calendar, in seconds; negative where the later step came first."""

    calendar: str
    seconds: float


Business = Callable[[str, Reached, Reached, Mapping[str, Scalar]], Measured | None]
"""Business time of a step: model, first and second milestone, the journey's attributes. None: no calendar applies."""


@dataclass(frozen=True, slots=True)
class Step:
    """From one milestone of the flow to the next that was reached."""

    first: Reached
    second: Reached
    business: Measured | None

    @property
    def seconds(self) -> float:
        return (self.second.at - self.first.at).total_seconds()


def steps(
    journey: Journey, beside: Collection[str], business: Business, attributes: Mapping[str, Scalar]
) -> Iterator[Step]:
    """The steps of a journey in the order of its model; what runs `beside` the flow is no step of it."""
    flow = [item for item in journey.milestones if item.name not in beside]
    for first, second in pairwise(flow):
        yield Step(first, second, business(journey.head["model"], first, second, attributes))
