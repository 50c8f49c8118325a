"""What the collector asks of the database besides writing: keys, and whether it is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa

from milepost.auth import ApiKey
from milepost.catalog.schema import Catalog
from milepost.db import schema
from milepost.decisions import access
from milepost.decisions.catalog import CatalogCache
from milepost.errors import Unavailable
from milepost.inbox import captures, quarantine
from milepost.inbox.captures import Capture
from milepost.inbox.identities import look_up
from milepost.inbox.quarantine import Tallies


class Store(Protocol):
    """Called in threads. Each raises Transient while the database is away."""

    def find_key(self, key_id: str) -> ApiKey | None:
        """The stored key, revoked and expired ones too; None when there is none."""

    def key_ids(self) -> Collection[str]:
        """The ids of all keys that are not revoked."""

    def touch_keys(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were last used, by key_id."""

    def count_refusals(self, tallies: Tallies) -> None:
        """Note what was refused and not kept."""

    def catalog(self) -> Catalog:
        """The catalog in force."""

    def add_capture(self, capture: Capture) -> None:
        """Keep what became of an EPCIS capture."""

    def find_capture(self, capture_id: str, sender: str) -> Capture | None:
        """The capture, if it is this sender's."""

    def any_known(self, identities: Collection[bytes]) -> bool:
        """Whether an event of one of these identities was recorded."""

    def check_ready(self) -> None:
        """Raises Unavailable unless the database answers and has this version's schema."""


class DatabaseStore:
    """The store on an engine, which stays the caller's. `catalogs` knows which catalog there is at first."""

    def __init__(self, engine: sa.Engine, catalogs: CatalogCache | None = None) -> None:
        self._engine = engine
        self._catalogs = catalogs or CatalogCache()

    def find_key(self, key_id: str) -> ApiKey | None:
        with self._engine.connect() as connection:
            return access.find_key(connection, key_id)

    def key_ids(self) -> Collection[str]:
        with self._engine.connect() as connection:
            return access.key_ids(connection)

    def touch_keys(self, used: Mapping[str, datetime]) -> None:
        with self._engine.begin() as connection:
            access.touch_keys(connection, used)

    def count_refusals(self, tallies: Tallies) -> None:
        with self._engine.begin() as connection:
            quarantine.count(connection, tallies)

    def catalog(self) -> Catalog:
        with self._engine.begin() as connection:
            return self._catalogs.active(connection)

    def add_capture(self, capture: Capture) -> None:
        with self._engine.begin() as connection:
            captures.add(connection, capture)

    def find_capture(self, capture_id: str, sender: str) -> Capture | None:
        with self._engine.connect() as connection:
            return captures.find(connection, capture_id, sender)

    def any_known(self, identities: Collection[bytes]) -> bool:
        with self._engine.connect() as connection:
            return bool(look_up(connection, identities))

    def check_ready(self) -> None:
        with self._engine.connect() as connection:
            if not schema.is_current(connection):
                raise Unavailable("the database does not have this version's schema; run `milepost db migrate`")
