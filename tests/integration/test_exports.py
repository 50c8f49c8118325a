"""Exports: what comes out is valid, complete, consistent, and gives the same journeys when it is imported again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector import importer
from exports import ocel_json, ocel_sqlite, snapshot
from milepost.clock import utc_now
from milepost.wiring.exports import reader
from tests.chain import CATALOG, Chain
from tests.databases import Databases
from tests.integration.test_correlation_property import scenario, stored

READ = reader(CATALOG)
FORMS = ("json", "sqlite")


def quiet(done: int, total: int) -> None:
    assert done <= total


def export(engine: sa.Engine, path: Path, form: str, chosen: sa.Select[Any] | None = None) -> Path:
    with snapshot.opened(engine, chosen) as view:
        if form == "sqlite":
            ocel_sqlite.write(path, view, READ)
        else:
            path.write_bytes(b"".join(ocel_json.chunks(view, READ)))
    return path


def tangle(chain: Chain, count: int) -> None:
    """Many scenarios of the property test in one database."""
    for number in range(count):
        for wire, received in scenario(random.Random(f"export-{number}"), f"x{number}_"):
            chain.send(wire, received_us=received)
    chain.settle()


@pytest.mark.parametrize("form", FORMS)
def test_an_export_imported_again_gives_the_same_journeys(
    engine: sa.Engine, databases: Databases, tmp_path: Path, form: str
) -> None:
    tangle(Chain(engine), 60)
    path = export(engine, tmp_path / "log", form)
    before = stored(engine, "x")
    assert len(before) > 60
    with databases.fresh() as url:
        other = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
        report = importer.import_ocel(other, path, "ocel", {}, utc_now, quiet)
        assert report.refused == 0
        Chain(other).settle()
        after = stored(other, "x")
        other.dispose()
    assert after == before
