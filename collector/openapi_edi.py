"""The description of /v1/edi/{source} in OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from collector.ways.edi import MEDIA
from milepost import settings

_EXAMPLE: Final = (
    "UNB+UNOC:3+4099999000001:14+4012345000009:14+261120:1002+17'UNH+1+ORDERS:D:96A:UN'"
    "BGM+220+4500012345+9'UNT+3+1'UNZ+1+17'"
)
_DOCUMENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "control", "events"],
    "properties": {
        "type": {"type": "string", "description": "850, ORDERS …; TA1 for what stands outside of documents"},
        "control": {"type": "string", "description": "Its control number, or message reference"},
        "events": {"type": "integer"},
    },
}
SCHEMAS: Final[dict[str, Any]] = {
    "EdiOutcome": {
        "allOf": [
            {"$ref": "#/components/schemas/Outcome"},
            {
                "type": "object",
                "required": ["documents"],
                "properties": {"documents": {"type": "array", "items": _DOCUMENT}},
            },
        ]
    }
}


def paths(limits: settings.Ingest, responses: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The path; `responses` are those of sending events."""
    taken = {
        "description": "At least one event was accepted, and is on stable storage",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/EdiOutcome"}}},
    }
    post = {
        "tags": ["send"],
        "operationId": "send_edi",
        "summary": "Send EDI interchanges",
        "description": "Takes X12 and EDIFACT interchanges, any number in one body. An interchange whose envelope is"
        " broken is refused whole, with segment and element, and kept in quarantine; the others are taken."
        f" At most {limits.max_body_bytes} bytes and {limits.max_batch_events} events a request.",
        "security": [{"bearer": []}, {"api_key": []}],
        "parameters": [_SOURCE],
        "requestBody": {
            "required": True,
            "content": {media: {"schema": {"type": "string"}, "example": _EXAMPLE} for media in MEDIA},
        },
        "responses": {**responses(), "202": taken},
    }
    return {"/v1/edi/{source}": {"post": post}}


_SOURCE: Final = {
    "name": "source",
    "in": "path",
    "required": True,
    "description": "The source of the events; the key must be allowed to send as it",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[^\x00-\x1f]+$"},
}
