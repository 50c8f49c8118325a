"""reconciliations.yaml: what is refused, and that the message names place and mend; tolerance in words."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import yaml

from milepost.catalog import loader
from milepost.catalog.reconciliation import Reconciliation
from milepost.errors import CatalogError
from sla.reconciliation.judge import Day, why_over
from sla.reconciliation.statement import like

GOOD: dict[str, Any] = {"left": {"events": ["picking.packed"]}, "right": {"events": ["picking.done"]}}
JOURNEY = {"match": "journey", "model": "order"}


def load(**fields: Any) -> Reconciliation:
    text = yaml.safe_dump({"reconciliations": {"one": {**GOOD, **fields}}})
    return loader.load({**loader.default_texts(), "reconciliations.yaml": text}).reconciliations["one"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lft": {}}, "one: Object contains unknown field `lft`"),
        ({"left": {"events": ["packed"]}}, "one: left.events[0]: Expected `str` matching regex"),
        ({"left": {"events": ["picking.*"]}}, "one: left.events[0]: Expected `str` matching regex"),
        ({"left": {}}, "one: left: it needs events, or else a milestone"),
        ({"left": {"events": ["a.b"], "milestone": "packed"}}, "one: left: it needs events, or else a milestone"),
        ({"left": {"milestone": "packed"}}, "left: milestone: only a match by journey has milestones"),
        ({**JOURNEY, "left": {"milestone": "baked"}}, "left: milestone: model order has no milestone baked"),
        ({**JOURNEY, "left": {"milestone": "packed", "sources": ["a"]}}, "left: sources: a milestone has none"),
        ({"match": "journey"}, "one: a match by journey needs model"),
        ({"match": "journey", "model": "bread"}, "one: model: there is no model bread; there are edi_document"),
        ({"model": "order"}, "one: model: only a match by journey has one"),
        ({"match": "day"}, "one: match: presence is of objects or journeys"),
        ({"compare": "count", "match": "object"}, "one: match: count compares whole days"),
        ({"compare": "count", "unless": ["a.b"]}, "one: unless: only what is matched"),
        ({"compare": "amount", "both_ways": True}, "one: both_ways: only a comparison of presence has a direction"),
        ({"settle": "soon"}, '"soon" is not a duration'),
        ({"lookback": "36501d"}, 'one: lookback: "36501d" is too long a duration; the longest is 36500d'),
        ({"settle": f"{10**400}w"}, "is too long a duration"),
        ({"timeout": "25h"}, "one: timeout: it must not be longer than 24h"),
        ({"lookback": "0s"}, "one: lookback: it must be longer than 0s"),
        ({"zone": "Mars/Olympus"}, 'one: zone: "Mars/Olympus" is not a known time zone'),
        ({"tolerance": {"share": 2}}, "tolerance.share: Expected `float` <= 1.0"),
        ({"tolerance": {"amount": {"EUR": "-1"}}}, "one: tolerance: amount: EUR: -1 is no amount"),
    ],
)
def test_what_can_not_be_meant_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError) as refused:
        load(**fields)
    assert str(refused.value).startswith("reconciliations.yaml: one")
    assert message in str(refused.value)


def test_names_are_names() -> None:
    text = yaml.safe_dump({"reconciliations": {"Odd Name": GOOD}})
    with pytest.raises(CatalogError, match="Odd Name: a name is lower case"):
        loader.load({**loader.default_texts(), "reconciliations.yaml": text})


def test_built_in_ones_need_their_models() -> None:
    """Models of one's own don't force a file for reconciliations on anybody."""
    journeys = "models: {loaf: {roots: [loaf], milestones: [{name: baked, events: [loaf.baked]}]}}"
    catalog = loader.load({**loader.default_texts(), "journeys.yaml": journeys, "slas.yaml": ""})
    assert set(catalog.reconciliations) == {"packed-and-done"}


def test_what_is_matched_goes_by_what_is_compared() -> None:
    assert load().by == "object"
    assert load(compare="count").by == "day"
    assert load(compare="amount", match="day").by == "day"


@pytest.mark.parametrize(
    ("fields", "day", "why"),
    [
        ({}, {"units": 10}, None),
        ({}, {"units": 10, "only_left": 1}, "1 missing in picking.done of 10 (10.0%)"),
        ({"tolerance": {"share": 0.1}}, {"units": 10, "only_left": 1}, None),
        ({"tolerance": {"share": 0.1}}, {"units": 9, "only_right": 1}, "1 missing in picking.packed of 9 (11.1%)"),
        ({"compare": "count"}, {"left": 10, "right": 9}, "10 and 9, 10.0% apart"),
        ({"compare": "count"}, {"left": 10, "right": 9, "judged": False}, None),
        ({"compare": "count"}, {}, None),
        ({"compare": "amount"}, {"units": 4, "differing": 1}, "1 with another amount of 4 (25.0%)"),
    ],
)
def test_a_day_is_judged(fields: dict[str, Any], day: dict[str, Any], why: str | None) -> None:
    assert why_over(load(**fields), Day(date(2026, 9, 1), **day)) == why


def test_sums_of_a_day_may_differ_by_the_larger_of_percent_and_amount() -> None:
    one = load(compare="amount", match="day", tolerance={"percent": 1, "amount": {"EUR": "3"}})

    def why(left: str, right: str, currency: str = "EUR") -> str | None:
        return why_over(one, Day(date(2026, 9, 1), amounts={currency: (Decimal(left), Decimal(right))}))

    assert why("100", "97") is None
    assert why("100", "96.99") == "100.00 and 96.99 EUR, 3.01 apart"
    assert why("1000", "990") is None
    assert why("100", "98", "USD") == "100.00 and 98.00 USD, 2.00 apart"


def test_patterns_of_sources_are_no_patterns_of_sql() -> None:
    assert like("/wms_1/*/100%\\") == "/wms\\_1/%/100\\%\\\\"
