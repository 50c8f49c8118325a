"""The catalog in force: versions are rows, exactly one is active."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from milepost.catalog import loader, overlay
from milepost.catalog.loader import Texts
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, utc_now
from milepost.db.engine import lock_key
from milepost.db.tables import audit as audit_rows
from milepost.db.tables import catalog_versions
from milepost.decisions import audit
from milepost.errors import CatalogError, NotFound

_LOCK: Final = "milepost.catalog"
APPLIED: Final = "catalog.applied"
"""What the audit calls it."""


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


def texts_of(connection: sa.Connection, version: str) -> tuple[str, dict[str, str]]:
    """The whole version and its texts, of one that was ever in force; its beginning is enough. Raises NotFound."""
    v = catalog_versions.c
    query = sa.select(v.version, v.content).where(v.version.startswith(version, autoescape=True)).limit(2)
    rows = connection.execute(query).all()
    if len(rows) != 1:
        what = "several catalogs begin with" if rows else "there is no catalog"
        raise NotFound(f"{what} {version}; `milepost catalog versions` lists them")
    return rows[0].version, rows[0].content


@dataclass(frozen=True, slots=True)
class Applied:
    """A catalog that came into force, when, and by whom. `before`: the one that it took the place of."""

    version: str
    at: datetime
    by: str
    before: str | None


def history(connection: sa.Connection, limit: int | None = None) -> list[Applied]:
    """What came into force, the latest first; a version as often as it did."""
    a = audit_rows.c
    query = sa.select(a.target, a.at, a.actor, a.detail).where(a.action == APPLIED).order_by(a.audit_id.desc())
    rows = connection.execute(query.limit(limit))
    return [Applied(row.target, row.at, row.actor, row.detail.get("before")) for row in rows]


@dataclass(frozen=True, slots=True)
class Written:
    """A policy and its calendar as YAML, and the catalog that it stood in. `certain`: it has the version asked for."""

    catalog: Applied
    text: str
    certain: bool


def policy_of(connection: sa.Connection, name: str, version: str, at: datetime) -> Written | None:
    """A policy as it was when it had this version.

    Looked for first in the catalog that was in force at `at`. Where none has it (another Milepost may have made
    another hash of the same words), it is the policy of that name then, and not certain. None: there was none.
    """
    applied = history(connection)
    then = next((index for index, one in enumerate(applied) if one.at <= at), len(applied) - 1)
    found: Written | None = None
    seen: set[str] = set()
    for one in [*applied[then:], *reversed(applied[: max(then, 0)])]:
        if one.version in seen:
            continue
        seen.add(one.version)
        texts = texts_of(connection, one.version)[1]
        written = overlay.written(texts, name)
        if written is not None:
            found = found or Written(one, written, certain=False)
            if _version_of(texts, name) == version:
                return Written(one, written, certain=True)
    return found


def _version_of(texts: Texts, name: str) -> str | None:
    """None for a catalog that this Milepost can't read any more."""
    try:
        return loader.load(texts).policy_versions.get(name)
    except CatalogError:
        return None


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
        audit.record(connection, actor=actor, action=APPLIED, target=catalog.version, now=now, detail=detail)
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
