"""What explains a wave: made-up networks in which the cause is known, and never a value without a lift."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting import text
from alerting.explain import SHARE, Cause, Wave

Journey = Mapping[str, str]
LABELS = ("warehouse", "carrier", "channel")


def network(seed: int, number: int = 600) -> list[Journey]:
    """Orders: one carrier takes 95 %, the north 20 %, and the south ships to the shop mostly."""
    chance = random.Random(seed)
    made: list[Journey] = []
    for _ in range(number):
        warehouse = chance.choices(["north", "south", "east"], [20, 50, 30])[0]
        order = {
            "warehouse": warehouse,
            "channel": chance.choices(["shop", "edi"], [80 if warehouse == "south" else 40, 50])[0],
        }
        if chance.random() < 0.7:  # the others have no carrier yet
            order["carrier"] = chance.choices(["dhl", "ups"], [95, 5])[0]
        made.append(order)
    return made


def wave(items: Sequence[Journey], others: Sequence[Journey], group: Mapping[str, str] | None = None) -> Wave:
    """As the store makes it: of each label the group's value, or the one that enough items have."""
    values = list((group or {}).items())
    for label in LABELS:
        counted = Counter(item[label] for item in items if label in item)
        if label not in (group or {}) and counted:
            value, having = counted.most_common(1)[0]
            if having >= SHARE * len(items):
                values.append((label, value))
    return Wave(values, _tally(items, values), _tally(others, values))


def _tally(rows: Sequence[Journey], values: Sequence[tuple[str, str]]) -> Counter[tuple[bool | None, ...]]:
    return Counter(tuple(row[label] == value if label in row else None for label, value in values) for row in rows)


def split(orders: Sequence[Journey], late: Callable[[Journey], bool]) -> tuple[list[Journey], list[Journey]]:
    return [one for one in orders if late(one)], [one for one in orders if not late(one)]


def lateness(
    seed: int, where: Mapping[str, str], share: float = 0.9, elsewhere: float = 0.005
) -> Callable[[Journey], bool]:
    """Most of those that have all these values are late, and some others."""
    chance = random.Random(seed)
    return lambda one: chance.random() < (share if where.items() <= one.items() else elsewhere)


def values_of(cause: Cause | None) -> dict[str, str]:
    return cause.values if cause else {}


@pytest.mark.parametrize("seed", range(5))
def test_the_warehouse_that_stopped_is_named_and_the_usual_carrier_is_not(seed: int) -> None:
    items, others = split(network(seed), lateness(seed, {"warehouse": "north"}))
    cause = wave(items, others).cause()
    assert values_of(cause) == {"warehouse": "north"}
    assert cause is not None
    north = [sum(one["warehouse"] == "north" for one in rows) for rows in (items, others)]
    assert (cause.having, cause.items, cause.others_having, cause.others) == (
        north[0],
        len(items),
        north[1],
        len(others),
    )


@pytest.mark.parametrize("seed", range(5))
def test_two_values_are_named_where_it_takes_both(seed: int) -> None:
    where = {"warehouse": "south", "channel": "shop"}
    items, others = split(network(seed), lateness(seed, where))
    assert values_of(wave(items, others).cause()) == where


@pytest.mark.parametrize("seed", range(5))
def test_what_may_hit_any_order_has_no_cause(seed: int) -> None:
    items, others = split(network(seed), lateness(seed, {"warehouse": "nowhere"}, elsewhere=0.1))
    assert wave(items, others).cause() is None


@pytest.mark.parametrize("seed", range(5))
def test_within_a_group_only_what_sets_it_apart_there_is_named(seed: int) -> None:
    """Of the late orders of the south all go to the shop, as do most orders of the south."""
    orders = network(seed, 2000)
    items, others = split(orders, lateness(seed, {"warehouse": "south"}, share=0.2, elsewhere=0))
    south = wave(items, others, {"warehouse": "south"})
    assert south.cause(["warehouse"]) is None
    assert south.group_values(["warehouse"]) == {"warehouse": "south"}


def test_a_group_that_most_belong_to_anyway_sets_nothing_apart() -> None:
    items = [{"carrier": "dhl"}] * 50
    others = [{"carrier": "dhl"}] * 190 + [{"carrier": "ups"}] * 10
    assert wave(items, others, {"carrier": "dhl"}).group_values(["carrier"]) == {}


def test_a_few_items_or_no_others_explain_nothing() -> None:
    north, south = {"warehouse": "north"}, {"warehouse": "south"}
    assert wave([north] * 2, [south] * 200).cause() is None
    assert wave([north] * 50, []).cause() is None
    assert wave([north] * 3, [south] * 160 + [north] * 40).cause() is None
    assert values_of(wave([north] * 4, [south] * 160 + [north] * 40).cause()) == north


def test_a_value_that_is_known_late_is_not_rare_for_that() -> None:
    """Nine of ten others have no carrier yet; of those that have one 95 % have the same."""
    others: Sequence[Journey] = [{}] * 900 + [{"carrier": "dhl"}] * 95 + [{"carrier": "ups"}] * 5
    assert wave([{"carrier": "dhl"}] * 60, others).cause() is None


ROWS = st.lists(
    st.fixed_dictionaries({}, optional={label: st.sampled_from(["a", "b", "c"]) for label in LABELS}), max_size=60
)


@settings(max_examples=150)
@given(kinds=ROWS, others=ROWS, times=st.integers(1, 30), group=st.sampled_from([None, "warehouse"]))
def test_an_explanation_never_names_a_value_without_a_lift(
    kinds: list[Journey], others: list[Journey], times: int, group: str | None
) -> None:
    fixed = {"warehouse": "a"} if group else {}
    items = [{**one, **fixed} for one in kinds] * times
    named = wave(items, others * times, fixed)
    cause = named.cause(fixed)
    if cause is None:
        return
    peers = [one for one in others if fixed.items() <= one.items()]
    assert not cause.values.keys() & fixed.keys()
    for some in [cause.values, *({label: value} for label, value in cause.values.items())]:
        with_both = [_share(rows, some) for rows in (items, peers)]
        assert with_both[0] > with_both[1], (some, with_both)
    assert sum(cause.values.items() <= one.items() for one in items) >= SHARE * len(items)


def _share(rows: Sequence[Journey], values: Mapping[str, str]) -> float:
    """The share of those with all the values among those of whom it is known."""
    known = [one for one in rows if any(one.get(k, v) != v for k, v in values.items()) or values.keys() <= one.keys()]
    return sum(values.items() <= one.items() for one in known) / len(known) if known else 0.0


# --- in words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (
            Cause({"warehouse": "north"}, 48, 50, 40, 200),
            "48 of 50 have warehouse north, as do 20 % of the 200 other open orders.",
        ),
        (
            Cause({"warehouse": "north", "carrier": "dhl"}, 1200, 1200, 1, 12000),
            "All have warehouse north and carrier dhl, as do under 1 % of the 12,000 other open orders.",
        ),
        (Cause({"channel": "edi"}, 4, 5, 0, 30), "4 of 5 have channel edi, and none of the 30 other open orders."),
    ],
)
def test_an_explanation_in_words(cause: Cause, words: str) -> None:
    assert text.because(cause, "order") == words
