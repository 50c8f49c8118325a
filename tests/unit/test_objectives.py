"""Error budgets and how fast they burn: the deliberate cases, and the formulas against plain arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from milepost.catalog.objective import Objective, Window, check, month_of
from milepost.errors import CatalogError
from sla.objective import budget, burn
from sla.objective.budget import NONE, Count, Span
from sla.objective.standing import WHOLE, Standing, explained, stand, worth_keeping

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
USUAL = Objective()
MONTH = Objective(window=Window("month"))
BERLIN = ZoneInfo("Europe/Berlin")


def counted(**pairs: tuple[tuple[int, int], tuple[int, int]]) -> Mapping[str, tuple[Count, Count]]:
    return {level: (Count(*long), Count(*short)) for level, (long, short) in pairs.items()}


def fires(counts: Mapping[str, tuple[Count, Count]], objective: Objective = USUAL) -> set[str]:
    return set(burn.judge(objective, counts, {}, AT))


# --- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "clocks", "misses", "remaining", "rate"),
    [
        (0.99, 0, 0, 1.0, None),  # no traffic
        (0.99, 1000, 0, 1.0, 0.0),
        (0.99, 1000, 4, 0.6, 0.4),
        (0.99, 1000, 10, 0.0, 1.0),
        (0.99, 1000, 1000, 0.0, 100.0),  # all missed: never below nothing
        (0.9, 10, 1, 0.0, 1.0),  # without the dust of binary fractions
        (1.0, 0, 0, 1.0, None),  # no budget at all
        (1.0, 1000, 0, 1.0, None),
        (1.0, 1000, 1, 0.0, None),
    ],
)
def test_what_is_left(target: float, clocks: int, misses: int, remaining: float, rate: float | None) -> None:
    objective, count = Objective(target=target), Count(clocks, misses)
    found = budget.budget(objective, count)
    assert found.remaining == pytest.approx(remaining)
    assert budget.burn(count, target) == (None if rate is None else pytest.approx(rate))
    assert found.attained == (None if not clocks else pytest.approx(1 - misses / clocks))


def test_a_month_under_way_is_reckoned_from_the_one_before() -> None:
    first_morning = budget.budget(MONTH, Count(20, 1), Count(3000, 0))
    assert first_morning.allowed == pytest.approx(30)
    assert first_morning.remaining == pytest.approx(29 / 30)
    assert budget.budget(MONTH, Count(4000, 20), Count(3000, 0)).allowed == pytest.approx(40)


def test_a_month_is_that_of_the_zone() -> None:
    window = budget.window(MONTH, datetime(2026, 10, 31, 23, 30, tzinfo=UTC), BERLIN)
    assert window.whole == Span(datetime(2026, 10, 31, 23, tzinfo=UTC), datetime(2026, 11, 30, 23, tzinfo=UTC))
    assert window.before == Span(datetime(2026, 9, 30, 22, tzinfo=UTC), datetime(2026, 10, 31, 23, tzinfo=UTC))
    assert month_of(datetime(2026, 12, 31, 23, tzinfo=UTC), BERLIN)[0].month == 12  # January began at 23:00 UTC


def test_windows_are_of_a_length_that_is_counted() -> None:
    check("x", Objective(window=Window("7d")))
    for text in ("12h", "93d"):
        with pytest.raises(CatalogError):
            check("x", Objective(window=Window(text)))


# --- the forecast -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misses", "rate", "left"),
    [
        (0, None, None),  # nothing is known
        (0, 0.0, None),
        (0, 2.0, 15 * DAY),  # twice as fast: half a window
        (5, 2.0, 7.5 * DAY),
        (5, 0.5, None),  # not before the window ends
        (5, 1e-300, None),
        (10, 1.0, timedelta()),
        (15, 0.0, timedelta()),
    ],
)
def test_when_it_is_spent(misses: int, rate: float | None, left: timedelta | None) -> None:
    window = budget.window(USUAL, AT, BERLIN)
    found = budget.exhausted_at(budget.budget(USUAL, Count(1000, misses)), rate, window, AT)
    assert found == (None if left is None else AT + left)


def test_a_month_ends() -> None:
    window = budget.window(MONTH, AT, BERLIN)  # ten days are left, a third of the month
    found = budget.budget(MONTH, Count(1000, 5))
    assert budget.exhausted_at(found, 1.0, window, AT) is None
    assert budget.exhausted_at(found, 2.0, window, AT) == AT + window.whole.length / 4


def test_the_present_rate_is_of_the_shortest_span_that_tells() -> None:
    day, week = Count(600, 3), Count(4000, 80)
    assert budget.present([Count(12, 1), day, week], USUAL) == pytest.approx(0.5)  # one miss at night is no fire
    assert budget.present([Count(100, 1), day, week], USUAL) == pytest.approx(1.0)
    assert budget.present([NONE, NONE, Count(3, 1)], USUAL) == pytest.approx(1 / 3 / 0.01)
    assert budget.present([NONE, NONE], USUAL) is None
    assert budget.present([Count(100, 100)], Objective(target=1.0)) is None


# --- alerts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (counted(), set()),  # no traffic
        (counted(fast=((1, 1), (1, 1)), medium=((1, 1), (1, 1)), slow=((60, 1), (1, 1))), set()),  # an idle night
        (counted(fast=((9, 9), (9, 9))), set()),  # too few clocks
        (counted(fast=((40, 4), (40, 4))), set()),  # too few misses
        (counted(fast=((200, 29), (20, 3))), {"fast"}),
        (counted(fast=((200, 29), (20, 0))), set()),  # it is over
        (counted(fast=((200, 29), (0, 0))), set()),
        (counted(fast=((200, 28), (20, 20))), set()),  # not long enough
        (counted(medium=((600, 36), (50, 3))), {"medium"}),
        (counted(slow=((5000, 51), (900, 10))), {"slow"}),
        (
            counted(fast=((100, 100), (9, 9)), medium=((600, 600), (50, 50)), slow=((9000, 9000), (600, 600))),
            {"fast", "medium", "slow"},  # all missed
        ),
    ],
)
def test_what_fires(counts: Mapping[str, tuple[Count, Count]], expected: set[str]) -> None:
    assert fires(counts) == expected


@pytest.mark.parametrize("target", [1.0, 0.5, 0.9, 0.93, 0.999])
def test_all_missed_is_the_fastest_at_any_target_but_one_without_a_budget(target: float) -> None:
    every = (100, 100)
    found = fires(counted(fast=(every, every), medium=(every, every), slow=(every, every)), Objective(target=target))
    assert found == (set() if target == 1 else {"fast", "medium", "slow"})
    assert fires(counted(fast=((100, 0), (100, 0))), Objective(target=target)) == set()


def test_levels_are_scaled_with_the_window() -> None:
    week = burn.levels(Objective(window=Window("7d")))
    assert [level.long for level in week] == [14 * MINUTE, 84 * MINUTE, 16.8 * HOUR]
    assert burn.levels(MONTH) == burn.levels(USUAL)


def test_it_is_over_once_it_stays_below() -> None:
    hot, warm, cool = (counted(fast=((200, n), (50, n // 4))) for n in (32, 26, 8))
    firing = burn.judge(USUAL, hot, {}, AT)
    assert burn.judge(USUAL, warm, {}, AT) == {}  # this alone is not enough to begin
    firing = burn.judge(USUAL, warm, firing, AT + 10 * MINUTE)
    assert firing == {"fast": AT + 10 * MINUTE}
    firing = burn.judge(USUAL, cool, firing, AT + 12 * MINUTE)
    assert firing == {"fast": AT + 10 * MINUTE}
    assert burn.judge(USUAL, hot, firing, AT + 13 * MINUTE) == {"fast": AT + 13 * MINUTE}
    assert burn.judge(USUAL, cool, firing, AT + 15 * MINUTE) == {}
    assert burn.judge(USUAL, counted(), firing, AT + 15 * MINUTE) == {}


def test_the_whole_is_silent_where_a_group_explains_it() -> None:
    window = budget.window(USUAL, AT, BERLIN)

    def standing(group: str, level: str | None) -> Standing:
        found = stand(("p", group), USUAL, window, {window.counted: Count(9000, 40)}, {}, AT)
        return replace(found, firing={level: AT} if level else {})

    dhl, ups = '{"carrier": "dhl"}', '{"carrier": "ups"}'

    def silent(*of: tuple[str, str | None], told: tuple[tuple[str, str], ...] = ()) -> bool:
        found = explained([standing(*one) for one in of], told)
        return not found[0].firing

    assert silent((WHOLE, "slow"), (dhl, "slow"), (ups, None))
    assert silent((WHOLE, "slow"), (dhl, "fast"))
    assert not silent((WHOLE, "fast"), (dhl, "slow"))
    assert not silent((WHOLE, "slow"), (dhl, None), (ups, None))
    assert not silent((WHOLE, "slow"), (dhl, "slow"), told=(("p", WHOLE),))
    assert len(worth_keeping([standing(WHOLE, None), standing(dhl, "slow")])) == 2
