"""The description of the ways in in OpenAPI: every form with an example, and every answer.

The routes themselves are plain ASGI, so FastAPI can't derive this.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from collector import openapi_edi, openapi_epcis, openapi_otlp
from collector.binding import Format
from milepost import settings
from milepost.contract import Event

_EVENT: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "wms-889123",
    "source": "/wms/north",
    "type": "picking.packed",
    "time": "2026-11-20T10:02:11Z",
    "correlationid": "4f2a91c0",
    "data": {
        "keys": {"order": "S00024", "picking": ["WH/OUT/00047"]},
        "outcome": "ok",
        "attributes": {"channel": "shopify", "warehouse": "north", "amount": "123.40", "currency": "EUR"},
    },
}
_NEXT: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "wms-889124",
    "source": "/wms/north",
    "type": "shipment.dispatched",
    "time": "2026-11-20T11:40:00Z",
    "data": {"keys": {"shipment": "1Z999AA10123456784", "picking": "WH/OUT/00047"}},
}
_PLAIN: Final[dict[str, Any]] = {"type": "order.received", "data": {"keys": {"order": "S00024"}}}
_REJECTED: Final[dict[str, Any]] = {
    "index": 1,
    "id": "wms-889125",
    "error": "data.keys: an event needs at least one key or a correlationid",
}


def describe(schema: dict[str, Any], limits: settings.Ingest) -> dict[str, Any]:
    """`schema` (FastAPI's) with the events route in it."""
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {}).update(_schemas() | openapi_edi.SCHEMAS | openapi_otlp.SCHEMAS)
    components.setdefault("securitySchemes", {}).update(_SECURITY)
    schema.setdefault("paths", {})["/v1/events"] = {"post": _post(limits), "options": _OPTIONS}
    schema["paths"]["/v1/hooks/{source}"] = {
        "post": _hook(limits),
        "options": {
            **_OPTIONS,
            "operationId": "validate_hook",
            "parameters": [_SOURCE, *_OPTIONS["parameters"]],
            "responses": {**_OPTIONS["responses"], "404": _no_hook()},
        },
    }
    schema["paths"].update(
        openapi_otlp.paths(limits) | openapi_epcis.paths(limits) | openapi_edi.paths(limits, _responses)
    )
    return schema


def _post(limits: settings.Ingest) -> dict[str, Any]:
    return {
        "tags": ["send"],
        "operationId": "send_events",
        "summary": "Send events",
        "description": _description(limits),
        "security": [{"bearer": []}, {"api_key": []}],
        "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": _content()},
        "responses": _responses(),
    }


def _hook(limits: settings.Ingest) -> dict[str, Any]:
    kept = {"accepted": 0, "rejected": [], "quarantined": 'mapping shopify: events[0].type: "x" is not in the table'}
    same = {status: answer for status, answer in _responses().items() if status not in ("400", "422")}
    return {
        "tags": ["send"],
        "operationId": "receive_webhook",
        "summary": "Receive a webhook",
        "description": "Takes a payload as its sender makes it. sources.yaml of the catalog says how the source's calls"
        " are signed, and which mapping makes events of them. An authentic payload is always taken: what gives no event"
        f" is kept whole in quarantine, and `quarantined` says why. At most {limits.max_body_bytes} bytes.",
        "security": [{}, {"bearer": []}, {"api_key": []}],
        "parameters": [_SOURCE],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {}, "example": {"id": 1}}}},
        "responses": {
            **same,
            "200": {"description": "A sender's test call that carries nothing"},
            "202": {
                "description": "Authentic, and on stable storage",
                "content": {"application/json": {"schema": _ref("HookOutcome"), "example": kept}},
            },
            "401": _problem(401, "No signature, a wrong or an old one", "the signature does not match"),
            "404": _no_hook(),
        },
    }


def _no_hook() -> dict[str, Any]:
    return _problem(404, "No such source, or it takes no webhooks", 'no source "shop" takes webhooks')


def _description(limits: settings.Ingest) -> str:
    return (
        "Takes CloudEvents 1.0 in structured, batch and binary mode, plain JSON (one object or an array) and NDJSON. "
        "In plain JSON and NDJSON, specversion, id and source may be missing: the id becomes a hash of the content, "
        "the source the key's own.\n\n"
        "An answer of 202 means that the accepted events are on stable storage. Refused events are listed with their "
        "place in the request and kept in quarantine. Sending the same event again does no harm.\n\n"
        f"At most {limits.max_batch_events} events and {limits.max_body_bytes} bytes a request (after decompression "
        f"too), {limits.max_event_bytes} bytes an event, {limits.rate_per_key} events a second and key."
    )


