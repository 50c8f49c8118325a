"""Data minimisation: what the catalog says of a source's fields, done to bodies before anything is kept. Pure.

The content hash and the made-up id are of what was sent, so a repeat is a duplicate with or without these rules. What
isn't named stays byte by byte. A hashed value is `hmac-` and 32 hexadecimal digits, HMAC-SHA256 with the installation's
key, cut to 128 bits; it is not hashed again, so that what comes back from quarantine stays the same.

Refused bodies may have any shape. There, every member that bears the last name of a path is blotted out wherever it
stands, and a body that is no JSON object is not kept at all: only its length is.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import Raw

from milepost.catalog.privacy import Act, Privacy
from milepost.catalog.schema import Catalog
from milepost.contract import Data, Event
from milepost.errors import ConfigurationError

MASKED: Final = "***"
_HASHED: Final = re.compile(r"hmac-[0-9a-f]{32}")
_ANY: Final = "*"
_UNREADABLE: Final = "not readable, and its source has privacy rules"
_MAX_DEPTH: Final = 64
_members: Final = msgspec.json.Decoder(dict[str, Raw])
_elements: Final = msgspec.json.Decoder(list[Raw])
_links: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_end: Final = msgspec.json.Decoder(dict[str, str])
_EVENT: Final = frozenset(Event.__struct_fields__) | {"datacontenttype", "dataschema", "subject"}
_DATA: Final = frozenset(Data.__struct_fields__)
_STRICTEST: Final[tuple[Act, ...]] = ("drop", "mask", "hash")
_BLOT: Final = Raw(msgspec.json.encode(MASKED))


class _NotJson(Exception):
    """A refused body that can't be looked into."""


@dataclass(slots=True)
class _Node:
    """The rules below one member: what to do with it, or with what is in it."""

    act: Act | None = None
    inner: dict[str, _Node] = field(default_factory=dict)

    def add(self, path: tuple[str, ...], act: Act) -> None:
        if path:
            self.inner.setdefault(path[0], _Node()).add(path[1:], act)
        else:
            self.act = act if self.act is None else min(act, self.act, key=_STRICTEST.index)

    def below(self, name: str) -> _Node | None:
        """The rules for a member: those of its name and those of `*`."""
        plain, any_ = self.inner.get(name), self.inner.get(_ANY)
        return plain.merged(any_) if plain is not None and any_ is not None else plain or any_

    def merged(self, other: _Node) -> _Node:
        made = _Node()
        for node in (self, other):
            for path, act in node.paths():
                made.add(path, act)
        return made

    def paths(self) -> Iterator[tuple[tuple[str, ...], Act]]:
        if self.act is not None:
            yield (), self.act
        for name, node in self.inner.items():
            yield from (((name, *path), act) for path, act in node.paths())


