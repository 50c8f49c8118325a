"""What somebody hostile sends, with a key: every way in says no, soon, and goes on. None of it is an error of ours."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator

import httpx
import pytest
import zstandard

from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.db.engine import make_engine
from milepost.decisions import access
from milepost.decisions import catalog as decided
from tests.databases import Databases
from tests.served import Served, collector

SOURCES = "sources:\n  shop:\n    hook: {mapping: shopify, scheme: key}\n"
JSON, PROTOBUF = "application/json", "application/x-protobuf"
WAYS = {
    "one": ("/v1/events", "application/cloudevents+json"),
    "batch": ("/v1/events", "application/cloudevents-batch+json"),
    "plain": ("/v1/events", JSON),
    "lines": ("/v1/events", "application/x-ndjson"),
    "hook": ("/v1/hooks/shop", JSON),
    "spans": ("/v1/traces", JSON),
    "spans in protobuf": ("/v1/traces", PROTOBUF),
    "log records in protobuf": ("/v1/logs", PROTOBUF),
    "EPCIS": ("/v1/epcis/capture", JSON),
    "EDI": ("/v1/edi/shop", "application/edi-x12"),
}
DEEP = 20_000


def event(**more: object) -> bytes:
    return json.dumps({"type": "order.received", "data": {"keys": {"order": "1"}, **more}}).encode()


def varint(number: int) -> bytes:
    made = b""
    while number > 127:
        made, number = made + bytes([number & 127 | 128]), number >> 7
    return made + bytes([number])


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def nested_value(depth: int) -> bytes:
    """A span with an attribute: a list in a list in a list."""
    value = field(1, b"x")
    for _ in range(depth):
        value = field(5, field(1, value))
    return field(1, field(2, field(2, field(9, field(1, b"k") + field(2, value)))))


HOSTILE = {
    "nothing": b"",
    "blanks": b" " * 1_000_000,
    "a number": b"1",
    "null": b"null",
    "half a text": b'"',
    "back slashes": b'"' + b"\\" * 200_001,
    "nested arrays": b"[" * DEEP + b"]" * DEEP,
    "nested objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "nested and never closed": b"[" * 1_000_000,
    "nested in data": b'{"type":"a.b","data":{"x":' + b"[" * DEEP + b"]" * DEEP + b"}}",
    "nested in base64": json.dumps({"type": "a.b", "data_base64": base64.b64encode(b"[" * DEEP).decode()}).encode(),
    "a whole number of 100,000 digits": event(attributes={"a": 1}).replace(b"1}", b"9" * 100_000 + b"}"),
    "a key of 100,000 digits": b'{"type":"a.b","data":{"keys":{"order":' + b"9" * 100_000 + b"}}}",
    "an exponent beyond all": event(attributes={"a": 7}).replace(b"7", b"1e999999999"),
    "not a number": event(attributes={"a": 7}).replace(b"7", b"NaN"),
    "infinity": b"[-Infinity]",
    "the same member 50,000 times": b"{" + b",".join([b'"type":"a.b"'] * 50_000) + b"}",
    "too many keys": event(keys={f"k{number}": "1" for number in range(5_000)}),
    "too many keys of a type": event(keys={"order": [str(number) for number in range(5_000)]}),
    "too many attributes": event(attributes={f"a{number}": 1 for number in range(5_000)}),
    "too many links": event(links=[{}] * 50_000),
    "too many elements": b"[" + b"1," * 500_000 + b"1]",
    "too many events": b"[" + b"{}," * 50_000 + b"{}]",
    "too many lines": b"{}\n" * 50_000,
    "empty lines": b"\n" * 1_000_000,
    "a long text": event(reason="a" * 1_000_000),
    "a long name": event(keys={"a" * 100_000: "1"}),
    "U+0000": event(keys={"order": "a\0b"}),
    "half a character": b'{"type":"a.b","data":{"keys":{"order":"\\ud800"}}}',
    "no UTF-8": b'{"type":"\xff\xfe"}',
    "UTF-16": '{"type":"a.b"}'.encode("utf-16"),
    "zeros": bytes(100_000),
    "a comment": b"/* */ {}",
    "XML with entities": b"<!DOCTYPE l [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><x>&b;</x>",
    "multipart": b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * 10_000,
    "a length beyond all": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    "a number that never ends": b"\xff" * 100_000,
    "groups in groups": b"\x0b" * 100_000,
    "many empty messages": b"\x0a\x00" * 200_000,
    "values in values": nested_value(1_000),
    "half a header": b"ISA*00*",
    "headers only": b"UNA:+.? 'UNB+UNOA:1+A+B+240101:1200+1'" + b"UNB+UNOA:1+A+B+240101:1200+1'" * 10_000,
    "a segment without end": b"UNA:+.? 'UNB+" + b"?+" * 500_000,
    "components without end": b"UNA:+.? 'UNB+" + b":" * 500_000 + b"'",
}  # fmt: skip


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Served]:
    with databases.fresh() as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            texts = {**loader.default_texts(), "sources.yaml": SOURCES}
            decided.apply(connection, texts, actor="test", now=utc_now())
        engine.dispose()
        with collector(url) as running:  # after the catalog: it looks for another one only now and then
            yield running


@pytest.fixture
def headers(served: Served) -> dict[str, str]:
    """A key of the test's own: what quarantine keeps of one sender is bounded."""
    rights = {"sources": ["shop"], "types": ["*"], "scopes": ["send"], "expires_at": None}
    with served.engine.begin() as connection:
        key = access.create_key(connection, name="hostile", **rights, actor="test", now=utc_now())  # type: ignore[arg-type]
    return {"authorization": f"Bearer {key.text}"}


