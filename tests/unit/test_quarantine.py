"""What the quarantine makes of reasons and bodies: groups of one sort, marked places, differences, edits."""

from __future__ import annotations

import json

import pytest

from milepost.errors import InvalidEvent
from milepost.inbox.quarantine import rule_of
from milepost.inbox.quarantine.body import Line, changed, differences, editable, marked, readable

EVENT = b'{"type":"order.received","data":{"keys":{"order":["S1",""]},"attributes":{},"amount":1.10}}'


@pytest.mark.parametrize(
    ("reason", "rule"),
    [
        ("data.keys.order: the key is blank", "data.keys.order: the key is blank"),
        ("data.keys.order[17]: Expected `str`, got `bool`", "data.keys.order[#]: Expected `str`, got `bool`"),
        ('this key may not send "a.b" as source "/x"', 'this key may not send "…" as source "…"'),
        ("data.outcome: Invalid enum value 'fine'", "data.outcome: Invalid enum value '…'"),
        ("event: 300000 bytes, at most 262144 are allowed", "event: # bytes, at most # are allowed"),
        ("time: 1980-01-01T00:00:00+00:00 lies outside 1990 to 2100", "time: # lies outside # to #"),
        ("line 12: BEG03 isn't there", "line #: BEG03 isn't there"),
        ("no such order 0123456789abcdef0123", "no such order #"),
        ('an open "quote', 'an open "…"'),
        ("first\nsecond", "first"),
        ("x" * 500, "x" * 200),
    ],
)  # fmt: skip
def test_a_rule_is_a_reason_without_its_values(reason: str, rule: str) -> None:
    assert rule_of(reason) == rule


def places(body: bytes, reason: str) -> list[str]:
    return [line.text.strip() for line in marked(body, reason) if line.marked]


@pytest.mark.parametrize(
    ("reason", "found"),
    [
        ("data.keys.order[1]: the key is blank", ['""']),
        ("data.keys.picking: missing", ['"keys": {']),
        ("data.keys[...]: no such type", ['"keys": {']),
        ("line 7: type: wrong", ['"type": "order.received",']),
        ("this key may not send it", ['"type": "order.received",']),
        ("data.attributes: empty", ['"attributes": {},']),
        ("id: missing or empty, and CloudEvents requires it", []),
        ("event: nested too deep", []),
        ("no place at all", []),
    ],
)
def test_the_place_of_an_error_is_marked(reason: str, found: list[str]) -> None:
    assert places(EVENT, reason) == found


def test_a_broken_text_is_marked_at_its_byte() -> None:
    body = '{"é":\n "x" "y"}'.encode()
    assert marked(body, "not valid JSON in UTF-8: JSON is malformed: expected ',' (byte 12)") == [
        Line('{"é":'), Line(' "x" "y"}', True, 5),
    ]  # fmt: skip


def test_a_broken_edi_document_is_marked_at_its_segment() -> None:
    body = b"UNB+UNOC:3+A+B+261120:1000+1'UNH+1+ORDERS:D:96A:UN'BGM+220'UNZ+1+1'"
    assert places(body, "segment 3: BGM lacks its number") == ["BGM+220'"]
    isa = "ISA*00*          *00*          *ZZ*A              *ZZ*B              *261120*1000*U*00401*000000001*0*P*>~"
    assert readable((isa + "GS*PO~\nIEA*1~").encode()).split("\n")[1:] == ["GS*PO~", "IEA*1~"]


def test_a_document_is_marked_where_its_interchange_counts() -> None:
    """Its segments have the numbers that they had in the interchange."""
    document = b"UNH+1+ORDERS:D:96A:UN'BGM+220'UNT+9+1'"
    for before in ("UNB+UNOC:3+A+B+261120:1000+1'", "UNA:+.? 'UNB+UNOC:3+A+B+261120:1000+1'"):
        lines = marked(document, "segment 4 (UNT), element 1: 9 segments announced, 3 found", before)
        assert [line.text for line in lines if line.marked] == ["UNT+9+1'"]
        assert len(lines) == 3
    whole = b"UNA:+.? 'UNB+UNOC:3+A+B+261120:1000+1'UNH+1+X'"
    assert places(whole, "segment 2: no") == ["UNH+1+X'"]


def test_what_is_no_text_is_shown_all_the_same() -> None:
    assert readable(b"\xff\x00") == "\ufffd\x00"
    assert [editable(body) for body in (b"\xff\x00", "é".encode(), b"")] == [False, True, True]
    assert marked(b"", "no") == [Line("")]


def test_numbers_keep_their_digits() -> None:
    assert '"amount": 1.10' in readable(EVENT)


def test_two_versions_are_told_apart_by_path() -> None:
    stored = {"id": "1", "type": "a.b", "data": {"keys": {"order": "S1"}, "links": []}}
    other = b'{"id":"1","type":"a.c","data":{"keys":{"order":["S1","S2"]},"links":[],"code":"x"}}'
    assert differences(stored, other) == [
        ("data.code", "–", "x"), ("data.keys.order", '["S1"]', '["S1","S2"]'), ("type", "a.b", "a.c"),
    ]  # fmt: skip
    assert differences(stored, b"no json") == []
    assert differences(stored, b"{}") == []


def test_two_versions_differ_in_what_counts_only() -> None:
    """In what a conflict is found by: not in the way that something is written, nor in what else was sent."""
    stored = {
        "id": "1", "type": "a.b", "time": "2026-11-01T10:00:00+01:00", "traceparent": "x", "specversion": "1.0",
        "correlationid": "0af7", "correlationfrom": "trace", "data": {"keys": {"order": "S1", "po": [2, "1"]}},
    }  # fmt: skip
    same = {"type": "a.b", "time": "2026-11-01T09:00:00Z", "data": {"keys": {"order": ["S1"], "po": ["1", 2]}}}
    assert differences(stored, json.dumps(same).encode()) == []
    other = {**same, "time": "2026-11-01T09:00:01Z", "correlationid": "0af7"}
    assert differences(stored, json.dumps(other).encode()) == [
        ("correlationid", "–", "0af7"), ("time", "2026-11-01T09:00:00+00:00", "2026-11-01T09:00:01+00:00"),
    ]  # fmt: skip


def test_values_are_set_by_path() -> None:
    made = changed(b'{"id":"1"}', {"data.keys.order": "S1", "data.links:": "[]", "id": "2"})
    assert json.loads(made) == {"id": "2", "data": {"keys": {"order": "S1"}, "links": []}}


@pytest.mark.parametrize(
    ("body", "changes"), [(b"{", {"a": "b"}), (b"[]", {"a": "b"}), (b'{"a":1}', {"a.b": "c"}), (b"{}", {"a:": "{"})]
)
def test_what_can_not_be_set_is_told(body: bytes, changes: dict[str, str]) -> None:
    with pytest.raises(InvalidEvent):
        changed(body, changes)
