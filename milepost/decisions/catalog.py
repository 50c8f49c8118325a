"""The catalog in force: versions are rows, exactly one is active."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from milepost.catalog import loader
from milepost.catalog.loader import Texts
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, utc_now
from milepost.db.engine import lock_key
from milepost.db.tables import catalog_versions
from milepost.decisions import audit

_LOCK: Final = "milepost.catalog"


def active_version(connection: sa.Connection) -> str | None:
    """The version in force; None before the first one is applied."""
    found: str | None = connection.scalar(sa.select(catalog_versions.c.version).where(catalog_versions.c.active))
    return found


def active_texts(connection: sa.Connection) -> dict[str, str] | None:
    """The YAML texts of the version in force, by file name."""
    found: dict[str, str] | None = connection.scalar(
        sa.select(catalog_versions.c.content).where(catalog_versions.c.active)
    )
    return found


def active(connection: sa.Connection) -> Catalog:
    """The catalog in force; the built-in one is applied where there is none. Parses it: steps use a CatalogCache."""
    return CatalogCache().active(connection)


def apply(connection: sa.Connection, texts: Texts, *, actor: str, now: datetime) -> Catalog:
    """Check the texts and put them in force. Raises CatalogError. Applying what is in force changes nothing."""
    catalog = loader.load(texts)
    _lock(connection)
    before = active_version(connection)
    if before != catalog.version:
        _activate(connection, catalog, texts, actor=actor, now=now)
        detail = {"before": before}
        audit.record(connection, actor=actor, action="catalog.applied", target=catalog.version, now=now, detail=detail)
    return catalog


def ensure(connection: sa.Connection, texts: Texts, *, now: datetime) -> None:
    """Put the texts in force if nothing is. Several processes may do so at once: the first one wins."""
    if active_version(connection) is None:
        _lock(connection)
        if active_version(connection) is None:
            apply(connection, texts, actor=audit.SYSTEM, now=now)


def _lock(connection: sa.Connection) -> None:
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_key(_LOCK))))


def _activate(connection: sa.Connection, catalog: Catalog, texts: Texts, *, actor: str, now: datetime) -> None:
    versions = catalog_versions
    connection.execute(sa.update(versions).where(versions.c.active).values(active=False))
    values = {"content": dict(texts), "applied_at": now, "applied_by": actor, "active": True}
    statement = insert(versions).values(version=catalog.version, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["version"], set_=values))


class CatalogCache:
    """The catalog in force, parsed once for each version. One SELECT of the version a call.

    Where no catalog is in force yet, that of `texts` (the built-in one) is applied in the caller's transaction.
    """

    def __init__(self, texts: Callable[[], Texts] = loader.default_texts, clock: Clock = utc_now) -> None:
        self._texts = texts
        self._clock = clock
        self._parsed: tuple[str, Catalog] | None = None

    def active(self, connection: sa.Connection) -> Catalog:
        """Raises CatalogError when the stored catalog can't be used by this version of Milepost."""
        version = active_version(connection)
        if self._parsed is None or self._parsed[0] != version:
            if version is None:
                ensure(connection, self._texts(), now=self._clock())
            self._parsed = _parse_active(connection)
        return self._parsed[1]


def _parse_active(connection: sa.Connection) -> tuple[str, Catalog]:
    """The row's version, not the parsed one: another Milepost may have parsed the same texts to another hash."""
    v = catalog_versions.c
    row = connection.execute(sa.select(v.version, v.content).where(v.active)).one()
    return row.version, loader.load(row.content)
