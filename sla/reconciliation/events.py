"""Discrepancies as events of the log, so that promises, exceptions and journeys know of them. Pure.

Each is about an object of its own, type `reconciliation`, which the object that it concerns contains: so one that two
reconciliations miss has two. Ids are hashes of the content; times are those of the business: when something began to
count as missing, and when the other side told of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import structs

from milepost import contract
from milepost.catalog.schema import Catalog
from milepost.clock import to_us
from milepost.contract import Data, Entry, Event

SOURCE: Final = "/milepost/reconciliation"
MISSING: Final = "reconciliation.missing"
MATCHED: Final = "reconciliation.matched"
DIFFERS: Final = "reconciliation.differs"
AGREES: Final = "reconciliation.agrees"
_KEY: Final = 256


@dataclass(frozen=True, slots=True)
class Named:
    """An object as events name it."""

    type: str
    namespace: str
    key: str


def entry(
    event_type: str,
    name: str,
    about: str,
    at: datetime,
    now: datetime,
    *,
    code: str,
    reason: str,
    attributes: Mapping[str, str | int | Decimal | None],
    keys: Mapping[str, str] | None = None,
) -> Entry:
    """An event about `about` of the reconciliation `name`, ready for the log."""
    told = {key: str(value) if isinstance(value, Decimal) else value for key, value in attributes.items()}
    data = Data(
        keys={"reconciliation": _key(f"{name}/{about}"), **(keys or {})},
        code=code,
        reason=reason[:2000],
        attributes={"reconciliation": name, **{key: value for key, value in told.items() if value is not None}},
    )
    event = Event(type=event_type, source=SOURCE, time=at, data=data)
    event = structs.replace(event, id=contract.made_up_id(event))
    body = msgspec.json.encode(event)
    return Entry(contract.identity_of(SOURCE, event.id), contract.content_of(event), to_us(now), body)


def _key(text: str) -> str:
    """A long one ends in a hash: two that begin alike must stay two."""
    if len(text) <= _KEY:
        return text
    digest = blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{text[: _KEY - len(digest) - 1]}~{digest}"


def naming(catalog: Catalog, named: Named | None) -> tuple[dict[str, str], dict[str, str]]:
    """Keys and attributes that name an object in an event; none for one whose name counts for its own source alone."""
    if named is None:
        return {}, {}
    if not named.namespace:
        return {named.type: named.key}, {}
    attribute, _, value = named.namespace.partition("=")
    rule = catalog.keys.get(named.type)
    if rule is None or rule.namespace != attribute or attribute == "source":
        return {}, {}
    return {named.type: named.key}, {attribute: value}
