"""How uvicorn serves the collector: the fast parser and loop, and the limits that it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from collector.problems import PROBLEM, Answer, problem

MAX_HEAD_BYTES: Final = 32 * 1024
"""Request line and headers together; more is answered with 431."""
HEAD_SECONDS: Final = 20
"""How long a client may take to send request line and headers, and a new connection to send anything."""
KEEP_ALIVE_SECONDS: Final = 75
GRACE_SECONDS: Final = 30


class HeadTooLarge(Exception):
    """Stops the parser."""


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 with bounds on the size of a request's head, on the time that it takes, and on open connections."""

    max_connections = 2_000
    _head_bytes = 0
    _in_head = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._turn_away()
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_head = False
        self._watch()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """A problem in place of plain text: the one error that no app sees."""
        large = self._head_bytes > MAX_HEAD_BYTES
        self._say(problem(431, f"the headers have more than {MAX_HEAD_BYTES} bytes") if large else problem(400, msg))

    def _turn_away(self) -> None:
        """One connection too many costs an answer, and nothing is read from it."""
        self._say(problem(503, "too many connections"), b"retry-after: 1\r\n")

    def _say(self, answer: Answer, more: bytes = b"") -> None:
        head = b"content-type: %s\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n"
        about = head % (PROBLEM, len(answer.body), more)
        self.transport.write(STATUS_LINE[answer.status] + about + answer.body)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLarge

    def _watch(self) -> None:
        """A timer runs exactly while a head is incomplete; usually one arrives whole and there never is a timer."""
        if not self._in_head:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)


def limited(connections: int) -> type[Protocol]:
    """A protocol that serves so many connections at once."""
    return type("Limited", (Protocol,), {"max_connections": connections})


class Narrowed:
    """An app that answers on one of its ports to nothing but a few paths."""

    def __init__(self, app: ASGIApp, port: int, paths: Collection[str]) -> None:
        self._app = app
        self._port = port
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["server"][1] == self._port and scope["path"] not in self._paths:
            await problem(404, f"port {self._port} is for OpenTelemetry alone").send(send)
        else:
            await self._app(scope, receive, send)


def server_config(app: ASGIApp, *, host: str, port: int, **options: Any) -> uvicorn.Config:
    """uvicorn's configuration for an app that contains the collector. `options` go over it."""
    return uvicorn.Config(
        app,
        **{
            "host": host,
            "port": port,
            "loop": "uvloop",
            "http": Protocol,
            "ws": "none",
            "lifespan": "on",
            "access_log": False,
            "log_config": None,  # by way of our own, which hides secrets
            "log_level": "warning",
            "server_header": False,
            "proxy_headers": False,
            "backlog": 2048,
            "timeout_keep_alive": KEEP_ALIVE_SECONDS,
            "timeout_graceful_shutdown": GRACE_SECONDS,
            **options,
        },
    )
