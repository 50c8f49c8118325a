"""Errors as application/problem+json (RFC 9457), and what a handler answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.types import Send

from milepost.errors import (
    MalformedBody,
    MilepostError,
    NotAllowed,
    NotAuthenticated,
    RateLimited,
    TooLarge,
    Transient,
    UnsupportedFormat,
)

JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"
INTERNAL: Final = "an error inside Milepost; its log says more"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response, ready to be sent."""

    status: int
    body: bytes
    media_type: bytes = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def send(self, send: Send, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """`more`: header fields beside its own."""
        length = str(len(self.body)).encode()
        headers = [(b"content-type", self.media_type), (b"content-length", length), *self.headers, *more]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class TooSlow(MilepostError):
    """The body did not arrive in time."""


_statuses: Final[tuple[tuple[type[MilepostError], HTTPStatus], ...]] = (
    (MalformedBody, HTTPStatus.BAD_REQUEST),
    (NotAuthenticated, HTTPStatus.UNAUTHORIZED),
    (NotAllowed, HTTPStatus.FORBIDDEN),
    (TooSlow, HTTPStatus.REQUEST_TIMEOUT),
    (TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UnsupportedFormat, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (Transient, HTTPStatus.SERVICE_UNAVAILABLE),
)


def problem(status: int, detail: str, **members: Any) -> Answer:
    """A problem whose type is its status; `members` are extension members."""
    about = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail}
    return Answer(status, msgspec.json.encode({**about, **members}), PROBLEM)


def from_error(error: MilepostError) -> Answer:
    """The answer to an error of ours; one that has no status of its own is our own fault: 500."""
    for kind, status in _statuses:
        if isinstance(error, kind):
            answer = problem(status, str(error))
            answer.headers.extend(_headers(error))
            return answer
    return internal_error()


def internal_error() -> Answer:
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL)


def _headers(error: MilepostError) -> list[tuple[bytes, bytes]]:
    if isinstance(error, NotAuthenticated):
        return [(b"www-authenticate", b'Bearer realm="milepost"')]
    if isinstance(error, Transient):
        return [(b"retry-after", str(max(1, math.ceil(error.retry_after or 1))).encode())]
    return []
