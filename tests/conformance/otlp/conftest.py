"""One collector for all samples, with a catalog whose sources have signal rules."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import pytest
import sqlalchemy as sa
from google.protobuf import json_format
from google.rpc import status_pb2

from collector.ways.otlp import KINDS, PROTOBUF
from milepost import settings
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.db.engine import make_engine
from milepost.decisions import catalog
from tests.databases import Databases
from tests.served import Served, collector, wait_until

JSON: Final = "application/json"
PB: Final = PROTOBUF.decode()
LIMITS = settings.Ingest(max_body_bytes=200_000, max_event_bytes=20_000, max_batch_events=3)
SOURCES = """
sources:
  /wms/north:
    signals:
      - {name: "health *", type: null}
      - name: "pack *"
        kind: consumer
        when: {messaging.system: [rabbitmq, kafka]}
        type: picking.packed
        time: start
        keys: {picking: app.picking, order: [app.order, app.orders]}
        attributes: {warehouse: app.warehouse, host: host.name}
        on_error: rejected
      - {name: order.placed, signal: log, type: order.received, keys: {order: order.id}}
  checkout:
    signals: [{name: place, type: order.received, keys: {order: order.id}}]
"""
RESPONSES = {kind.path: kind.response for kind in KINDS}


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Served]:
    with databases.fresh() as url:
        engine = make_engine(url, application_name="test")
        apply(engine)
        engine.dispose()
        with collector(url, limits=LIMITS) as running:
            wait_until(lambda: post(running, "/v1/traces", {}).status_code == 200)
            yield running


def apply(engine: sa.Engine) -> None:
    texts = {**loader.default_texts(), "sources.yaml": SOURCES}
    with engine.begin() as connection:
        catalog.apply(connection, texts, actor="test", now=utc_now())


def post(
    served: Served,
    path: str,
    document: Any,
    *,
    protobuf: bool = False,
    key: str = "north",
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """An export request: bytes as they are, anything else in JSON or, by way of the official messages, in protobuf."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    if protobuf and not isinstance(document, bytes):
        body = to_protobuf(path, document)
    given = {"content-type": PB if protobuf else JSON}
    if key:
        given["authorization"] = f"Bearer {served.keys[key]}"
    return served.client.post(path, content=body, headers={**given, **(headers or {})})


def to_protobuf(path: str, document: Any) -> bytes:
    """OTLP's JSON has hex where protobuf's JSON has base64: the ids are put in by hand."""
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    kind = {
        "/v1/traces": trace_service_pb2.ExportTraceServiceRequest,
        "/v1/logs": logs_service_pb2.ExportLogsServiceRequest,
    }[path]
    return json_format.ParseDict(_base64_ids(document), kind()).SerializeToString()


def _base64_ids(value: Any) -> Any:
    import base64

    if isinstance(value, list):
        return [_base64_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        name: base64.b64encode(bytes.fromhex(item)).decode() if name in ids else _base64_ids(item)
        for name, item in value.items()
    }


def told(answer: httpx.Response) -> dict[str, Any]:
    """The answer's message as a document, whichever form it came in."""
    if answer.headers["content-type"] == JSON:
        found: dict[str, Any] = answer.json()
        return found
    assert answer.headers["content-type"] == PB
    message = status_pb2.Status() if answer.status_code >= 400 else RESPONSES[answer.request.url.path]()
    message.ParseFromString(answer.content)
    return json_format.MessageToDict(message)


def stored(served: Served) -> list[dict[str, Any]]:
    return [json.loads(entry.body) for entry in served.taken()]