def _content() -> dict[str, Any]:
    event, strict = _ref("Event"), _ref("CloudEvent")
    plain = {
        "one": {"summary": "One event; id and source are made up", "value": _PLAIN},
        "several": {"summary": "An array", "value": [_PLAIN, _EVENT]},
    }
    lines = "".join(json.dumps(item) + "\n" for item in (_PLAIN, _EVENT))
    binary = {"summary": "Binary mode: this is the data; the attributes are ce-* headers", "value": _EVENT["data"]}
    return {
        Format.STRUCTURED.value: {"schema": strict, "example": _EVENT},
        Format.BATCH.value: {"schema": {"type": "array", "items": strict}, "example": [_EVENT, _NEXT]},
        Format.JSON.value: {
            "schema": {"oneOf": [event, {"type": "array", "items": event}, _ref("Data")]},
            "examples": {**plain, "binary": binary},
        },
        Format.NDJSON.value: {"schema": {"type": "string"}, "example": lines},
    }


def _responses() -> dict[str, Any]:
    retry = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
    outcome = {"accepted": 1, "rejected": [_REJECTED]}
    return {
        "202": {
            "description": "At least one event was accepted (or the batch was empty), and is on stable storage",
            "content": {"application/json": {"schema": _ref("Outcome"), "example": outcome}},
        },
        "400": _problem(400, "The body can't be read as the format that it claims to be", "the body is not valid JSON"),
        "401": _problem(401, "No key, or one that is not known, has expired or was revoked", "this key is not known"),
        "403": _refused(403, "The key may not send, or may not send any of these events"),
        "408": _problem(408, "The body took too long to arrive", "the body did not arrive within 30 seconds"),
        "413": _problem(413, "Too many bytes or events", "the body has more than 16777216 bytes"),
        "415": _problem(415, "Format or encoding not understood", 'Content-Type "text/xml" is not understood'),
        "422": _refused(422, "None of the events was accepted"),
        "429": _problem(429, "The key sends too fast", "over 200000 events a second") | {"headers": retry},
        "503": _problem(503, "Send again later; sending twice does no harm", "the database does not answer")
        | {"headers": retry},
    }


def _problem(status: int, description: str, detail: str) -> dict[str, Any]:
    example = {"type": "about:blank", "title": "…", "status": status, "detail": detail}
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": _ref("Problem"), "example": example}},
    }


def _refused(status: int, description: str) -> dict[str, Any]:
    made = _problem(status, description, "none of the events was accepted; `rejected` says why")
    made["content"]["application/problem+json"]["example"] |= {"accepted": 0, "rejected": [_REJECTED]}
    return made


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components([Event], ref_template="#/components/schemas/{name}")
    return {**schemas, **_SCHEMAS}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_SCHEMAS: Final[dict[str, Any]] = {
    "CloudEvent": {"allOf": [_ref("Event"), {"type": "object", "required": ["specversion", "id", "source", "type"]}]},
    "Rejected": {
        "type": "object",
        "required": ["index", "id", "error"],
        "properties": {
            "index": {"type": "integer", "description": "Place in the request, from 0"},
            "id": {"type": ["string", "null"]},
            "error": {"type": "string", "description": "What is wrong, where, and how to mend it"},
        },
    },
    "Outcome": {
        "type": "object",
        "required": ["accepted", "rejected"],
        "properties": {"accepted": {"type": "integer"}, "rejected": {"type": "array", "items": _ref("Rejected")}},
    },
    "HookOutcome": {
        "allOf": [
            _ref("Outcome"),
            {
                "type": "object",
                "properties": {
                    "quarantined": {"type": "string", "description": "Why the payload is kept whole"},
                    "ignored": {"type": "string", "description": "What the mapping says why it means nothing"},
                },
            },
        ]
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457; `accepted` and `rejected` where all events of a request were refused",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "accepted": {"type": "integer"},
            "rejected": {"type": "array", "items": _ref("Rejected")},
        },
    },
}
_SECURITY: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, mp_…"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}


_PARAMETERS: Final = [
    _header("Content-Encoding", "Compression of the body", enum=["gzip", "zstd", "identity"]),
    _header("ce-specversion", 'Binary mode: "1.0"', examples=["1.0"]),
    _header("ce-id", "Binary mode: id, unique in its source", examples=["wms-889123"]),
    _header("ce-source", "Binary mode: source", examples=["/wms/north"]),
    _header("ce-type", "Binary mode: type", examples=["picking.packed"]),
    _header("ce-time", "Binary mode: when it happened", examples=["2026-11-20T10:02:11Z"]),
]
_SOURCE: Final = {
    "name": "source",
    "in": "path",
    "required": True,
    "description": "A source of the catalog that has a hook",
    "schema": {"type": "string"},
}
_OPTIONS: Final[dict[str, Any]] = {
    "tags": ["send"],
    "operationId": "validate_webhook",
    "summary": "Webhook validation of CloudEvents",
    "parameters": [_header("WebHook-Request-Origin", "Who asks"), _header("WebHook-Request-Rate", "Requests a minute")],
    "responses": {
        "200": {
            "description": "The origin may send",
            "headers": {
                "WebHook-Allowed-Origin": {"schema": {"type": "string"}},
                "WebHook-Allowed-Rate": {"schema": {"type": "integer"}, "description": "Requests a minute"},
            },
        }
    },
}
