"""OpenTelemetry's own SDK and exporter, sending to a real collector."""

from __future__ import annotations

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from milepost.clock import to_us, utc_now
from tests.conformance.otlp.conftest import stored
from tests.served import SOURCE, Served

pytestmark = pytest.mark.usefixtures("nothing_left")

RESOURCE = Resource.create({"service.name": "esb", "host.name": "h1"})


def headers(served: Served, key: str = "north") -> dict[str, str]:
    return {"authorization": f"Bearer {served.keys[key]}"}


def work() -> tuple[ReadableSpan, ...]:
    """What instrumented middleware does: a message comes in, a query, an order that fails, in another trace a pick."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("esb.orders", "1.0")
    with tracer.start_as_current_span("orders receive") as received:
        received.set_attributes({"milepost.type": "order.received", "milepost.key.order": "S1"})
        with tracer.start_as_current_span("SELECT"):
            pass
        with tracer.start_as_current_span("validate") as validated:
            validated.set_attributes({"milepost.type": "order.validated", "milepost.key.order": "S1"})
            validated.record_exception(ValueError("unknown product"))
            validated.set_status(Status(StatusCode.ERROR))
    links = [Link(received.get_span_context())]
    with tracer.start_span("pack box", kind=SpanKind.CONSUMER, links=links) as packed:
        packed.set_attributes({"messaging.system": "kafka", "app.picking": "P1"})
    provider.shutdown()
    return memory.get_finished_spans()


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_spans(served: Served, compression: Compression) -> None:
    exporter = OTLPSpanExporter(f"{served.url}/v1/traces", headers=headers(served), compression=compression, timeout=30)
    assert exporter.export(work()) is SpanExportResult.SUCCESS
    events = {event["type"]: event for event in stored(served)}
    received, validated, packed = (events[name] for name in ("order.received", "order.validated", "picking.packed"))
    trace = received["correlationid"]
    assert validated["correlationid"] == trace
    assert validated["causationid"] == received["id"]
    assert received["source"] == SOURCE
    assert validated["data"]["outcome"] == "failed"
    assert (validated["data"]["code"], validated["data"]["reason"]) == ("ValueError", "unknown product")
    (link,) = packed["data"]["span"]["links"]
    assert link["trace_id"] == trace != packed["correlationid"]
    assert len(events) == 3


def test_a_refused_key_is_no_success(served: Served) -> None:
    exporter = OTLPSpanExporter(f"{served.url}/v1/traces", headers=headers(served, "revoked"), timeout=30)
    assert exporter.export(work()) is SpanExportResult.FAILURE


def test_log_records(served: Served) -> None:
    provider = LoggerProvider(resource=RESOURCE)
    exporter = OTLPLogExporter(f"{served.url}/v1/logs", headers=headers(served), timeout=30)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("esb.orders")
    said = {"milepost.type": "order.held", "milepost.key.order": "S1"}
    at = to_us(utc_now()) * 1000
    logger.emit(timestamp=at, severity_number=SeverityNumber.ERROR, body="no credit", attributes=said)
    logger.emit(timestamp=at, severity_number=SeverityNumber.INFO, body="nothing of note")
    logger.emit(timestamp=at, attributes={"order.id": "S2"}, event_name="order.placed")
    provider.shutdown()
    held, placed = stored(served)
    assert (held["type"], held["data"]["keys"]) == ("order.held", {"order": ["S1"]})
    assert (held["data"]["outcome"], held["data"]["reason"]) == ("failed", "no credit")
    assert (placed["type"], placed["data"]["keys"]) == ("order.received", {"order": ["S2"]})
