"""Which of several policies that promise the same runs, and the words for it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.catalog.choice import Choice, Wish, choice, range_of, relatives, wish_of
from tests.sla_cases import catalog

BETWEEN = {"kind": "between", "start": "received", "end": "confirmed", "within": "4h"}


def family(*policies: dict[str, Any]) -> list[Wish]:
    made = catalog(*({**BETWEEN, **policy} for policy in policies))
    return relatives(made.policies[0], made)


@pytest.mark.parametrize(
    ("match", "value", "holds"),
    [
        (">= 1000", "1000", True),
        (">= 1000", "999.99", False),
        (">=1000", 1000.5, True),
        ("> 1000", "1000.0000", False),
        ("< 50", 49, True),
        ("<= 50", "50", True),
        ("100..500", "500", True),
        ("100 .. 500", "500.01", False),
        ("-5..5", -5, True),
        (["< 10", "> 90", "unknown"], "95", True),
        (["< 10", "> 90", "unknown"], "Unknown", True),
        (["< 10", "> 90"], "50", False),
        (">= 1000", None, False),
        (">= 1000", "a lot", False),
        ("< 1000", "NaN", False),
        ("< 1000", True, False),
        ("1000", "1000", True),
        ("1000", "1000.00", False),  # a plain value is compared as it is written
    ],
)
def test_a_range_of_numbers(match: str | list[str], value: Any, holds: bool) -> None:
    (wish,) = family({"name": "p", "match": {"amount": match}})
    assert wish.applies({"amount": value}) is holds
    assert wish.lacks({"amount": value}) == ([] if holds else ["amount"])


def test_what_is_no_range() -> None:
    assert [range_of(text) for text in ("1000", ">= many", "=> 5", "5-10", "850", "")] == [None] * 6


def test_the_winner_says_why() -> None:
    some = family(
        {"name": "general"},
        {"name": "edi", "match": {"channel": "edi"}},
        {"name": "big", "match": {"channel": "edi", "amount": ">= 1000"}},
        {"name": "north", "match": {"channel": "edi", "warehouse": "north"}, "priority": 1},
        {"name": "aaa", "match": {"channel": "edi"}, "priority": -1},
    )
    seen = {"channel": "EDI", "amount": "2000"}
    found = choice(some, "big", seen)
    assert found == Choice(
        {"channel": "EDI", "amount": "2000"},
        {
            "north": "it is for others (warehouse is not known)",
            "edi": "it asks for fewer attributes",
            "aaa": "it asks for fewer attributes",
            "general": "it asks for fewer attributes",
        },
    )
    assert str(found).startswith("channel is EDI and amount is 2000; not north: it is for others (warehouse is")
    assert choice(some, "edi", seen) is None
    small = choice(some, "edi", {"channel": "edi", "amount": 5})
    assert small is not None
    assert small.others["aaa"] == "its priority is lower"
    assert small.others["big"] == "it is for others (amount is 5)"


def test_an_only_policy_says_nothing() -> None:
    assert not choice(family({"name": "p"}), "p", {})


def test_names_decide_last() -> None:
    found = choice(family({"name": "b"}, {"name": "a"}), "a", {})
    assert found is not None
    assert found.others == {"b": "its name comes later"}


names = st.sampled_from(["channel", "carrier", "partner", "amount"])
values = st.sampled_from(["x", "y", "5", "> 3", "1..4"])
policies = st.lists(
    st.fixed_dictionaries({"match": st.dictionaries(names, values, max_size=3), "priority": st.integers(0, 1)}),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(policies, st.dictionaries(names, st.sampled_from(["x", "y", "2", "5"])))
def test_the_winner_is_that_of_the_oracle(drawn: list[dict[str, Any]], seen: dict[str, str]) -> None:
    told = [{**BETWEEN, **policy, "name": f"p{number}"} for number, policy in enumerate(drawn)]
    some = relatives((made := catalog(*told)).policies[0], made)

    def fits(wanted: str, value: str | None) -> bool:
        if value in ("2", "5") and wanted in ("> 3", "1..4"):
            return {"> 3": value == "5", "1..4": value == "2"}[wanted]
        return value == wanted

    fitting = [p for p in told if all(fits(wanted, seen.get(name)) for name, wanted in p["match"].items())]
    best = min(fitting, key=lambda p: (-len(p["match"]), -p["priority"], p["name"]), default=None)
    for policy in told:
        found = choice(some, policy["name"], seen)
        assert (found is not None) == (policy is best)
        if found is not None:
            assert found.matched.keys() == policy["match"].keys()
            assert found.others.keys() == {p["name"] for p in told} - {policy["name"]}
    assert wish_of(made.policies[0], made) in some