class Rules:
    """The rules of one source."""

    def __init__(self, privacies: Sequence[Privacy], key: Callable[[], bytes]) -> None:
        self._key = key() if any(privacy.hash for privacy in privacies) else b""
        self._root = _Node()
        self._drop_unknown = False
        names: set[str] = set()
        for privacy in privacies:
            self._drop_unknown |= privacy.drop_unknown
            for path, act in privacy.rules():
                self._root.add(path, act)
                names.add((path[-1] if path[-1] != _ANY else path[-2]).lower())
        self._names = frozenset(names)
        data = self._root.inner.get("data", _Node()).inner
        self._key_types = data.get("keys", _Node())

    def event(self, body: bytes) -> bytes:
        """A valid event without what is not to be kept."""
        members = _members.decode(body)
        if self._drop_unknown:
            members = _only(members, _EVENT)
            if "data" in members:
                members["data"] = Raw(msgspec.json.encode(_only(_members.decode(members["data"]), _DATA)))
        if self._key_types.inner and "data" in members:
            members["data"] = self._hash_links(members["data"])
        return msgspec.json.encode(self._walk(members, self._root))

    def refused(self, body: bytes) -> bytes:
        """A body of whatever shape without what is not to be kept."""
        try:
            if not body.lstrip().startswith(b"{"):
                raise _NotJson
            members = _members.decode(self._blot(Raw(body.strip()), self._root, 0))
        except (_NotJson, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return msgspec.json.encode({"redacted": _UNREADABLE, "bytes": len(body)})
        if "data_base64" in members:
            members["data_base64"] = _BLOT
        return msgspec.json.encode(members)

    def _walk(self, members: dict[str, Raw], node: _Node) -> dict[str, Raw]:
        kept: dict[str, Raw] = {}
        for name, value in members.items():
            rule = node.below(name)
            if rule is None:
                kept[name] = value
            elif rule.act is None:
                kept[name] = self._into(value, rule)
            elif rule.act != "drop":
                kept[name] = self._done(value, rule.act)
        return kept

    def _into(self, value: Raw, rule: _Node) -> Raw:
        opening = bytes(value).lstrip()[:1]
        if opening == b"{":
            return Raw(msgspec.json.encode(self._walk(_members.decode(value), rule)))
        if opening == b"[":
            return Raw(msgspec.json.encode([self._into(item, rule) for item in _elements.decode(value)]))
        return value

    def _done(self, value: Raw, act: Act) -> Raw:
        return self._hashed(value) if act == "hash" else _BLOT

    def _hashed(self, value: Raw) -> Raw:
        """A text or number as its hash, a list element by element, an object as one text; null stays."""
        text = bytes(value).strip()
        if text == b"null":
            return value
        if text.startswith(b"["):
            return Raw(msgspec.json.encode([self._hashed(item) for item in _elements.decode(text)]))
        plain = msgspec.json.decode(text) if text.startswith(b'"') else text.decode()
        return Raw(msgspec.json.encode(self._hash(plain)))

    def _hash(self, text: str) -> str:
        if _HASHED.fullmatch(text):
            return text
        return f"hmac-{hmac.digest(self._key, text.encode(), 'sha256')[:16].hex()}"

    def _hash_links(self, data: Raw) -> Raw:
        """Links name objects by the same keys as data.keys does."""
        members = _members.decode(data)
        if "links" not in members:
            return data
        links = _links.decode(members["links"])
        for link, name in ((link, name) for link in links for name in ("parent", "child")):
            end = _end.decode(link[name])
            if self._key_types.below(end["type"]) is not None:
                link[name] = Raw(msgspec.json.encode({**end, "key": self._hash(end["key"])}))
        return Raw(msgspec.json.encode({**members, "links": links}))

    def _blot(self, value: Raw, node: _Node | None, depth: int) -> Raw:
        """Every member with one of the names, at any depth; where a path leads to it, what the path says."""
        text = bytes(value).lstrip()
        if depth > _MAX_DEPTH:
            raise _NotJson
        if text.startswith(b"["):
            return Raw(msgspec.json.encode([self._blot(item, node, depth + 1) for item in _elements.decode(text)]))
        if not text.startswith(b"{"):
            return value
        kept: dict[str, Raw] = {}
        for name, inner in _members.decode(text).items():
            rule = node.below(name) if node is not None else None
            if rule is not None and rule.act is not None:
                kept |= {} if rule.act == "drop" else {name: self._done(inner, rule.act)}
            elif name.lower() in self._names:
                kept[name] = _BLOT
            else:
                kept[name] = self._blot(inner, rule, depth + 1)
        return Raw(msgspec.json.encode(kept))


class Masks:
    """The rules of all sources of a catalog; false where there are none.

    `key` gives the installation's key, and is asked only where something is to be hashed.
    """

    def __init__(self, catalog: Catalog, key: Callable[[], bytes]) -> None:
        everywhere = [catalog.privacy] if _says(catalog.privacy) else []
        own = {name: [*everywhere, spec.privacy] for name, spec in catalog.sources.items() if _says(spec.privacy)}
        self._sources: Mapping[str, Rules] = {name: Rules(privacies, key) for name, privacies in own.items()}
        self._others = Rules(everywhere, key) if everywhere else None
        together = [spec.privacy for spec in catalog.sources.values() if _says(spec.privacy)]
        self._strictest = Rules([*everywhere, *together], key) if everywhere or together else None

    def __bool__(self) -> bool:
        return self._strictest is not None

    def event(self, source: str, body: bytes) -> bytes:
        """A valid event of this source as it may be kept."""
        rules = self._sources.get(source, self._others)
        return body if rules is None else rules.event(body)

    def refused(self, sources: Iterable[str | None], body: bytes) -> bytes:
        """A refused body as it may be kept. `sources`: whose it may be; none where that can't be told."""
        if self._strictest is not None and any(not source or source in self._sources for source in sources):
            return self._strictest.refused(body)
        return body if self._others is None else self._others.refused(body)


class Masking:
    """The masks of the catalog in force, made once for each."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = key
        self._made: tuple[Catalog, Masks] | None = None

    def of(self, catalog: Catalog) -> Masks | None:
        """None where nothing is to be left out. Raises ConfigurationError when there is no key for hashes."""
        if self._made is None or self._made[0] is not catalog:
            self._made = catalog, Masks(catalog, self._key)
        return self._made[1] or None


def no_key() -> bytes:
    raise ConfigurationError("MILEPOST_PRIVACY_KEY: the catalog asks for hashes, and there is no key for them")


def _says(privacy: Privacy) -> bool:
    return privacy != Privacy()


def _only(members: dict[str, Raw], names: frozenset[str]) -> dict[str, Raw]:
    return {name: value for name, value in members.items() if name in names}
