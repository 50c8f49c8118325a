"""Somebody who is notified: a loopback server that takes Standard Webhooks and checks their signatures itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import msgspec

PATH: Final = "/alerts"
TOLERANCE: Final = 300.0
"""Seconds by which a signature's time may be off."""
_PREFIX: Final = "whsec_"
_MAX_BODY: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification whose signature is right. `event`: opened, updated, resolved, …"""

    event: str
    severity: str
    headline: str
    url: str


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where it listens, and the secret that senders sign with."""

    url: str
    secret: str


def new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


@contextmanager
def listening(told: Callable[[Notice], None]) -> Iterator[Receiver]:
    """A receiver on a free port for as long as the block lasts; `told` is called from its threads."""
    secret = new_secret()
    handler = type("Handler", (_Handler,), {"secret": secret, "told": staticmethod(told)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="receiver", daemon=True)
    thread.start()
    try:
        yield Receiver(f"http://127.0.0.1:{server.server_address[1]}{PATH}", secret)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def signed(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether a Standard Webhooks 1.0.0 signature is right and fresh: HMAC-SHA256 over `id.timestamp.body`."""
    number, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not at.isdecimal() or abs(now - int(at)) > TOLERANCE:
        return False
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    digest = hmac.digest(key, f"{number}.{at}.".encode() + body, hashlib.sha256)
    right = "v1," + base64.b64encode(digest).decode()
    return any(hmac.compare_digest(right, given) for given in headers.get("webhook-signature", "").split())


class _Handler(BaseHTTPRequestHandler):
    secret: str
    told: Callable[[Notice], None]
    timeout = 10

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _MAX_BODY:
            self._answer(HTTPStatus.BAD_REQUEST)
            return
        body = self.rfile.read(int(length))
        given = {name.lower(): value for name, value in self.headers.items()}
        if not signed(self.secret, given, body, time.time()):
            self._answer(HTTPStatus.UNAUTHORIZED)
            return
        self._answer(HTTPStatus.NO_CONTENT)
        self.told(_notice(msgspec.json.decode(body)))

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _notice(payload: dict[str, Any]) -> Notice:
    data = payload["data"]
    event = payload["type"].removeprefix("alert.")
    return Notice(event, data["alert"]["severity"], data["headline"], data["url"])
