"""What the contract refuses because something behind it could not hold it, and what it keeps apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from milepost import contract
from milepost.errors import InvalidEvent

MOST, LEAST = 2**63 - 1, -(2**63)
STORED = 8961164796186093031
"""What databases have as the content of one event: another hash would make a conflict of each repeat."""


def body(keys: dict[str, Any], **data: Any) -> bytes:
    whole = {"specversion": "1.0", "id": "1", "source": "/wms", "type": "order.received"}
    return json.dumps({**whole, "data": {"keys": keys, **data}}).encode()


@pytest.mark.parametrize("number", [MOST + 1, LEAST - 1, 10**30, 10**4000])
def test_integers_beyond_64_bits_are_refused_as_keys_and_attributes(number: int) -> None:
    """The formats in which events travel have none, and no index holds a key of 4,000 digits."""
    with pytest.raises(InvalidEvent, match=r"data\.keys"):
        contract.decode(body({"order": number}))
    with pytest.raises(InvalidEvent, match=r"data\.keys"):
        contract.decode(body({"order": ["S1", number]}))
    with pytest.raises(InvalidEvent, match=r"data\.attributes"):
        contract.decode(body({"order": "S1"}, attributes={"weight": number}))


@pytest.mark.parametrize("number", [MOST, LEAST, 0])
def test_integers_of_64_bits_are_taken(number: int) -> None:
    event = contract.decode(body({"order": number}, attributes={"weight": number}))
    assert contract.key_list(event.data.keys["order"]) == [str(number)]
    assert event.data.attributes == {"weight": number}


def test_a_correlation_is_no_key() -> None:
    """A correlation that names another one could be reached from above and not from below."""
    with pytest.raises(InvalidEvent, match="correlationid"):
        contract.decode(body({"order": "S1", "correlation": "Z1"}))
    for end in ("parent", "child"):
        link = {"parent": {"type": "order", "key": "S1"}, "child": {"type": "picking", "key": "P1"}}
        link[end] = {"type": "correlation", "key": "Z1"}
        with pytest.raises(InvalidEvent, match="correlationid"):
            contract.decode(body({}, links=[link]))


def test_source_and_id_are_kept_apart_whatever_they_contain() -> None:
    assert contract.identity_of("/a\x1fb", "c") != contract.identity_of("/a", "b\x1fc")
    assert contract.identity_of("/a", "1") != contract.identity_of("/a1", "")


def test_the_same_content_in_other_words_is_the_same_content() -> None:
    one = contract.decode(body({"order": 5, "picking": ["B", "A", "B"]}, attributes={"a": 1, "b": 2}))
    other = contract.decode(body({"picking": ["A", "B"], "order": ["5"]}, attributes={"b": 2, "a": 1}))
    assert contract.content_of(one) == contract.content_of(other)
    assert contract.content_of(one) != contract.content_of(contract.decode(body({"order": "6"})))
    assert contract.content_of(one) == STORED
