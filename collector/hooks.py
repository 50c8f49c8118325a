"""Webhooks of anybody: is a call authentic, and which events does it give. Knows no web framework.

A hook is what the catalog says of a source, compiled once for a version of it. An authentic call is never refused: what
gives no event is kept whole in quarantine with the reason, and is read again from there, once the mapping is mended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import msgspec

from collector.formats.mapping import Mapping as EventMapping
from collector.ingest import MAX_ID, Rejection
from milepost import contract, signing
from milepost.catalog.schema import Catalog, HookSpec
from milepost.errors import InvalidEvent, NotFound, Unavailable

WAY: Final = "hook"
MAX_HEADERS: Final = 64
MAX_HEADER: Final = 512
"""Headers of a call that a mapping can read, and characters of one."""
MAX_VALUES: Final = 200_000
"""Values of one payload: members, elements, objects and lists."""
MIN_TOKEN: Final = 16
MAX_REASON: Final = 900
_BOM: Final = b"\xef\xbb\xbf"
_SECRET_WORDS: Final = ("auth", "cookie", "key", "secret", "token", "signature", "hmac")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What a call brings besides its body. Names of headers are lower case."""

    headers: Mapping[str, str]
    query: str = ""


class Lock(Protocol):
    """Tells an authentic call. `early` before the body is read: what the headers tell. Both raise NotAuthenticated."""

    def early(self, request: Request) -> None: ...

    def check(self, request: Request, body: bytes, now: datetime) -> None: ...


# --- locks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Standard:
    keys: list[bytes]
    tolerance: timedelta

    def early(self, request: Request) -> None:
        signing.require(self._given(request))

    def check(self, request: Request, body: bytes, now: datetime) -> None:
        signing.verify(self.keys, self._given(request), body, now=now, tolerance=self.tolerance)

    def _given(self, request: Request) -> signing.Signed:
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        return signing.Signed(*(request.headers.get(name, "") for name in names))


@dataclass(frozen=True, slots=True)
class _Hmac:
    keys: list[bytes]
    header: str
    form: signing.BodyHmac

    def early(self, request: Request) -> None:
        signing.require_header(request.headers.get(self.header, ""), self.header)

    def check(self, request: Request, body: bytes, now: datetime) -> None:  # noqa: ARG002 (it signs no time)
        self.form.verify(self.keys, request.headers.get(self.header, ""), body)


@dataclass(frozen=True, slots=True)
class _Token:
    tokens: list[str]
    header: str | None
    query: str | None

    def early(self, request: Request) -> None:
        signing.verify_token(self.tokens, self._given(request))

    def check(self, request: Request, body: bytes, now: datetime) -> None:
        """All was told early."""

    def _given(self, request: Request) -> str:
        if self.query is not None:
            return _parameter(request.query, self.query)
        value = request.headers.get(self.header or "", "")
        return value[7:] if self.header == "authorization" and value[:7].lower() == "bearer " else value


def _parameter(query: str, name: str) -> str:
    try:
        return parse_qs(query, max_num_fields=MAX_HEADERS).get(name, [""])[0]
    except ValueError:  # more fields than anybody needs
        return ""


@dataclass(frozen=True, slots=True)
class _Open:
    """An API key opens it, which the way in asks for."""

    def early(self, request: Request) -> None: ...

    def check(self, request: Request, body: bytes, now: datetime) -> None: ...


_PRESETS: Final[Mapping[str, tuple[str, signing.BodyHmac]]] = {
    "shopify": ("x-shopify-hmac-sha256", signing.BodyHmac("base64")),
    "woocommerce": ("x-wc-webhook-signature", signing.BodyHmac("base64")),
    "github": ("x-hub-signature-256", signing.BodyHmac("hex", "sha256=")),
    "easypost": ("x-hmac-signature", signing.BodyHmac("hex", "hmac-sha256-hex=")),
    "aftership": ("aftership-hmac-sha256", signing.BodyHmac("base64")),
}


def lock_of(spec: HookSpec, environ: Mapping[str, str]) -> Lock:
    """Raises ValueError naming the variable, when a secret is missing or can't be used."""
    if spec.scheme == "key":
        return _Open()
    names = [spec.secret_env] if isinstance(spec.secret_env, str) else spec.secret_env
    secrets = [_secret(spec, name, environ.get(name, "")) for name in names]
    if spec.scheme == "standard":
        keys = [key for secret in secrets for key in signing.secrets_of(secret)]
        return _Standard(keys, timedelta(microseconds=spec.tolerance.us))
    if spec.scheme == "token":
        return _Token(secrets, None if spec.header is None else spec.header.lower(), spec.query)
    custom = ((spec.header or "").lower(), signing.BodyHmac(spec.encoding, spec.prefix))
    header, form = _PRESETS.get(spec.scheme, custom)
    return _Hmac([secret.encode() for secret in secrets], header, form)


def _secret(spec: HookSpec, name: str, value: str) -> str:
    value = value.strip()
    if not value:
        raise ValueError(f"{name} is not set where the collector runs")
    if spec.scheme == "token" and len(value) < MIN_TOKEN:
        raise ValueError(f"the token in {name} has {len(value)} characters; at least {MIN_TOKEN} are needed")
    if spec.scheme == "standard":
        try:
            signing.secrets_of(value)
        except ValueError as error:
            raise ValueError(f"the secret in {name}: {error}") from error
    return value


