"""One guarded HTTP request: to public addresses only, within a deadline for all of it, redirects never followed."""

from __future__ import annotations

import contextlib
import re
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import httpcore
import httpx
import msgspec

from alerting.notifiers.address import resolve
from milepost.catalog.routing import Channel
from milepost.errors import ConfigurationError, Gone, Permanent, Transient, Unavailable
from milepost.settings import Alerting

MAX_TEXT: Final = 500
MAX_ANSWER: Final = 64 * 1024
"""So much is read of the answer of a receiver whose answer matters."""
MAX_ADDRESSES: Final = 3
AGAIN: Final = frozenset({408, 425, 429})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PLAIN: Final = re.compile(r"[^\s\x00-\x20\x7f\\]+")
"""What some read as the end of an address, or of its host, and others don't, is in none."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `headers` in lower case, `text` what a failure says, cut to MAX_TEXT, or the answer asked for."""

    status: int
    headers: Mapping[str, str]
    text: str


def parse(url: str) -> Target:
    """Take an address apart. Raises ConfigurationError."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError as error:
        raise ConfigurationError(f'"{_shown(url)}" is not an http or https address: {error}') from error
    if parts.scheme not in _DEFAULT_PORTS or not host or not _PLAIN.fullmatch(url):
        raise ConfigurationError(f'"{_shown(url)}" is not an http or https address')
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("an address holds no credentials: secrets stand in variables")
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return Target(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path)


def _shown(url: str) -> str:
    return re.sub(r"//[^/]*@", "//…@", url)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver's address, and how it may be spoken to."""

    target: Target
    timeout: float
    allow_private: bool

    @staticmethod
    def make(url: str, settings: Alerting) -> Endpoint:
        """Raises ConfigurationError."""
        return Endpoint(parse(url), settings.notify_timeout, settings.allow_private_receivers)

    def post(self, headers: Mapping[str, str], body: bytes, *, now: datetime, answer: bool = False) -> Response:
        """Send it; raises what `post` and `check` raise. `answer`: what it says to it is needed whole."""
        response = post(
            self.target,
            {"User-Agent": "Milepost", **headers},
            body,
            timeout=self.timeout,
            allow_private=self.allow_private,
            answer=answer,
        )
        check(response, now=now)
        return response

    def post_json(self, body: object, headers: Mapping[str, str], *, now: datetime, answer: bool = False) -> Response:
        """Send a body as JSON."""
        kind = {"Content-Type": "application/json; charset=utf-8"}
        return self.post({**kind, **headers}, msgspec.json.encode(body), now=now, answer=answer)


def secret(channel: Channel, field: Literal["secret_env", "url_env"], environ: Mapping[str, str]) -> str:
    """What the variable that a channel names holds. Raises ConfigurationError."""
    name = getattr(channel, field)
    value = environ.get(name, "").strip() if name else ""
    if not value:
        missing = f"{name} is not set" if name else f"{field} names no variable"
        raise ConfigurationError(f"channel {channel.name}: {missing}")
    return value


def secret_url(channel: Channel, environ: Mapping[str, str]) -> str:
    """The address in the variable that `url_env` names, which is a secret itself. Raises ConfigurationError."""
    url = secret(channel, "url_env", environ)
    try:
        parse(url)
    except ConfigurationError:
        words = f"channel {channel.name}: {channel.url_env} holds no http or https address"
        raise ConfigurationError(words) from None
    return url


def post(
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    *,
    timeout: float,
    allow_private: bool,
    answer: bool = False,
) -> Response:
    """Send it and read the answer. Raises Unavailable when there is none, Permanent where there may not be one."""
    backend = GuardedBackend(time.monotonic() + timeout, allow_private=allow_private)
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    sent = [("Host", target.authority), ("Content-Length", str(len(body))), *headers.items()]
    context = httpx.create_ssl_context() if target.scheme == "https" else None
    try:
        with (
            httpcore.ConnectionPool(ssl_context=context, network_backend=backend) as pool,
            pool.stream("POST", url, headers=sent, content=body) as received,
        ):
            return _read(received, whole=answer)
    except httpcore.TimeoutException as error:
        raise Unavailable(f"{target.authority} did not answer within {timeout:g} s") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        if (refused := _certificate_error(error)) is not None:
            raise Permanent(f"{target.host}: certificate: {refused.verify_message}") from error
        raise Unavailable(f"{target.authority}: {str(error) or type(error).__name__}") from error


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """What TLS said, which httpcore hides behind errors of its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause


def check(response: Response, *, now: datetime) -> None:
    """Return for 2xx. Raises Transient for what may pass (408, 425, 429, 5xx), Gone for 410, Permanent for the rest."""
    status = response.status
    if 200 <= status < 300:
        return
    said = f"HTTP {status}" + (f": {response.text}" if response.text else "")
    if status in AGAIN or status >= 500:
        raise Transient(said, retry_after(response.headers.get("retry-after"), now))
    if status == 410:
        raise Gone(f"{said}: the receiver wants no more messages")
    if 300 <= status < 400:
        raise Permanent(f"HTTP {status}: redirects are not followed; mend the channel's address")
    raise Permanent(said)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait from a Retry-After header: a number, or an HTTP date. None for what is neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # an offset may be out of all bounds
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def _read(answer: httpcore.Response, *, whole: bool) -> Response:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
    if not 200 <= answer.status < 300:
        return Response(answer.status, headers, _text(answer))
    return Response(answer.status, headers, _start(answer, MAX_ANSWER) if whole else "")


def _text(answer: httpcore.Response) -> str:
    """The start of a failure's body, for people; one that breaks off changes nothing about the status."""
    with contextlib.suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        return _start(answer, MAX_TEXT)
    return ""


def _start(answer: httpcore.Response, limit: int) -> str:
    text = b""
    for part in answer.iter_stream():
        text += part
        if len(text) >= limit:
            break
    return text[:limit].decode("utf-8", "replace").strip()


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses, and lets no operation pass the deadline (on time.monotonic)."""

    def __init__(self, deadline: float, *, allow_private: bool) -> None:
        self._deadline = deadline
        self._allow_private = allow_private
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 (the deadline rules)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the host's addresses that answers."""
        failed: httpcore.ConnectError | None = None
        for address in resolve(host, port, allow_private=self._allow_private)[:MAX_ADDRESSES]:
            try:
                stream = self._network.connect_tcp(address, port, _left(self._deadline), local_address, socket_options)
                return _DeadlineStream(stream, self._deadline)
            except httpcore.ConnectError as error:
                failed = error
        raise failed or httpcore.ConnectError(f"{host} has no address")


class _DeadlineStream(httpcore.NetworkStream):
    """A stream whose every operation ends at the deadline, so that a slow drip can't hold a sender."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 (the deadline rules)
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 (the deadline rules)
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 (the deadline rules)
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _DeadlineStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("out of time")
    return left
