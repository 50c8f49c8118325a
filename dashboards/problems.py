"""Errors as application/problem+json (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

import msgspec
import sqlalchemy.exc
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from milepost import errors

_STATUS: Final[tuple[tuple[type[errors.MilepostError], int, str], ...]] = (
    (errors.NotAuthenticated, 401, "Not authenticated"),
    (errors.NotAllowed, 403, "Not allowed"),
    (errors.NotFound, 404, "Not found"),
    (errors.Conflict, 409, "Ambiguous or conflicting"),
    (errors.TooLarge, 413, "Too large"),
    (errors.RateLimited, 429, "Too many requests"),
    (errors.Transient, 503, "Not available now"),
    (errors.Permanent, 400, "Bad request"),
)
RETRY_AFTER: Final = 5
BODY_BYTES: Final = 1024 * 1024
"""What a log-in or an act may weigh."""


class Ambiguous(errors.Conflict):
    """Several things match; `candidates` tells them apart."""

    def __init__(self, message: str, candidates: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.candidates = candidates


def problem(status: int, title: str, detail: str, **extra: Any) -> Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **extra}
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="milepost"'
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER)
    return Response(msgspec.json.encode(body), status, headers, media_type="application/problem+json")


def problem_of(error: errors.MilepostError) -> Response:
    status, title = next((status, title) for kind, status, title in _STATUS if isinstance(error, kind))
    extra = {"candidates": error.candidates} if isinstance(error, Ambiguous) else {}
    made = problem(status, title, str(error), **extra)
    if isinstance(error, errors.Transient) and error.retry_after is not None:
        made.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return made


def bounded(receive: Receive, limit: int) -> Receive:
    """`receive` that raises TooLarge once more than so many bytes of a body have come."""
    left = limit

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise errors.TooLarge(f"the body has more than {limit} bytes")
        return message

    return counted


class ProblemRoute(APIRoute):
    """A route whose errors are problems, and whose bodies are bounded; the app that it is mounted on need not know."""

    body_bytes = BODY_BYTES

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(Request(request.scope, bounded(request.receive, self.body_bytes)))
            except RequestValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"][1:])
                return problem(422, "Invalid request", f"{place}: {first['msg']}")
            except errors.MilepostError as error:
                return problem_of(error)
            except HTTPException as error:
                # FastAPI wraps whatever goes wrong while it reads a body
                if isinstance(error.__cause__, errors.MilepostError):
                    return problem_of(error.__cause__)
                return problem(error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail))
            except (sqlalchemy.exc.DataError, UnicodeEncodeError):
                return problem(422, "Invalid request", "a text holds U+0000 or half a character, a number is too large")
            except sqlalchemy.exc.TimeoutError:
                return problem(503, "Not available now", "no database connection is free; try again")

        return answer
