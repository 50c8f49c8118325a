"""How Milepost names things in an object-centric event log (OCEL 2.0), and how it knows its own events again. Pure.

An event keeps its attributes under their names. What the format has no place for stands in attributes that begin with
`milepost_`, so that an export that is imported gives the events that were sent: see `wire`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, get_args

import msgspec

from milepost.contract import key_list

Kind = Literal["string", "time", "integer", "float", "boolean"]
"""The types that OCEL 2.0 gives to attributes."""
Scalar = str | int | float | bool | None
Keys = dict[str, list[str]]
Qualifier = Literal["subject", "other", "linked", "correlation"]
"""What an object is to an event: what it is about, what else it names by a key, an end of a link, its correlation."""
QUALIFIERS: Final[tuple[Qualifier, ...]] = get_args(Qualifier)
CORRELATION: Final = "correlation"

PREFIX: Final = "milepost_"
EVENT_FIELDS: Final[Mapping[str, Kind]] = {
    "milepost_source": "string",
    "milepost_id": "string",
    "milepost_received": "time",
    "milepost_claimed": "time",  # missing where the sender stated no time
    "milepost_outcome": "string",
    "milepost_code": "string",
    "milepost_reason": "string",
    "milepost_correlation": "string",
    "milepost_causation": "string",
    "milepost_rest": "string",  # JSON: what of the event is told by nothing else here
}
OBJECT_FIELDS: Final[Mapping[str, Kind]] = {"milepost_key": "string", "milepost_namespace": "string"}
ALWAYS: Final = "1970-01-01T00:00:00Z"
"""The time of a value that an object has from the beginning, as the standard writes it."""
_OWN: Final = ("milepost_source", "milepost_id", "milepost_received", "milepost_outcome")
_TOP: Final = frozenset({"specversion", "id", "source", "type", "time", "correlationid", "causationid", "data"})
_DATA: Final = frozenset({"keys", "outcome", "code", "reason", "attributes"})
_KINDS: Final[Mapping[type, Kind]] = {str: "string", bool: "boolean", int: "integer", float: "float"}


# --- names ------------------------------------------------------------------------------------------------------------


def event_id(source: str, event: str) -> str:
    """The id of an event in a log: its identity, source and id."""
    return f"{source.replace('%', '%25').replace('#', '%23')}#{event}"


def object_id(kind: str, namespace: str, key: str, since: datetime | None = None) -> str:
    """The id of an object in a log: `order:S1`, or `customer_po:1001@partner=ACME` where its key has a namespace.

    `since`: of a key that was split, from when on it names this object.
    """
    parts = [f"{kind}:{key.replace('%', '%25').replace('@', '%40')}"]
    if namespace:
        parts.append(namespace)
    if since is not None:
        parts.append(f"since={stamp(since)}")
    return "@".join(parts)


def object_of(name: str) -> tuple[str, str]:
    """Type and key of an object's id. Raises ValueError for an id that is none of Milepost's."""
    kind, colon, rest = name.partition(":")
    if not colon:
        raise ValueError(f"{name} is no id that Milepost gives to an object")
    return kind, rest.partition("@")[0].replace("%40", "@").replace("%25", "%")


def stamp(at: datetime) -> str:
    """An aware UTC time as ISO 8601 with Z."""
    return at.isoformat().replace("+00:00", "Z")


# --- values -----------------------------------------------------------------------------------------------------------


def kind_of(value: Scalar) -> Kind | None:
    """The type of a value; None for null."""
    return _KINDS.get(type(value))


def common(kinds: Iterable[Kind]) -> Kind:
    """The type to declare for an attribute with values of these types."""
    found = set(kinds)
    if len(found) == 1:
        return found.pop()
    return "float" if found == {"integer", "float"} else "string"


def text_of(value: Scalar) -> str:
    """A value as the JSON form writes every value: its schema knows texts only, their type is declared beside."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def value_of(text: Any, kind: str) -> Scalar:
    """A value of a declared type; as it stands where it is none of that type."""
    if not isinstance(text, str):
        return bool(text) if kind == "boolean" and text in (0, 1) else text
    try:
        if kind == "integer":
            return int(text)
        if kind == "float":
            return float(text)
    except ValueError:
        return text
    return {"true": True, "false": False}.get(text, text) if kind == "boolean" else text


# --- events -----------------------------------------------------------------------------------------------------------


def rest(body: Mapping[str, Any], keys: Keys, columns: Mapping[str, Kind], *, whole: bool = True) -> str | None:
    """What of an event's body neither the fields nor `keys` nor the attributes in `columns` tell, as JSON.

    `keys` are the normalised ones of the objects that the event is exported with. Not `whole`: without keys and links,
    which may name objects that are not to be exported.
    """
    data = body.get("data") or {}
    left: dict[str, Any] = {name: value for name, value in body.items() if name not in _TOP}
    more: dict[str, Any] = {name: value for name, value in data.items() if name not in _DATA}
    if not whole:
        more.pop("links", None)
    elif {kind: sorted(key_list(given)) for kind, given in data.get("keys", {}).items()} != keys:
        more["keys"] = data["keys"]
    odd = {name: value for name, value in data.get("attributes", {}).items() if kind_of(value) != columns.get(name, "")}
    if odd:
        more["attributes"] = odd
    if more:
        left["data"] = more
    return msgspec.json.encode(left).decode() if left else None


def is_own(attributes: Mapping[str, Any]) -> bool:
    """Whether an event of a log was exported by Milepost."""
    return all(attributes.get(name) for name in _OWN)


def wire(event_type: str, attributes: Mapping[str, Scalar], related: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The event that was exported, as its sender sent it, from its attributes and its (object id, qualifier) pairs.

    Raises ValueError where that can't be read.
    """
    left: dict[str, Any] = msgspec.json.decode(str(attributes.get("milepost_rest") or "{}"), type=dict[str, Any])
    more = left.pop("data", {})
    data = {
        "keys": _keys(related),
        "attributes": _plain(attributes) | more.pop("attributes", {}),
        "outcome": attributes["milepost_outcome"],
        **_given(attributes, {"code": "milepost_code", "reason": "milepost_reason"}),
    }
    names = {"time": "milepost_claimed", "correlationid": "milepost_correlation", "causationid": "milepost_causation"}
    return {
        "specversion": "1.0",
        "id": attributes["milepost_id"],
        "source": attributes["milepost_source"],
        "type": event_type,
        **_given(attributes, names),
        **left,
        "data": data | more,
    }


def _keys(related: Iterable[tuple[str, str]]) -> Keys:
    keys: Keys = {}
    for name, qualifier in related:
        kind, key = object_of(name)
        if qualifier != "linked" and kind != CORRELATION:
            keys.setdefault(kind, []).append(key)
    return keys


def _plain(attributes: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {name: value for name, value in attributes.items() if not name.startswith(PREFIX) and value is not None}


def _given(attributes: Mapping[str, Scalar], names: Mapping[str, str]) -> dict[str, Scalar]:
    found = {name: attributes.get(field) for name, field in names.items()}
    return {name: value for name, value in found.items() if value is not None}
