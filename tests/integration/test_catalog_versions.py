"""The catalog in force, as several connections and processes see it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from milepost.catalog import loader
from milepost.db.tables import audit, catalog_versions
from milepost.decisions import catalog as decided
from milepost.decisions.catalog import CatalogCache
from milepost.errors import CatalogError
from tests.threads import at_once

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def changed_texts() -> dict[str, str]:
    return {**loader.default_texts(), "partners.yaml": "aliases:\n  partner:\n    ACME: [acme inc]\n"}


def versions(connection: sa.Connection) -> list[tuple[str, bool]]:
    v = catalog_versions.c
    rows = connection.execute(sa.select(v.version, v.active).order_by(v.version))
    return [(row.version, row.active) for row in rows]


def test_without_a_catalog_the_built_in_one_is_applied(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert decided.active_version(connection) is None
        catalog = decided.active(connection)
    with engine.begin() as connection:
        assert decided.active_version(connection) == catalog.version
        assert decided.active_texts(connection) == loader.default_texts()
        assert catalog == loader.load(loader.default_texts())


def test_a_cache_starts_with_its_own_texts(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        catalog = CatalogCache(changed_texts).active(connection)
    assert catalog.aliases["partner"]["acme inc"] == "ACME"


def test_a_cache_sees_what_another_connection_applied(engine: sa.Engine) -> None:
    cache = CatalogCache()
    with engine.begin() as connection:
        first = cache.active(connection)
        assert cache.active(connection) is first
    with engine.begin() as other:
        second = decided.apply(other, changed_texts(), actor="ann", now=NOW)
        with engine.connect() as connection:
            assert cache.active(connection) is first, "not before it is committed"
    with engine.connect() as connection:
        assert cache.active(connection).version == second.version != first.version
        assert sorted(versions(connection)) == sorted([(first.version, False), (second.version, True)])


def test_going_back_makes_the_old_row_active(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        first = decided.apply(connection, loader.default_texts(), actor="ann", now=NOW)
        second = decided.apply(connection, changed_texts(), actor="ann", now=NOW)
        decided.apply(connection, loader.default_texts(), actor="ann", now=NOW)
        assert sorted(versions(connection)) == sorted([(first.version, True), (second.version, False)])


def test_applying_what_is_in_force_changes_nothing(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for _ in range(3):
            decided.apply(connection, loader.default_texts(), actor="ann", now=NOW)
        assert len(versions(connection)) == 1
        a = audit.c
        assert connection.execute(sa.select(a.actor, a.action, a.detail)).all() == [
            ("ann", "catalog.applied", {"before": None})
        ]


def test_a_faulty_catalog_changes_nothing(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        before = decided.active(connection).version
        with pytest.raises(CatalogError, match=r"slas\.yaml"):
            decided.apply(connection, {**loader.default_texts(), "slas.yaml": "policies: 1"}, actor="ann", now=NOW)
        assert decided.active_version(connection) == before


def test_many_that_start_at_once_apply_one_catalog(engine: sa.Engine) -> None:
    found: list[str] = []

    def begin() -> None:
        with engine.begin() as connection:
            found.append(CatalogCache().active(connection).version)

    at_once(*[begin] * 6)
    assert len(found) == 6
    with engine.connect() as connection:
        assert versions(connection) == [(found[0], True)]
        assert connection.scalar(sa.select(sa.func.count()).select_from(audit)) == 1