# --- hooks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hook:
    """A source that sends webhooks; as a sender it may send what its mapping makes, as itself."""

    source: str
    spec: HookSpec
    mapping: EventMapping
    lock: Lock

    @property
    def key_id(self) -> str:
        return f"{WAY}:{self.source}"

    @property
    def name(self) -> str:
        return f"webhook {self.source}"

    @property
    def default_source(self) -> str | None:
        return self.source

    def may_send(self, source: str, event_type: str) -> bool:  # noqa: ARG002
        return source == self.source


class Hooks:
    """The hooks of the catalog in force."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._version: str | None = None
        self._hooks: dict[str, Hook | str] = {}

    def find(self, name: str, catalog: Catalog) -> Hook:
        """The hook of a source, by its name with or without the slash that begins it.

        Raises NotFound, or Unavailable while its secret is missing: then its sender tries again.
        """
        if catalog.version != self._version:
            self._hooks = {source: made for source in catalog.sources if (made := self._make(source, catalog))}
            self._version = catalog.version
        found = self._hooks.get(name) or self._hooks.get(f"/{name}")
        if found is None:
            raise NotFound(f'no source "{name}" takes webhooks; sources.yaml of the catalog says which do')
        if isinstance(found, str):
            raise Unavailable(found, retry_after=60)
        return found

    def _make(self, source: str, catalog: Catalog) -> Hook | str | None:
        """A hook; why it can't be used; or None where the source has none."""
        spec = catalog.sources[source].hook
        if spec is None:
            return None
        try:
            lock = lock_of(spec, self._environ)
        except ValueError as error:
            _log.error("source %s can't take webhooks: %s", source, error)
            return f"the secret of source \"{source}\" can't be used; the collector's log says why"
        return Hook(source, spec, EventMapping(catalog.mappings[spec.mapping]), lock)


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """What a call gives: events as structured JSON; what is kept whole because something in it was not understood;
    why it means nothing here."""

    bodies: list[bytes] = field(default_factory=list)
    unread: Rejection | None = None
    ignored: str | None = None


def read(hook: Hook, body: bytes, request: Request) -> Reading:
    """The events of an authentic call. Pure."""
    headers, delivery = _readable(hook, request), _delivery(hook, request)
    try:
        payload = _parsed(body)
    except InvalidEvent as error:
        return Reading(unread=_unread(hook, body, headers, delivery, str(error), malformed=True))
    bodies, ignored, problem = _events(hook.mapping, hook.source, payload, headers, delivery)
    unread = None if problem is None else _unread(hook, body, headers, delivery, problem)
    return Reading(bodies, unread, ignored)


def read_again(catalog: Catalog, source: str, body: bytes, context: Mapping[str, Any]) -> list[bytes]:
    """The events of a payload from quarantine, through the mapping as it is now: all of it, or InvalidEvent."""
    spec = catalog.sources[source].hook if source in catalog.sources else None
    if spec is None:
        raise InvalidEvent(f"source {source} takes no webhooks any more; sources.yaml of the catalog says which do")
    mapping = EventMapping(catalog.mappings[spec.mapping])
    bodies, ignored, problem = _events(
        mapping, source, _parsed(body), context.get("headers", {}), context.get("delivery")
    )
    if problem is not None or ignored is not None:
        raise InvalidEvent(problem or f"the mapping ignores it: {ignored}; discard it")
    return bodies


def _parsed(body: bytes) -> Any:
    """The JSON of a body, which may not become many times its size in memory. Raises InvalidEvent."""
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if values > MAX_VALUES:
        raise InvalidEvent(f"about {values} values, at most {MAX_VALUES} are read of one payload")
    try:
        return msgspec.json.decode(body.removeprefix(_BOM))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(f"not valid JSON: {error}") from error


def _events(
    mapping: EventMapping, source: str, payload: Any, headers: Mapping[str, str], delivery: str | None
) -> tuple[list[bytes], str | None, str | None]:
    """Events that keep to the contract, why the payload is ignored, and what is wrong with it."""
    made = mapping.apply(payload, source=source, headers=headers, delivery=delivery)
    bodies = []
    for event in made.events:
        body = msgspec.json.encode(event)
        try:
            contract.decode(body)
        except InvalidEvent as error:
            made.faults.append(f"{event['type']} {event['id']}: {error}")
            continue
        bodies.append(body)
    return bodies, made.ignored, made.problem


def _unread(
    hook: Hook, body: bytes, headers: Mapping[str, str], delivery: str | None, why: str, *, malformed: bool = False
) -> Rejection:
    context: dict[str, Any] = {"headers": headers} | ({} if delivery is None else {"delivery": delivery})
    return Rejection(
        index=0,
        id=delivery,
        error=why[:MAX_REASON] if malformed else f"mapping {hook.spec.mapping}: {why}"[:MAX_REASON],
        body=body,
        source=hook.source,
        kind="malformed" if malformed else "mapping",
        way=f"{WAY}:{hook.source}",
        context=context,
    )


def _delivery(hook: Hook, request: Request) -> str | None:
    """The id under which the sender repeats a call. Of signed calls only one that is signed with them."""
    name = "webhook-id" if hook.spec.scheme == "standard" else hook.spec.delivery
    value = request.headers.get(name.lower(), "") if name else ""
    return value[:MAX_ID] or None


def _readable(hook: Hook, request: Request) -> dict[str, str]:
    """The headers that a mapping may read, and quarantine may keep: no secret is among them."""
    secret = {(hook.spec.header or "").lower(), *(header for header, _ in _PRESETS.values())}
    found = {
        name: value[:MAX_HEADER]
        for name, value in request.headers.items()
        if name not in secret and not any(word in name for word in _SECRET_WORDS)
    }
    return dict(list(found.items())[:MAX_HEADERS])
