"""Scripts and styles, compressed once: charts and grids come as megabytes of script, and phones are on slow lines."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST: Final = 2048
MOST: Final = 64 * 1024 * 1024
"""Bytes kept, compressed, over all files; what goes beyond is sent as it is."""
_TYPES: Final = ("text/", "application/javascript", "image/svg+xml")


@dataclass(frozen=True, slots=True)
class Kept:
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Compressed:
    """ASGI: what `app` answers to GET, compressed, and kept by its path. For files that never change."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._kept: dict[str, Kept] = {}
        self._size = 0
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepts = "gzip" in Headers(scope=scope).get("accept-encoding", "")
        if scope["method"] != "GET" or not accepts:
            await self._app(scope, receive, send)
            return
        key = scope["path"]  # what comes after it only tells versions apart, and this process has one
        kept = self._kept.get(key)
        if kept is None:
            await self._app(scope, receive, _Capture(send, partial(self._keep, key)))
        else:
            await send({"type": "http.response.start", "status": 200, "headers": kept.headers})
            await send({"type": "http.response.body", "body": kept.body})

    def _keep(self, key: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Kept:
        packed = gzip.compress(body, 9, mtime=0)
        made = MutableHeaders(raw=list(headers))
        made["Content-Encoding"] = "gzip"
        made["Content-Length"] = str(len(packed))
        made.add_vary_header("Accept-Encoding")
        kept = Kept(made.raw, packed)
        with self._lock:
            if self._size + len(packed) <= MOST and key not in self._kept:
                self._kept[key] = kept
                self._size += len(packed)
        return kept


class _Capture:
    """Holds an answer back until it is whole, if it is worth compressing; else lets it pass."""

    def __init__(self, send: Send, keep: partial[Kept]) -> None:
        self._send = send
        self._keep = keep
        self._start: Message | None = None
        self._body: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._worth(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._finish(self._start)

    def _worth(self, message: Message) -> bool:
        headers = Headers(raw=message["headers"])
        fits = headers.get("content-type", "").startswith(_TYPES) and "content-encoding" not in headers
        return message["status"] == 200 and fits and int(headers.get("content-length", LEAST)) >= LEAST

    async def _finish(self, start: Message) -> None:
        kept = await anyio.to_thread.run_sync(self._keep, list(start["headers"]), b"".join(self._body))
        await self._send({**start, "headers": kept.headers})
        await self._send({"type": "http.response.body", "body": kept.body})
