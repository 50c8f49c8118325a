"""One HTTP connection to the collector, kept open, and what its answers mean."""

from __future__ import annotations

import base64
import email.utils
import gzip
import http.client
import json
import ssl
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

PATH = "/v1/events"
MOST_BATCH_BYTES = 4 * 1024 * 1024
_COMPRESS_ABOVE = 1024
_MOST_ANSWER_BYTES = 4 * 1024 * 1024
_LONGEST_WAIT = 300.0
_VISIBLE_ASCII = frozenset(map(chr, range(0x21, 0x7F)))

Meaning = Literal["taken", "too_large", "broken", "away", "closed"]
"""Taken: judged one by one. Too large: for one request, or an event spoils the others. Broken: 500, which may be for
an event's sake. Away: try again soon. Closed: something must be set right first, the key for instance."""


@dataclass(frozen=True)
class Answer:
    """`refused`: (id, reason) of what the collector took for wrong. `wait`: the seconds that it asked for."""

    meaning: Meaning
    detail: str = ""
    wait: float = 0.0
    refused: Sequence[tuple[str, str]] = field(default_factory=tuple)


class Transport:
    """For one thread. The key appears in no message."""

    def __init__(self, url: str, key: str, *, timeout: float, ca_file: str | None) -> None:
        self._target = _checked(url)
        if not key or not _VISIBLE_ASCII.issuperset(key):
            raise ValueError("key: an API key has visible ASCII characters only")
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "User-Agent": "milepost-client/1",
        }
        self._path = self._target.path.rstrip("/") + PATH
        self._timeout = timeout
        self._tls = ssl.create_default_context(cafile=ca_file) if self._target.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None

    def post(self, events: Sequence[bytes]) -> Answer:
        """Send a batch. Never raises what belongs to the network."""
        body = b"[" + b",".join(events) + b"]"
        headers = dict(self._headers)
        if len(body) > _COMPRESS_ABOVE:
            body = gzip.compress(body, 1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        try:
            response, text = self._exchange(body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.forget()
            return Answer("away", f"{type(error).__name__}: {error}")
        return _read(response, text)

    def forget(self) -> None:
        """Close the connection; the next `post` opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, body: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        if self._connection is not None:
            try:
                return self._once(self._connection, body, headers)
            except (ConnectionError, http.client.RemoteDisconnected):
                self.forget()  # it was closed while it was idle
        self._connection = self._connect()
        return self._once(self._connection, body, headers)

    def _once(
        self, connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection.request("POST", self._path, body, headers)
        response = connection.getresponse()
        text = response.read(_MOST_ANSWER_BYTES)
        if not response.isclosed():
            self.forget()
        return response, text

    def _connect(self) -> http.client.HTTPConnection:
        host, port = str(self._target.hostname), self._target.port
        proxy = _proxy(self._target)
        at = (str(proxy.hostname), proxy.port) if proxy else (host, port)
        if self._tls is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                *at, timeout=self._timeout, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(*at, timeout=self._timeout)
        if proxy:
            connection.set_tunnel(host, port or (443 if self._tls else 80), _proxy_headers(proxy))
        return connection


def _checked(url: str) -> SplitResult:
    target = urlsplit(url)
    if target.scheme not in ("http", "https") or not target.hostname or target.username or target.query:
        raise ValueError(
            f"url: {target.scheme}://{target.hostname or ''} is no address like https://milepost.example.org"
        )
    return target


def _proxy(target: SplitResult) -> SplitResult | None:
    """From HTTPS_PROXY, HTTP_PROXY and NO_PROXY, as for most programs."""
    if urllib.request.proxy_bypass(str(target.hostname)):
        return None
    found = urllib.request.getproxies().get(target.scheme)
    return urlsplit(found if "://" in found else f"http://{found}") if found else None


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def _read(response: http.client.HTTPResponse, text: bytes) -> Answer:
    status, said = response.status, _object(text)
    detail = f"{status} {said.get('detail') or response.reason}"
    if status == 202 or "rejected" in said:
        refused = [(str(item.get("id")), str(item.get("error"))) for item in said.get("rejected", [])]
        return Answer("taken", detail, refused=refused)
    if status == 413 or (status == 400 and "detail" in said):  # what a proxy calls a bad request may be its own fault
        return Answer("too_large", detail)
    if status == 500:
        return Answer("broken", detail)
    if status in (408, 425, 429) or status > 500:
        return Answer("away", detail, wait=_seconds(response.headers.get("Retry-After")))
    return Answer("closed", detail)


def _object(text: bytes) -> dict[str, Any]:
    """The JSON object of an answer; an empty one when a proxy says something else."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _seconds(retry_after: str | None) -> float:
    """Seconds or an HTTP date; none when it is neither."""
    try:
        wait = float(retry_after or 0)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(str(retry_after)).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(wait, 0.0), _LONGEST_WAIT)
