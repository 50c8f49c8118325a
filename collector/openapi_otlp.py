"""The description of OTLP's ways in in OpenAPI. What the messages hold is said by the protocol."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from collector.ways.otlp import KINDS, PROTOBUF, Kind
from milepost import settings

_JSON: Final = "application/json"
_RETRY: Final = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
_ERRORS: Final = {
    HTTPStatus.BAD_REQUEST: "The body can't be decoded, or everything in it was refused",
    HTTPStatus.UNAUTHORIZED: "No key, or one that is not known, has expired or was revoked",
    HTTPStatus.FORBIDDEN: "The key may not send, or may send none of these events",
    HTTPStatus.METHOD_NOT_ALLOWED: "Not POST",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Too many bytes (after decompression too) or signals",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "Neither protobuf nor JSON, or an encoding that is not known",
    HTTPStatus.TOO_MANY_REQUESTS: "The key sends too fast",
    HTTPStatus.SERVICE_UNAVAILABLE: "Send again later; sending twice does no harm",
}
SCHEMAS: Final[dict[str, Any]] = {
    "Status": {
        "type": "object",
        "description": "google.rpc.Status",
        "required": ["code", "message"],
        "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
    }
}


def paths(limits: settings.Ingest) -> dict[str, Any]:
    """Path → what may be done there."""
    return {kind.path: {"post": _post(kind, limits)} for kind in KINDS}


def _post(kind: Kind, limits: settings.Ingest) -> dict[str, Any]:
    return {
        "tags": ["send"],
        "operationId": f"export_{kind.name}s",
        "summary": f"Send OpenTelemetry {kind.name}s",
        "description": "OTLP/HTTP 1 in protobuf or JSON; the answer comes in the form of the request. Signals that have"
        " no `milepost.type` and match no signal rule of the catalog are no events, and are not kept. At most"
        f" {limits.max_body_bytes} bytes a request, after decompression too.",
        "security": [{"bearer": []}, {"api_key": []}],
        "requestBody": {"required": True, "content": _content({"type": "object"}, kind)},
        "responses": {
            "200": {
                "description": "What was accepted is on stable storage; `partialSuccess` tells what was refused",
                "content": _content({"type": "object"}, None),
            },
            **{str(status.value): _error(status, text) for status, text in _ERRORS.items()},
        },
    }


def _content(schema: dict[str, Any], kind: Kind | None) -> dict[str, Any]:
    described: dict[str, Any] = {"schema": schema}
    if kind is not None:
        described["example"] = {kind.envelope: []}
    return {_JSON: described, PROTOBUF.decode(): {"schema": {"type": "string", "format": "binary"}}}


def _error(status: HTTPStatus, description: str) -> dict[str, Any]:
    answer = {"description": description, "content": _content({"$ref": "#/components/schemas/Status"}, None)}
    retried = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    return answer | ({"headers": _RETRY} if retried else {})
