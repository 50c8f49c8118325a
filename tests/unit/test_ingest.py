"""The pure half of the collector: what is sent raises nothing but our own errors, or reaches the log whole."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.binding import Format, Splitter, format_of
from collector.ingest import MAX_DEPTH, Accepted, validate
from milepost import contract
from milepost.errors import MilepostError, TooLarge, UnsupportedFormat


class Anybody:
    """A sender that may send everything."""

    default_source = "/here"

    def may_send(self, source: str, event_type: str) -> bool:
        return True


class Nobody:
    """A sender that may send nothing, and counts how often it is asked."""

    default_source = None

    def __init__(self) -> None:
        self.asked = 0

    def may_send(self, source: str, event_type: str) -> bool:
        self.asked += 1
        return False


def event(**changes: Any) -> bytes:
    whole = {
        "specversion": "1.0",
        "id": "1",
        "source": "/here",
        "type": "order.received",
        "data": {"keys": {"order": "S1"}},
    }
    return json.dumps({**whole, **changes}).encode()


def judge(*bodies: bytes, lenient: bool = False) -> Accepted:
    return validate(bodies, received_us=17, sender=Anybody(), lenient=lenient)


def test_an_accepted_event_is_stored_as_it_came() -> None:
    body = event(anything={"else": [1.10]})
    (entry,) = judge(body).entries
    assert (entry.body, entry.received_us) == (body, 17)


@pytest.mark.parametrize("fields", [{}, {"data": {}}, {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}])
def test_an_id_that_was_taken_from_a_trace_stays_out_of_the_content_wherever_it_comes_again(
    fields: dict[str, Any],
) -> None:
    """What is stored comes back from exports and from the quarantine; its sender's repeat has another trace."""
    body = event(**fields)
    (first,) = validate([body], received_us=17, sender=Anybody(), correlation="0" * 31 + "1").entries
    (again,) = judge(first.body).entries
    (repeat,) = validate([body], received_us=17, sender=Anybody(), correlation="0" * 31 + "2").entries
    assert (again.content, again.body) == (first.content, first.body)
    assert (repeat.identity, repeat.content) == (first.identity, first.content)
    stated = {name: value for name, value in json.loads(first.body).items() if name != "correlationfrom"}
    assert judge(json.dumps(stated).encode()).entries[0].content != first.content


def test_events_that_only_a_trace_tells_apart_have_ids_of_their_own() -> None:
    bodies = [
        json.dumps({"type": "a.b", "correlationid": trace, "correlationfrom": "trace"}).encode() for trace in "xy"
    ]
    one, other = judge(*bodies, lenient=True).entries
    assert one.identity != other.identity


def test_nothing_in_nothing_out() -> None:
    verdict = judge()
    assert (verdict.entries, verdict.rejected, verdict.forbidden) == ([], [], False)


def test_a_made_up_id_is_the_same_for_the_same_content() -> None:
    bodies = [
        b'{"type":"a.b","data":{"keys":{"order":"1"}}}',
        b'{"data": {"keys": {"order": ["1"]}, "outcome": "ok"}, "type": "a.b"}',
        b'{"type":"a.b","data":{"keys":{"order":"2"}}}',
    ]
    one, other, different = judge(*bodies, lenient=True).entries
    assert (one.identity, one.content) == (other.identity, other.content)
    assert one.identity != different.identity


def test_completing_keeps_every_digit_and_every_field() -> None:
    body = b'{"type":"a.b","data":{"keys":{"order":"1"}},"n":1.10,"big":123456789012345678901234567890,"e":"\\u00e9"}'
    (entry,) = judge(body, lenient=True).entries
    assert b'"n":1.10' in entry.body
    assert b'"big":123456789012345678901234567890' in entry.body
    assert set(json.loads(entry.body)) == {"specversion", "id", "source", "type", "data", "n", "big", "e"}


def test_rights_are_asked_once_a_batch_and_kind() -> None:
    sender = Nobody()
    verdict = validate([event(), event(id="2"), event(type="b.c")], received_us=0, sender=sender)
    assert sender.asked == 2
    assert verdict.forbidden
    assert [item.forbidden for item in verdict.rejected] == [True, True, True]


def test_errors_that_quote_are_cut() -> None:
    (rejection,) = judge(event(specversion="9" * 5000, id="i" * 300)).rejected
    assert len(rejection.error) <= 500
    assert rejection.id == "i" * 256


