"""The gate before pages and read API: nobody sees a page without a session, and every answer says what it may load."""

from __future__ import annotations

from functools import partial
from typing import Final
from urllib.parse import quote

import anyio.to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.problems import bounded, problem_of
from dashboards.session import Person, Sessions, current_person, same_origin
from dashboards.static import Compressed
from milepost.errors import TooLarge, Transient

OPEN: Final = ("/login", "/logout", "/acknowledge/", "/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json")
"""What has an authorisation of its own, or needs none."""
STATIC: Final = ("/assets/", "/_dash-component-suites/", "/_favicon.ico")
CALLBACK_BYTES: Final = 8 * 1024 * 1024
"""What a page may send with one callback: grids send their rows."""
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
_HSTS: Final = "max-age=31536000"


class Gate:
    """ASGI middleware. Sets `current_person` for what is behind it.

    `scripts` are the CSP hashes of the inline scripts that a page is made of.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, public_url: str, scripts: tuple[str, ...]) -> None:
        self._app = app
        self._static = Compressed(app)
        self._sessions = sessions
        self._public_url = public_url
        self._policy = content_policy(scripts)
        self._headers = _HEADERS | ({"Strict-Transport-Security": _HSTS} if sessions.secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # the pages need none
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # what GET answers without its body; the server leaves it out. Not where asking changes something.
        if scope["method"] == "HEAD" and not scope["path"].startswith("/login"):
            scope = {**scope, "method": "GET"}
        if scope["path"].startswith(OPEN):
            await self._app(scope, receive, self._guarded(send))
        elif scope["path"].startswith(STATIC):
            await self._static(scope, receive, self._guarded(send))
        else:
            await self._with_person(scope, receive, self._guarded(send))

    async def _with_person(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = HTTPConnection(scope)
        try:
            found = await anyio.to_thread.run_sync(partial(self._sessions.person, request.cookies))
        except Transient as error:
            await problem_of(error)(scope, receive, send)
            return
        refusal = self._refuse(request, found)
        if refusal is not None or found is None:
            await (refusal or PlainTextResponse("log in", 401))(scope, receive, send)
            return
        token = current_person.set(found)
        try:
            await self._app(scope, bounded(receive, CALLBACK_BYTES), send)
        except TooLarge as error:
            await problem_of(error)(scope, receive, send)
        finally:
            current_person.reset(token)

    def _refuse(self, request: HTTPConnection, found: Person | None) -> Response | None:
        path, method = request.scope["path"], request.scope.get("method")
        if method != "GET" and not same_origin(request.headers, self._public_url):
            return PlainTextResponse("this request comes from another site", 403)
        if found is None and (path.startswith(("/_dash-", "/_reload-hash")) or method != "GET"):
            return PlainTextResponse("your session has ended; log in again", 401)
        if int(request.headers.get("content-length") or 0) > CALLBACK_BYTES:
            return PlainTextResponse("too large", 413)
        if found is not None:
            return None
        here = path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(here, safe='')}" if here != "/" else "/login", 303)

    def _guarded(self, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                kind = headers.get("content-type", "")
                if kind.startswith("text/html"):
                    headers.setdefault("Content-Security-Policy", self._policy)
                    headers["Cache-Control"] = "no-store"
                elif "json" in kind:
                    headers.setdefault("Content-Security-Policy", _DATA_POLICY)
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return guarded


def content_policy(scripts: tuple[str, ...]) -> str:
    """Everything from our own address; charts and grids set styles inline."""
    allowed = " ".join(("'self'", *scripts))
    return (
        f"default-src 'self'; script-src {allowed}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:;"
        " font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
