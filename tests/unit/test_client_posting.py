"""A collector that fails for one event holds up no other; one that fails for all loses none."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from milepost.client.posting import PATIENCE, Posting
from milepost.client.transport import Answer


class Failing:
    """A collector that answers 500 to whatever holds one of `poison`; `Posting` tells it what came of the rest."""

    def __init__(self, *poison: int) -> None:
        self.poison = set(poison)
        self.calls = self.waits = 0
        self.got: list[int] = []
        self.refused: list[str] = []
        self.posting = Posting(self.post, self.taken, self.later)

    def post(self, events: Sequence[bytes]) -> Answer:
        self.calls += 1
        numbers = [int(json.loads(event)["id"]) for event in events]
        if self.poison & set(numbers):
            return Answer("broken", "500")
        self.got += numbers
        return Answer("taken")

    def taken(self, number: int, refused: Sequence[tuple[str, str]]) -> None:
        self.refused += [event_id for event_id, _ in refused]

    def later(self, answer: Answer) -> None:
        self.waits += 1


def batch(size: int) -> list[bytes]:
    return [json.dumps({"id": str(number)}).encode() for number in range(size)]


@pytest.mark.parametrize("poison", [(0,), (7,), (19,), (0, 1, 2), (3, 12)])
def test_who_fails_alone_is_given_up_after_a_while(poison: tuple[int, ...]) -> None:
    collector, events = Failing(*poison), batch(20)
    for _ in range(PATIENCE - 1):
        assert collector.posting.post(events) == events, "it may be the collector"
    assert collector.posting.post(events) == ()
    assert collector.got == [number for number in range(20) if number not in poison]
    assert collector.refused == [str(number) for number in poison]
    assert collector.waits == PATIENCE - 1


@pytest.mark.parametrize("size", [1, 500])
def test_nothing_is_given_up_by_a_collector_that_takes_nothing(size: int) -> None:
    collector, events = Failing(*range(size)), batch(size)
    for _ in range(PATIENCE + 3):
        assert collector.posting.post(events) == events
    assert (collector.refused, collector.waits) == ([], PATIENCE + 3)
    assert collector.calls < 50 * (PATIENCE + 3)


def test_the_last_of_all_waits_for_another_that_is_taken() -> None:
    collector = Failing(0)
    for _ in range(PATIENCE):
        assert collector.posting.post(batch(1)) == batch(1)
    assert collector.posting.post(batch(2)) == ()
    assert (collector.got, collector.refused) == ([1], ["0"])


def test_a_lonely_one_is_given_up_where_others_were_taken_meanwhile() -> None:
    """New events don't wait behind those of the spool."""
    collector = Failing(0)
    for _ in range(PATIENCE - 1):
        assert collector.posting.post(batch(1)) == batch(1)
        assert collector.posting.post(batch(2)[1:]) == ()
    assert collector.posting.post(batch(1)) == ()
    assert collector.refused == ["0"]
