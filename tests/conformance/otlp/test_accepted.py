"""What becomes of spans and log records, in both encodings."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from tests.conformance.otlp.conftest import post, stored, to_protobuf, told
from tests.conformance.otlp.samples import (
    END,
    PARENT,
    SPAN,
    START,
    TRACE,
    attributes,
    business,
    logs,
    many,
    record,
    span,
    traces,
)
from tests.served import SOURCE, Served

pytestmark = pytest.mark.usefixtures("nothing_left")

BOTH = pytest.mark.parametrize("protobuf", [False, True], ids=["json", "protobuf"])
EVENT = {
    "specversion": "1.0",
    "id": f"{TRACE}-{SPAN}",
    "source": SOURCE,
    "type": "order.received",
    "time": "2025-11-21T10:22:11.250500Z",
    "correlationid": TRACE,
    "causationid": f"{TRACE}-{PARENT}",
}


def sent(served: Served, document: Any, *, path: str = "/v1/traces", **options: Any) -> list[dict[str, Any]]:
    """The events that a request gave, all of it accepted."""
    answer = post(served, path, document, **options)
    assert (answer.status_code, told(answer)) == (200, {})
    return stored(served)


def data(served: Served, *said: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    events = sent(served, traces(*said), **options)
    return [{name: item for name, item in event["data"].items() if name != "span"} for event in events]


@BOTH
def test_a_span_that_says_it_all(served: Served, protobuf: bool) -> None:
    said = {
        "milepost.type": "order.received",
        "milepost.key.order": "S1",
        "milepost.key.customer_po": ["PO-1", 17],
        "milepost.attribute.channel": "web",
        "milepost.attribute.amount": "12.50",
        "http.route": "/orders",
    }
    links = [{"traceId": "ab" * 16, "spanId": "cd" * 8, "attributes": attributes({"why": "batch"})}]
    (event,) = sent(served, traces(span("POST /orders", said, links=links)), protobuf=protobuf)
    assert event == {
        **EVENT,
        "data": {
            "keys": {"order": ["S1"], "customer_po": ["PO-1", 17]},
            "attributes": {"channel": "web", "amount": "12.50"},
            "span": {
                "trace_id": TRACE,
                "span_id": SPAN,
                "parent_span_id": PARENT,
                "name": "POST /orders",
                "kind": "consumer",
                "scope": "my.library",
                "start": "2025-11-21T10:22:11Z",
                "end": "2025-11-21T10:22:11.250500Z",
                "duration_ms": 250.5,
                "attributes": {"http.route": "/orders"},
                "links": [{"trace_id": "ab" * 16, "span_id": "cd" * 8, "attributes": {"why": "batch"}}],
            },
        },
    }


@BOTH
def test_a_span_of_a_rule(served: Served, protobuf: bool) -> None:
    said = {"messaging.system": "kafka", "app.picking": "P1", "app.order": "", "app.orders": ["S1", "S2"], "app.x": 1}
    document = traces(span("pack box", said), resource={"host.name": "h1", "service.name": "unknown_service:python"})
    (event,) = sent(served, document, protobuf=protobuf)
    assert (event["type"], event["source"], event["time"]) == ("picking.packed", SOURCE, "2025-11-21T10:22:11Z")
    assert event["data"]["keys"] == {"picking": ["P1"], "order": ["S1", "S2"]}
    assert event["data"]["attributes"] == {"host": "h1"}
    assert event["data"]["span"]["attributes"] == {
        "messaging.system": "kafka", "app.picking": "P1", "app.order": "", "app.orders": ["S1", "S2"], "app.x": 1,
    }  # fmt: skip


@BOTH
def test_what_a_span_says_itself_wins_over_the_rule(served: Served, protobuf: bool) -> None:
    said = {
        "messaging.system": "kafka",
        "app.picking": "P1",
        "milepost.type": "picking.short",
        "milepost.key.picking": "P9",
        "milepost.id": "own",
        "milepost.outcome": "retried",
        "milepost.code": "E1",
        "milepost.reason": "again",
    }
    (event,) = sent(served, traces(span("pack it", said)), protobuf=protobuf)
    assert (event["type"], event["id"], event["data"]["keys"]) == ("picking.short", "own", {"picking": ["P9"]})
    assert [event["data"][name] for name in ("outcome", "code", "reason")] == ["retried", "E1", "again"]


def test_an_error_is_a_failure_with_its_reason(served: Served) -> None:
    error = {"code": 2, "message": "no stock"}
    raised = {
        "name": "exception",
        "timeUnixNano": END,
        "attributes": attributes({"exception.type": "StockError", "exception.message": "0 of 3"}),
    }
    failed = business(status=error)
    by_exception = business(spanId="aa" * 8, status={"code": 2}, events=[{**raised, "name": "retry"}, raised])
    rejected = span("pack it", {"messaging.system": "kafka", "app.picking": "P1"}, spanId="bb" * 8, status=error)
    fine = business(spanId="cc" * 8, status={"code": 1}, events=[raised])
    found = data(served, failed, by_exception, rejected, fine)
    assert found == [
        {"keys": {"order": ["S1"]}, "outcome": "failed", "reason": "no stock"},
        {"keys": {"order": ["S1"]}, "outcome": "failed", "code": "StockError", "reason": "0 of 3"},
        {"keys": {"picking": ["P1"]}, "outcome": "rejected", "reason": "no stock"},
        {"keys": {"order": ["S1"]}},
    ]


def test_spans_that_nobody_means_are_left(served: Served) -> None:
    before = metric(served)
    spans = [
        span("SELECT orders", {"db.system": "postgresql"}),
        span("health check", {"milepost.key.order": "S1"}),
        span("pack it", {"messaging.system": "nats", "app.picking": "P1"}),
        span("pack it", {"messaging.system": "kafka"}, kind=2),
    ]
    assert sent(served, traces(*spans)) == []
    assert metric(served) - before == 4
    assert served.quarantined() == []


def metric(served: Served) -> float:
    lines = served.client.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith('milepost_collector_signals_ignored_total{signal="span"}')]
    return float(found[0].split()[-1]) if found else 0


def test_whose_it_is(served: Served) -> None:
    """milepost.source, then the service's name where the key may send it, then the key's own source."""
    business_ = business()
    assert sent(served, traces(business_, resource={"service.name": "checkout"}))[0]["source"] == SOURCE
    stated = {"service.name": "checkout", "milepost.source": "/wms/south"}
    assert sent(served, traces(business_, resource=stated), key="several")[0]["source"] == "/wms/south"
    assert sent(served, traces(business_, resource={"service.name": "/wms/s"}), key="several")[0]["source"] == "/wms/s"
    placed = span("place", {"order.id": "S1"})
    (event,) = sent(served, traces(placed, resource={"service.name": "checkout"}), key="anybody")
    assert (event["source"], event["type"]) == ("checkout", "order.received")


def test_sent_again_it_is_a_duplicate(served: Served) -> None:
    for encoding in (False, True, False):
        assert post(served, "/v1/traces", traces(business()), protobuf=encoding).status_code == 200
    assert len({(entry.identity, entry.content) for entry in served.taken()}) == 1


def test_times(served: Served) -> None:
    no_end = business(endTimeUnixNano=None)
    no_time = business(spanId="aa" * 8, endTimeUnixNano=0, startTimeUnixNano=None)
    number = business(spanId="bb" * 8, endTimeUnixNano=int(END))
    assert [event.get("time") for event in sent(served, traces(no_end, no_time, number))] == [
        "2025-11-21T10:22:11Z",
        None,
        EVENT["time"],
    ]


@BOTH
def test_attributes_of_every_sort_are_kept(served: Served, protobuf: bool) -> None:
    said = {"a": "ä", "b": True, "c": -(2**63), "d": 1.5, "e": ["x", 1, [False]], "f": {"g": {"h": []}}, "": "x"}
    extra = {"key": "i", "value": {"bytesValue": base64.b64encode(b"\x00\xff").decode()}}
    one = business()
    one["attributes"] += [*attributes(said), extra, {"key": "j"}, {"key": "k", "value": {}}]
    (event,) = sent(served, traces(one), protobuf=protobuf)
    assert event["data"]["span"]["attributes"] == {**said, "i": "AP8=", "j": None, "k": None}


@BOTH
def test_log_records(served: Served, protobuf: bool) -> None:
    own = record({"milepost.type": "order.held", "milepost.key.order": "S1"}, body={"stringValue": "held for credit"})
    ruled = record({"order.id": 7, "http.x": "y"}, eventName="order.placed", traceId=None, spanId=None)
    error = record({"milepost.type": "order.held"}, severityNumber=17, body={"stringValue": "broken"})
    noise = record(body={"stringValue": "Example log record"})
    events = sent(served, logs(own, ruled, error, noise), path="/v1/logs", protobuf=protobuf)
    assert [(event["type"], event.get("correlationid"), event.get("causationid")) for event in events] == [
        ("order.held", TRACE, f"{TRACE}-{SPAN}"),
        ("order.received", None, None),
        ("order.held", TRACE, f"{TRACE}-{SPAN}"),
    ]
    assert events[0]["data"] == {
        "keys": {"order": ["S1"]},
        "log": {
            "trace_id": TRACE,
            "span_id": SPAN,
            "scope": "my.library",
            "severity": 9,
            "severity_text": "INFO",
            "body": "held for credit",
        },
    }
    assert events[1]["data"]["keys"] == {"order": [7]}
    assert (events[2]["data"]["outcome"], events[2]["data"]["reason"]) == ("failed", "broken")
    assert all(event["id"].startswith("log-") for event in events)


def test_a_log_record_sent_again_is_a_duplicate_and_another_is_not(served: Served) -> None:
    said = {"milepost.type": "order.held", "milepost.key.order": "S1"}
    for _ in range(2):
        sent_ = post(served, "/v1/logs", logs(record(said)))
        assert told(sent_) == {}
    assert told(post(served, "/v1/logs", logs(record(said, timeUnixNano=END)))) == {}
    first, again, other = stored(served)
    assert first == again
    assert other["id"] != first["id"]


@pytest.mark.parametrize("document", [b"", b"{}", b'{"resourceSpans": null}', b'{"resourceSpans": [{"resource": {}}]}'])
def test_an_empty_request_succeeds(served: Served, document: bytes) -> None:
    protobuf = not document
    assert sent(served, document, protobuf=protobuf) == []


@BOTH
def test_compressed(served: Served, protobuf: bool) -> None:
    document = traces(business())
    body = to_protobuf("/v1/traces", document) if protobuf else json.dumps(document).encode()
    headers = {"content-encoding": "gzip"}
    (event,) = sent(served, gzip.compress(body), protobuf=protobuf, headers=headers)
    assert event["id"] == EVENT["id"]


def test_more_than_a_batch_is_taken_in_parts(served: Served) -> None:
    assert len(sent(served, traces(*many(8)))) == 8


def test_json_as_the_specification_has_it(served: Served) -> None:
    """Unknown fields are skipped, hex is read in either case, original field names are none."""
    one = business(traceId=TRACE.upper(), futureField={"x": [1, {}]}, trace_state="x", span_id="ffffffffffffffff")
    document = {**traces(one), "resource_spans": [{"scope_spans": 7}], "schemaUrl": "https://example.org"}
    (event,) = sent(served, document)
    assert (event["id"], event["correlationid"]) == (EVENT["id"], TRACE)


def test_the_specification_s_own_example(served: Served) -> None:
    """The span of examples/trace.json in open-telemetry/opentelemetry-proto; an attribute makes an event of it."""
    ids = {"traceId": TRACE.upper(), "spanId": SPAN.upper()}
    one = span(
        "I'm a server span", {"my.span.attr": "some value"}, **ids, kind=2, endTimeUnixNano="1544712661000000000"
    )
    one["startTimeUnixNano"] = "1544712660000000000"
    assert sent(served, traces(one, resource={"service.name": "my.service"})) == []
    one["attributes"] += attributes({"milepost.type": "message.delivered"})
    (event,) = sent(served, traces(one, resource={"service.name": "my.service"}))
    assert (event["time"], event["correlationid"]) == ("2018-12-13T14:51:01Z", TRACE)
    assert event["data"]["span"]["service"] == "my.service"
    assert START not in json.dumps(event)
