"""Keys are made comparable as the catalog says, and words that are no key are refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from correlator.model import Compiled
from milepost.catalog import keys, loader
from milepost.errors import CatalogError
from tests.oracle import Oracle

TEXTS = loader.default_texts()
BUILT_IN = Compiled(loader.load(TEXTS))


def compiled(rule: dict[str, Any], kind: str = "order", **more: Any) -> Compiled:
    document = yaml.safe_load(TEXTS["journeys.yaml"]) | more
    document["keys"][kind] = rule
    return Compiled(loader.load(TEXTS | {"journeys.yaml": yaml.safe_dump(document)}))


@pytest.mark.parametrize(
    ("steps", "written", "meant"),
    [
        (["strip"], "  S1 ", "S1"),
        (["strip", "upper"], "po-1a", "PO-1A"),
        (["lower"], "ÄB", "äb"),
        (["strip_zeros"], "000471", "471"),
        (["strip_zeros"], "00", None),
        (["alphanumeric"], "PO-4711/A", "PO4711A"),
        (["alphanumeric"], "-/-", None),
        ([{"drop": " -"}], "1Z 999-AA1", "1Z999AA1"),
        ([{"prefix": ["PO", "PO#"]}], "PO#12", "12"),
        ([{"prefix": "PO"}], "PO", "PO"),
        (["upper", {"drop": " -#"}, {"prefix": "PO"}, "strip_zeros"], "0po-000471", "471"),
        ([{"replace": r"^(\d+)-\d+$", "with": r"\1"}], "4711-2", "4711"),
    ],
)
def test_steps(steps: list[Any], written: str, meant: str | None) -> None:
    rules = compiled({"normalise": steps})
    assert rules.normalise("order", written) == meant
    if meant is not None:
        assert rules.normalise("order", meant) == meant
        assert keys.normalise(rules.catalog, "order", written) == meant
    oracle = Oracle({"models": {}, "keys": {"order": {"normalise": steps}}, "junk": ["0"]}, [])
    found = oracle.obj("order", written, {"data": {}})
    assert (found and found[2]) == meant


@pytest.mark.parametrize("word", ["N/A", "n/a", " tbd ", "0", "-", "None", "null", "unknown", "TEST", "???"])
@pytest.mark.parametrize("kind", ["order", "shipment", "correlation", "a_type_without_a_rule"])
def test_junk_is_no_key_of_any_type(word: str, kind: str) -> None:
    assert BUILT_IN.normalise(kind, word) is None


def test_junk_is_known_in_its_comparable_form_too() -> None:
    rules = compiled({"normalise": ["upper", "alphanumeric"], "junk": ["SEE MAIL"]})
    assert rules.normalise("order", "n./a.") is None
    assert rules.normalise("order", "see-mail") is None


def test_a_word_may_be_junk_for_some_types_only() -> None:
    rules = compiled({"not_junk": ["Test"], "junk": ["phone"]})
    assert (rules.normalise("order", "TEST"), rules.normalise("order", "Phone")) == ("TEST", None)
    assert (rules.normalise("invoice", "TEST"), rules.normalise("invoice", "Phone")) == (None, "Phone")
    assert compiled({}, junk=[]).normalise("order", "TBD") == "TBD"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ([{"replace": "^(.*)$", "with": "x\\1"}], "must stay as it is when it is normalised again"),
        (["upper", "lower"], None),
        ([{"drop": " ", "prefix": "PO"}], "a step has one of drop, prefix and replace"),
        ([{"prefix": ""}], "must name what it takes away"),
        ([{"drop": "-", "with": "+"}], "only replace puts something in the place"),
        ([{"replace": "("}], "replace: ("),
        ([{"replace": "a", "with": "\\2"}], "invalid group reference"),
        (["casefold"], "journeys.yaml: order"),
    ],
)
def test_rules_that_can_not_be(rule: list[Any], told: str | None) -> None:
    if told is None:
        compiled({"normalise": rule})
        return
    with pytest.raises(CatalogError) as refused:
        compiled({"normalise": rule})
    assert told in str(refused.value)
