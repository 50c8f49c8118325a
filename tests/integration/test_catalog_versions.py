"""The catalog in force, as several connections and processes see it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import yaml

from milepost.catalog import loader
from milepost.db.tables import audit, catalog_versions
from milepost.decisions import catalog as decided
from milepost.decisions.catalog import CatalogCache
from milepost.errors import CatalogError, NotFound
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


def with_policies(*policies: dict[str, str]) -> dict[str, str]:
    return {**loader.default_texts(), "slas.yaml": yaml.safe_dump({"policies": list(policies)})}


STUCK = {"name": "stuck", "kind": "dwell", "model": "order", "start": "packed", "within": "8h", "calendar": "business"}


def test_what_came_into_force_stays_known(engine: sa.Engine) -> None:
    later = NOW + timedelta(hours=1)
    with engine.begin() as connection:
        first = decided.apply(connection, loader.default_texts(), actor="ann", now=NOW)
        second = decided.apply(connection, changed_texts(), actor="ben", now=later)
        decided.apply(connection, loader.default_texts(), actor="ann", now=later)
        told = [(one.version, one.by, one.before) for one in decided.history(connection)]
        one, other = first.version, second.version
        assert told == [(one, "ann", other), (other, "ben", one), (one, "ann", None)]
        assert decided.texts_of(connection, second.version[:6]) == (second.version, changed_texts())
        for nothing in ("zzz", ""):
            with pytest.raises(NotFound):
                decided.texts_of(connection, nothing)


def test_a_policy_that_was_changed_and_removed_can_still_be_read(engine: sa.Engine) -> None:
    hour = timedelta(hours=1)
    with engine.begin() as connection:
        versions = []
        for count, policies in enumerate(([STUCK], [{**STUCK, "within": "4h"}], [])):
            made = decided.apply(connection, with_policies(*policies), actor="ann", now=NOW + count * hour)
            versions.append(made.policy_versions.get("stuck"))
        first, second, gone = versions
        assert (gone, first == second) == (None, False)
        for version, within in ((first, "8h"), (second, "4h")):
            # a clock that ended keeps its version, so it may be of another time than the breach
            for at in (NOW - hour, NOW, NOW + 1.5 * hour, NOW + 9 * hour):
                found = decided.policy_of(connection, "stuck", str(version), at)
                assert found is not None
                applied, text = found.catalog, found.text
                assert found.certain
                assert yaml.safe_load(text)["policies"] == [{**STUCK, "within": within}]
                assert yaml.safe_load(text)["calendars"]["business"]["zone"] == "Europe/Berlin"
                assert applied.at == (NOW if version == first else NOW + hour)
        then = decided.policy_of(connection, "stuck", "another hash", NOW + 1.5 * hour)
        assert then is not None
        assert ("4h" in then.text, then.certain) == (True, False), "the one in force then"
        assert decided.policy_of(connection, "never", "a hash", NOW) is None