@pytest.mark.parametrize("way", WAYS)
def test_hostile_bodies_are_refused_by_every_way_in(served: Served, headers: dict[str, str], way: str) -> None:
    path, media = WAYS[way]
    answers = {
        name: served.client.post(path, content=body, headers={**headers, "content-type": media}).status_code
        for name, body in HOSTILE.items()
    }
    # a hook takes whatever is authentic, and says 503 when quarantine keeps no more of one sender
    errors = {name: status for name, status in answers.items() if status >= 500 and (way, status) != ("hook", 503)}
    assert errors == {}
    assert 401 not in answers.values()
    assert served.client.get("/healthz").status_code == 200


BOMBS = {
    "gzip": ("gzip", gzip.compress(bytes(100_000_000), 1), 413),
    "zstd": ("zstd", zstandard.compress(bytes(500_000_000)), 413),
    "gzip in gzip": ("gzip", gzip.compress(gzip.compress(bytes(10_000_000))), 400),
    "several at once": ("gzip, gzip", gzip.compress(gzip.compress(b"{}")), 415),
    "an encoding that is none": ("deflate", b"x", 415),
    "brotli": ("br", b"x", 415),
    "cut off": ("gzip", gzip.compress(event())[:-9], 400),
    "not gzip": ("gzip", event(), 400),
    "many members": ("gzip", gzip.compress(b"") * 5_000, 400),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_is_compressed_is_bounded_by_what_it_holds(served: Served, headers: dict[str, str], bomb: str) -> None:
    encoding, body, expected = BOMBS[bomb]
    for path, media in {(path, media) for path, media in WAYS.values()}:
        sent = {**headers, "content-type": media, "content-encoding": encoding}
        status = served.client.post(path, content=body, headers=sent).status_code
        # gzip in gzip: what comes out once is a body like any other
        assert status == expected or (bomb == "gzip in gzip" and status < 500), (path, media)


@pytest.mark.parametrize("path", sorted({path for path, _ in WAYS.values()}))
def test_more_than_a_body_may_weigh_is_refused_as_it_comes(served: Served, headers: dict[str, str], path: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 1024 * 1024

    announced = served.client.post(path, content=b" " * (17 * 1024 * 1024), headers={**headers, "content-type": JSON})
    assert announced.status_code in (413, 415)
    try:
        streamed = served.client.post(path, content=chunks(), headers={**headers, "content-type": JSON})
        assert streamed.status_code in (413, 415)
    except httpx.WriteError:
        pass  # it answered, and hung up, while more was coming