def test_a_refusal_says_who_it_claims_to_be() -> None:
    (rejection,) = judge(event(type="", id="7", source="/there")).rejected
    assert (rejection.index, rejection.id, rejection.source, rejection.forbidden) == (0, "7", "/there", False)
    (rejection,) = judge(event(type="", id=7, source=["x"])).rejected
    assert (rejection.id, rejection.source) == (None, None)


def nest(depth: int, opening: str, closing: str) -> str:
    return opening * depth + "1" + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_depth_is_counted_to_the_level(opening: str, closing: str) -> None:
    levels = opening.count("[") + opening.count("{")
    most = (MAX_DEPTH - 1) // levels
    template = event(x="@").decode()
    assert judge(template.replace('"@"', nest(most, opening, closing)).encode()).entries
    assert judge(template.replace('"@"', nest(most + 1, opening, closing)).encode()).rejected


def test_brackets_in_text_are_not_depth() -> None:
    assert judge(event(x='[{"[\\"[{' * 500)).entries
    assert judge(event(x=[[] for _ in range(500)])).entries


@pytest.mark.parametrize("hostile", ['"\\' * 60_000, '"' * 120_000, "[]" * 60_000, "[" * 120_000, '[{"":' * 24_000])
def test_hostile_shapes_are_judged_at_once(hostile: str) -> None:
    """In a time that grows with the length, not with its square (that would take minutes here)."""
    assert judge(b"[]" * 100 + hostile.encode()).rejected


# --- whatever is sent -------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
near_events = st.fixed_dictionaries(
    {"type": st.text(max_size=8) | json_values},
    optional={
        "id": st.text(max_size=4) | json_values,
        "source": st.sampled_from(["", "/here", "/there"]) | json_values,
        "specversion": st.just("1.0") | json_values,
        "time": st.datetimes().map(lambda at: at.isoformat() + "Z") | json_values,
        "data": st.fixed_dictionaries(
            {"keys": st.dictionaries(st.sampled_from(["order", "picking"]), st.text(max_size=4) | json_values)},
            optional={"attributes": st.dictionaries(st.text(max_size=4), json_values, max_size=3)},
        )
        | json_values,
        "data_base64": st.just("e30=") | json_values,
        "more": json_values,
    },
)


def holds(bodies: list[bytes], lenient: bool) -> None:
    """Every body is judged; what is accepted reads back as what was judged."""
    verdict = validate(bodies, received_us=0, sender=Anybody(), lenient=lenient)
    assert len(verdict.entries) + len(verdict.rejected) == len(bodies)
    for entry in verdict.entries:
        read = contract.decode(entry.body)
        assert read.id
        assert read.source
        assert entry.identity == contract.identity_of(read.source, read.id)
        assert entry.content == contract.content_of(read)
        assert json.loads(entry.body)["specversion"] == "1.0"
    for rejection in verdict.rejected:
        assert rejection.error
        assert rejection.body == bodies[rejection.index]


@given(st.lists(near_events, max_size=4), st.booleans())
def test_near_events(values: list[Any], lenient: bool) -> None:
    holds([msgspec.json.encode(value) for value in values], lenient)


@given(st.lists(st.binary(max_size=60), max_size=4), st.booleans())
def test_any_bytes(bodies: list[bytes], lenient: bool) -> None:
    holds(bodies, lenient)


@given(st.binary(max_size=80) | st.lists(near_events, max_size=3).map(msgspec.json.encode), st.sampled_from(Format))
def test_splitting_any_bytes(body: bytes, kind: Format) -> None:
    splitter = Splitter(2)
    try:
        bodies = splitter.split(kind, body, "application/json", [(b"ce-id", body[:9])])
    except MilepostError:
        return
    assert len(bodies) <= 2
    holds(bodies, kind.lenient)


@given(st.text(max_size=40), st.booleans())
def test_any_content_type(content_type: str, binary: bool) -> None:
    with contextlib.suppress(UnsupportedFormat):
        assert format_of(content_type, [(b"ce-id", b"1")] if binary else []) in Format


def test_an_array_of_crumbs_costs_no_memory() -> None:
    """Sixteen million bytes of `1,` would be eight million objects."""
    body = b"[" + b"1," * 500_000 + b"1]"
    tracemalloc.start()
    with pytest.raises(MilepostError, match="more than 10 events"):
        Splitter(10).split(Format.JSON, body, "", [])
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


def test_a_body_of_line_ends_costs_no_memory() -> None:
    assert Splitter(10).split(Format.NDJSON, b"\n" * 10**6, "", []) == []
    with pytest.raises(TooLarge, match="more than 10 events"):
        Splitter(10).split(Format.NDJSON, b"x\n" * 10**6, "", [])
