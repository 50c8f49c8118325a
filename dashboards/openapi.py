"""What FastAPI can't know of the read API for openapi.json: who may ask, what errors look like, what lists are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI

_LIST: Final = {
    "type": "object",
    "required": ["items", "next_cursor"],
    "properties": {
        "items": {"type": "array", "items": {"type": "object"}},
        "next_cursor": {"type": ["string", "null"], "description": "For ?cursor=; null on the last page"},
    },
}
_PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and how to mend it"},
    },
}
_ERRORS: Final = {
    "400": "A cursor that this list did not give out, or a body that can't be read",
    "401": "No key and no session, or one that doesn't count",
    "403": "Known, but not allowed",
    "404": "No such thing",
    "409": "Several things match, or it contradicts what is stored",
    "413": "The body is too large",
    "422": "A parameter that there isn't, or a value or a body that can't be used",
    "429": "Too many failed authentications from this address",
    "503": "The database does not answer",
}
_ALWAYS: Final = ("401", "403", "422", "429", "503")
_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, mp_…"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "session": {"type": "apiKey", "in": "cookie", "name": "milepost_session", "description": "Of somebody logged in"},
}


def complete(app: FastAPI) -> None:
    """Let `app` describe its read API too. Ways in, which describe themselves, stay as they are."""
    before = app.openapi

    def openapi() -> dict[str, Any]:
        document = before()
        if "session" not in document.setdefault("components", {}).get("securitySchemes", {}):
            _describe(document)
        return document

    described: Callable[[], dict[str, Any]] = openapi
    app.openapi = described  # type: ignore[method-assign]


def _describe(document: dict[str, Any]) -> None:
    components = document["components"]
    components.setdefault("securitySchemes", {}).update(_SECURITY)
    components.setdefault("schemas", {}).setdefault("Problem", _PROBLEM)
    components["schemas"].setdefault("List", _LIST)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/v1/") and "security" not in operation and method != "options":
                _complete(operation, method)


def _complete(operation: dict[str, Any], method: str) -> None:
    operation["security"] = [{name: []} for name in _SECURITY]
    parameters = {item["name"]: item["in"] for item in operation.get("parameters", ())}
    errors = {*_ALWAYS}
    if "cursor" in parameters:
        errors |= {"400"}
    if "path" in parameters.values():
        errors |= {"404", "409"}
    if method != "get":
        errors |= {"400", "404", "409", "413"}
    answers = operation["responses"]
    for status in sorted(errors):
        answers[status] = _problem(status)
    for status, answer in answers.items():
        if status.startswith("2") and method == "get":
            schema = {"$ref": "#/components/schemas/List"} if "cursor" in parameters else {"type": "object"}
            if set(answer.get("content", {})) <= {"application/json"}:  # what is a file says so itself
                answer["content"] = {"application/json": {"schema": schema}}


def _problem(status: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    made: dict[str, Any] = {"description": _ERRORS[status], "content": content}
    if status in ("429", "503"):
        made["headers"] = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
    return made
