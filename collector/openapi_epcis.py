"""The description of EPCIS's capture subset in OpenAPI; the standard's own has every detail."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from collector.ways.epcis import CAPTURE, EVENTS, JOB
from milepost import settings

_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_OBJECT: Final = {"type": "object"}
_ERRORS: Final = {
    HTTPStatus.BAD_REQUEST: "The body can't be read as EPCIS 2.0 in JSON",
    HTTPStatus.UNAUTHORIZED: "No key, or one that doesn't count",
    HTTPStatus.FORBIDDEN: "The key may not send, or stands for several sources",
    HTTPStatus.NOT_FOUND: "No such capture of this sender",
    HTTPStatus.METHOD_NOT_ALLOWED: "Not in the capture subset",
    HTTPStatus.NOT_ACCEPTABLE: "The sender accepts no JSON",
    HTTPStatus.REQUEST_TIMEOUT: "The body took too long to arrive",
    HTTPStatus.CONFLICT: "The event was captured before",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Too many bytes or events",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "Neither JSON nor JSON-LD",
    HTTPStatus.TOO_MANY_REQUESTS: "The key sends too fast",
    HTTPStatus.SERVICE_UNAVAILABLE: "Send again later; sending twice does no harm",
}
_ONLY: Final = {HTTPStatus.NOT_FOUND: ("get",), HTTPStatus.CONFLICT: ("create",)}
_NO_BODY: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_ID: Final = {
    "name": "capture",
    "in": "path",
    "required": True,
    "description": "The end of the Location that a capture was answered with",
    "schema": {"type": "string"},
}


def paths(limits: settings.Ingest) -> dict[str, Any]:
    """Path → what may be done there."""
    bound = f"At most {limits.max_batch_events} events and {limits.max_body_bytes} bytes at once."
    announced = {"204": {"description": "Allow and the GS1 headers say what is supported"}}
    return {
        CAPTURE: {
            "post": _operation("capture", "Capture EPCIS events", bound, _captured()),
            "options": _options("announce_capture", announced),
        },
        JOB: {
            "get": _operation("get", "What became of a capture", "", _told()) | {"parameters": [_ID]},
            "options": _options("announce_capture_job", announced) | {"parameters": [_ID]},
        },
        EVENTS: {
            "post": _operation("create", "Capture one EPCIS event", bound, _created()),
            "options": _options("announce_epcis_events", announced),
        },
    }


def _operation(kind: str, summary: str, description: str, done: dict[str, Any]) -> dict[str, Any]:
    body = {
        "required": True,
        "content": {"application/json": {"schema": _OBJECT}, "application/ld+json": {"schema": _OBJECT}},
    }
    return {
        "tags": ["send"],
        "operationId": f"epcis_{kind}",
        "summary": summary,
        "description": f"EPCIS 2.0, capture subset. {description}".strip(),
        "security": [{"bearer": []}, {"api_key": []}],
        **({} if kind == "get" else {"requestBody": body}),
        "responses": done | {str(status.value): _error(text) for status, text in _ERRORS.items() if _may(kind, status)},
    }


def _may(kind: str, status: HTTPStatus) -> bool:
    return kind in _ONLY.get(status, (kind,)) and not (kind == "get" and status in _NO_BODY)


def _options(name: str, done: dict[str, Any]) -> dict[str, Any]:
    return {"tags": ["send"], "operationId": name, "summary": "What is supported", "responses": done}


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "content": _PROBLEM}


def _located(description: str) -> dict[str, Any]:
    return {"description": description, "headers": {"Location": {"schema": {"type": "string"}}}}


def _captured() -> dict[str, Any]:
    return {"202": _located("Over; its state is at Location")}


def _created() -> dict[str, Any]:
    content = {"application/json": {"schema": _OBJECT}}
    return {"201": _located("Captured: the event, with its eventID") | {"content": content}}


def _told() -> dict[str, Any]:
    return {"200": {"description": "running, success, errors", "content": {"application/json": {"schema": _OBJECT}}}}
