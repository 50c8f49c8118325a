"""Whatever is sent as OTLP or EPCIS, nothing but our own errors comes out, and what comes out of it can be judged."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.formats import epcis, gs1, otlp, otlp_json, otlp_protobuf
from collector.formats.signals import Origin, Signal
from collector.ingest import validate
from milepost.catalog.epcis import EpcisSpec
from milepost.catalog.schema import SignalRule, SourceSpec
from milepost.errors import MilepostError
from tests.conformance.otlp.conftest import to_protobuf
from tests.conformance.otlp.samples import attributes, logs, record, span, traces

SOURCES = {"/here": SourceSpec(signals=[SignalRule(name="w*", type="a.b", keys={"order": "k"}, attributes={"x": "v"})])}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
SAID = st.dictionaries(
    st.sampled_from(
        ["k", "v", "milepost.type", "milepost.key.order", "milepost.key.X", "milepost.source", "milepost.outcome",
         "milepost.id", "milepost.code", "milepost.attribute.a", "error.type", "", "x"]
    ),
    VALUES,
    max_size=6,
)  # fmt: skip


class Anybody:
    """A sender that may send everything."""

    default_source = "/here"

    def may_send(self, source: str, event_type: str) -> bool:
        return True


def judged(signals: Iterable[tuple[Origin, Signal]]) -> None:
    reading = otlp.read(signals, Anybody(), SOURCES)
    verdict = validate(reading.bodies, received_us=17, sender=Anybody())
    assert len(verdict.entries) + len(verdict.rejected) == len(reading.bodies)
    for refused in reading.refused:
        msgspec.json.decode(refused.body)


@pytest.mark.parametrize("read", [otlp_protobuf.spans, otlp_protobuf.logs, otlp_json.spans, otlp_json.logs])
@settings(max_examples=40)
@given(body=st.binary(max_size=200))
def test_bytes(read: Callable[[bytes], Iterable[tuple[Origin, Signal]]], body: bytes) -> None:
    with contextlib.suppress(MilepostError):
        judged(read(body))


@settings(max_examples=40)
@given(said=SAID, cut=st.integers(0, 400), byte=st.integers(0, 255))
def test_nearly_protobuf(said: dict[str, Any], cut: int, byte: int) -> None:
    document = traces(span("work", said, status={"code": 2}), resource=said)
    whole = to_protobuf("/v1/traces", document)
    at = cut % len(whole)
    judged(otlp_protobuf.spans(whole))
    for body in (whole[:at], whole[:at] + bytes([byte]) + whole[at + 1 :]):
        with contextlib.suppress(MilepostError):
            judged(otlp_protobuf.spans(body))


@settings(max_examples=40)
@given(
    said=SAID, odd=JSON, where=st.sampled_from(["attributes", "traceId", "kind", "events", "status", "name", "links"])
)
def test_nearly_json(said: dict[str, Any], odd: Any, where: str) -> None:
    for document, read in (
        (traces({**span("work", said), where: odd}), otlp_json.spans),
        (logs({**record(said), where: odd}), otlp_json.logs),
        (traces(span(said=said), resource={}) | {"resourceSpans": odd}, otlp_json.spans),
    ):
        with contextlib.suppress(MilepostError):
            judged(read(json.dumps(document).encode()))


def test_both_encodings_say_the_same() -> None:
    said = {"k": ["a", 7], "v": 1.5, "m": {"n": [True]}, "milepost.type": "a.b"}
    document = traces(span("work", said, events=[{"name": "exception", "attributes": attributes({"x": "y"})}]))
    by_json = list(otlp_json.spans(json.dumps(document).encode()))
    assert list(otlp_protobuf.spans(to_protobuf("/v1/traces", document))) == by_json


EVENT = {
    "type": "ObjectEvent", "action": "ADD", "bizStep": "shipping", "eventTime": "2026-04-03T20:33:31Z",
    "eventTimeZoneOffset": "+01:00", "epcList": ["urn:epc:id:sscc:0614141.1234567890"],
    "bizTransactionList": [{"type": "po", "bizTransaction": "urn:epcglobal:cbv:bt:1:2"}],
}  # fmt: skip
URIS = st.sampled_from(
    [
        "urn:epc:id:sscc:1.2",
        "urn:epc:id:sscc:",
        "https://id.gs1.org/00/",
        "https://x/00/1/",
        "http://[",
        "urn:x",
        "",
        "x",
    ]
) | st.text(max_size=30)


@settings(max_examples=40)
@given(
    name=st.sampled_from([*EVENT, "eventID", "parentID", "errorDeclaration", "sourceList", "readPoint", "childEPCs"]),
    value=JSON | URIS | st.lists(URIS, max_size=3),
)
def test_nearly_epcis(name: str, value: Any) -> None:
    body = json.dumps(
        {"type": "EPCISDocument", "schemaVersion": "2.0", "epcisBody": {"eventList": [EVENT | {name: value}]}}
    )
    try:
        reading = epcis.read(epcis.document(body.encode(), 10), "/here", EpcisSpec())
    except MilepostError:
        return
    verdict = validate(reading.bodies, received_us=17, sender=Anybody())
    assert len(verdict.entries) + len(verdict.rejected) == len(reading.bodies)


@settings(max_examples=40)
@given(URIS)
def test_identifiers(uri: str) -> None:
    for read in (gs1.sscc, gs1.gsin, gs1.place, gs1.transaction, gs1.word):
        read(uri)  # type: ignore[operator]


@pytest.mark.parametrize("number", ["1e400", "9" * 5000])
def test_epcis_with_a_number_that_no_reader_takes(number: str) -> None:
    without_id = json.dumps({name: value for name, value in EVENT.items() if name != "eventID"})
    reading = epcis.read([msgspec.Raw(f'{without_id[:-1]}, "ex:x": {number}}}'.encode())], "/here", EpcisSpec())
    (refused,) = reading.refused
    assert "too large" in refused.error
