"""What is refused: in part, as a whole, and which status and message says so."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from collector.problems import TooSlow
from milepost import settings
from milepost.errors import Unavailable
from tests.conformance.otlp.conftest import JSON, PB, post, stored, told
from tests.conformance.otlp.samples import attributes, business, logs, many, record, span, traces
from tests.served import Served, collector, wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")

BOTH = pytest.mark.parametrize("protobuf", [False, True], ids=["json", "protobuf"])
NO_TYPE = "it names keys, but no type: send milepost.type, or give /wms/north a signal rule in the catalog"
NO_IDS = "trace id or span id: not 16 and 8 bytes, or all zero"


def bad(**fields: Any) -> dict[str, Any]:
    """It names a key, but no type."""
    return span(said={"milepost.key.order": "S1"}, **fields)


@BOTH
def test_a_part_is_refused(served: Served, protobuf: bool) -> None:
    name = str(protobuf)  # the same refusal is kept once an hour
    foreign = business(spanId="bb" * 8, name=name)
    foreign["attributes"] += attributes({"milepost.source": "/x"})
    late = business(spanId="cc" * 8, name=name, endTimeUnixNano="9223372036854775807")
    document = traces(business(), bad(spanId="aa" * 8, name=name), foreign, late)
    answer = post(served, "/v1/traces", document, protobuf=protobuf)
    assert answer.status_code == 200
    (success,) = told(answer).values()
    assert success["rejectedSpans"] == "3"
    message = success["errorMessage"]
    assert message.startswith("3 refused, and kept in quarantine: ")
    assert f"{'aa' * 8}: {NO_TYPE}" in message
    assert 'this key may not send "order.received" as source "/x"' in message
    assert "outside the years 1990 to 2100" in message
    assert [event["id"][-16:] for event in stored(served)] == ["eee19b7ec3c1b174"]
    kept = served.quarantined()
    assert {row["kind"] for row in kept} == {"malformed", "forbidden"}
    assert len(kept) == 3


def test_of_many_refusals_some_are_told(served: Served) -> None:
    answer = post(served, "/v1/traces", traces(business(), *(bad(spanId=f"{n:016x}") for n in range(1, 9))))
    message = told(answer)["partialSuccess"]["errorMessage"]
    assert (message.count(NO_TYPE), message[-10:]) == (5, "and 3 more")


@BOTH
def test_refused_log_records_are_counted(served: Served, protobuf: bool) -> None:
    document = logs(record({"milepost.type": "a.b"}), record({"milepost.key.order": "S1"}))
    answer = post(served, "/v1/logs", document, protobuf=protobuf)
    assert told(answer)["partialSuccess"]["rejectedLogRecords"] == "1"


@BOTH
@pytest.mark.parametrize(
    ("refused", "status", "code", "key", "why"),
    [
        (bad(), 400, 3, "north", NO_TYPE),
        (business(traceId="00" * 16), 400, 3, "north", NO_IDS),
        (business(spanId="ab"), 400, 3, "north", NO_IDS),
        (business(kind=1), 403, 7, "picking", 'this key may not send "order.received"'),
        (business(), 400, 3, "several", "it has neither milepost.source nor service.name"),
        (span(said={"milepost.type": "x" * 129}), 400, 3, "north", "type: Expected `str` of length <= 128"),
        (span(said={"milepost.type": "a.b", "x": "y" * 20_000}), 400, 3, "north", "at most 20000 are allowed"),
        (span(said={"milepost.type": "a.b", "x": "\x00"}), 400, 3, "north", "U+0000"),
        (span(said={"milepost.type": "a.b", "milepost.outcome": "fine"}), 400, 3, "north", "data.outcome"),
    ],
)
def test_all_of_it_is_refused(
    served: Served, protobuf: bool, refused: dict[str, Any], status: int, code: int, key: str, why: str
) -> None:
    document = traces({**refused, "name": str(protobuf)})  # the same refusal is kept once an hour
    answer = post(served, "/v1/traces", document, protobuf=protobuf, key=key)
    message = told(answer)
    assert (answer.status_code, message["code"]) == (status, code)
    assert why in message["message"]
    assert stored(served) == []
    assert len(served.quarantined()) == 1


MALFORMED = [
    ("cut off", b'{"resourceSpans": [', "the body is not valid JSON: Input data was truncated"),
    ("an array", b"[]", "the body is no OTLP: Expected `object`, got `array`"),
    (
        "an enum by name",
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_SERVER"}]}]}]}',
        "Expected `int",
    ),
    (
        "a number that is none",
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"endTimeUnixNano":"1e9"}]}]}]}',
        "the body is no OTLP: a number is not an integer of 64 bits",
    ),
    (
        "a number that is too great",
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"endTimeUnixNano":"18446744073709551616"}]}]}]}',
        "the body is no OTLP: a number is not an integer of 64 bits",
    ),
    ("not UTF-8", b'{"x":"\xff"}', "the body is not valid JSON: 'utf-8' codec can't decode"),
    (
        "deep",
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"x","value":'
        + b'{"arrayValue":{"values":[' * 40
        + b"]}}" * 40
        + b"}]}}]}",
        "an attribute is nested more than 32 levels deep",
    ),
    (
        "far too deep",
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"x","value":' + b'{"arrayValue":{"values":[' * 5000,
        "the body is not valid JSON: ",
    ),
]


@pytest.mark.parametrize(("body", "why"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_json_that_is_none(served: Served, body: bytes, why: str) -> None:
    answer = post(served, "/v1/traces", body)
    assert (answer.status_code, answer.headers["content-type"], told(answer)["code"]) == (400, JSON, 3)
    assert why in told(answer)["message"]


def deep(levels: int) -> bytes:
    """A resource whose attribute is nested; each level is an AnyValue of an ArrayValue."""
    inner = b""
    for _ in range(levels):
        array = b"\x0a" + length(inner) + inner
        inner = b"\x2a" + length(array) + array
    pair = b"\x0a\x01x\x12" + length(inner) + inner
    resource = b"\x0a" + length(pair) + pair
    group = b"\x0a" + length(resource) + resource
    return b"\x0a" + length(group) + group


def length(message: bytes) -> bytes:
    size, digits = len(message), b""
    while size > 0x7F:
        digits += bytes([size & 0x7F | 0x80])
        size >>= 7
    return digits + bytes([size])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\x0a", "a number is cut off"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "a number is cut off"),
        (b"\x0a\x05\x12", "field 1 is cut off"),
        (b"\x09\x00", "field 1 is cut off"),
        (b"\x0b\x0c", "field 1 is cut off"),
        (b"hello", "the body is not protobuf"),
        (b"\x0a\x07\x12\x05\x12\x03\x2a\x01\xff", "the body is not protobuf: Error parsing message"),
        (deep(33), "an attribute is nested more than 32 levels deep"),
        (deep(500), "the body is not protobuf: Error parsing message"),
    ],
)
def test_protobuf_that_is_none(served: Served, body: bytes, why: str) -> None:
    answer = post(served, "/v1/traces", body, protobuf=True)
    assert (answer.status_code, answer.headers["content-type"], told(answer)["code"]) == (400, PB, 3)
    assert why in told(answer)["message"]


@BOTH
def test_too_large(served: Served, protobuf: bool) -> None:
    for body, headers in (
        (b" " * 200_001, {}),
        (gzip.compress(bytes(50_000_000)), {"content-encoding": "gzip"}),
    ):
        answer = post(served, "/v1/traces", body, protobuf=protobuf, headers=headers)
        assert (answer.status_code, told(answer)["code"]) == (413, 3)


def test_a_flood_of_empty_spans_is_too_large(database: str) -> None:
    flood = b"\x12\x00" * 500_000
    scoped = b"\x12" + length(flood) + flood
    body = b"\x0a" + length(scoped) + scoped
    objects = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * 1_000_001 + b"{}]}]}]}"
    with collector(database, limits=settings.Ingest(max_body_bytes=4_000_000)) as served:
        wait_until(lambda: post(served, "/v1/traces", {}).status_code == 200)
        for protobuf, sent in ((True, body), (False, objects)):
            answer = post(served, "/v1/traces", sent, protobuf=protobuf)
            assert (answer.status_code, told(answer)["code"]) == (413, 3)
            assert "in one request; send several requests" in told(answer)["message"]


@BOTH
@pytest.mark.parametrize(
    ("key", "status", "code"), [("", 401, 16), ("expired", 401, 16), ("revoked", 401, 16), ("reader", 403, 7)]
)
def test_keys(served: Served, protobuf: bool, key: str, status: int, code: int) -> None:
    answer = post(served, "/v1/traces", traces(business()), protobuf=protobuf, key=key)
    assert (answer.status_code, told(answer)["code"]) == (status, code)
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_other_types_and_encodings(served: Served) -> None:
    headers = {"authorization": f"Bearer {served.keys['north']}"}
    for content_type in ("text/plain", ""):
        given = {**headers, "content-type": content_type}
        answer = served.client.post("/v1/traces", content=b"x", headers=given)
        assert (answer.status_code, answer.headers["content-type"], told(answer)["code"]) == (415, JSON, 3)
    answer = post(served, "/v1/traces", b"x", protobuf=True, headers={"content-encoding": "br"})
    assert (answer.status_code, answer.headers["content-type"]) == (415, PB)
    with_charset = {**headers, "content-type": "application/json; charset=utf-8"}
    assert served.client.post("/v1/traces", content=b"{}", headers=with_charset).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(served: Served, method: str) -> None:
    answer = served.client.request(method, "/v1/logs", headers={"content-type": PB})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert told(answer)["code"] == 12


@BOTH
def test_who_sends_too_fast_waits(database: str, protobuf: bool) -> None:
    with collector(database, limits=settings.Ingest(rate_per_key=1)) as served:
        document = traces(*many(9))
        wait_until(lambda: post(served, "/v1/traces", document, protobuf=protobuf).status_code == 200)
        answer = post(served, "/v1/traces", document, protobuf=protobuf)
    assert (answer.status_code, told(answer)["code"]) == (429, 8)
    assert int(answer.headers["retry-after"]) >= 1


@BOTH
def test_while_the_database_is_away_it_may_be_sent_again(
    served: Served, protobuf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise Unavailable("the database does not answer", retry_after=2)

    monkeypatch.setattr("collector.commit.Writer.submit", away)
    answer = post(served, "/v1/traces", traces(business()), protobuf=protobuf)
    assert (answer.status_code, told(answer)["code"], answer.headers["retry-after"]) == (503, 14, "2")


@BOTH
def test_a_slow_body_may_be_sent_again(served: Served, protobuf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """408 would tell the sender to drop what it has."""

    def slow(*_: Any) -> None:
        raise TooSlow("the body did not arrive within 30 seconds")

    monkeypatch.setattr("collector.intake._Body.read", slow)
    answer = post(served, "/v1/traces", traces(business()), protobuf=protobuf)
    assert (answer.status_code, told(answer)["code"], answer.headers["retry-after"]) == (503, 14, "1")


def test_a_bug_of_ours_is_told_in_the_protocol_s_shape(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("collector.formats.otlp.read", broken)
    answer = post(served, "/v1/traces", traces(business()))
    assert (answer.status_code, answer.json()) == (
        500,
        {"code": 13, "message": "an error inside Milepost; its log says more"},
    )
