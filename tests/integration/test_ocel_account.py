"""What became of every relation of an object-centric log that was imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from collector import importer, ocel_file
from collector.account import IN_JOURNEY, account
from collector.formats import ocel
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.db import tables as t
from tests.chain import CATALOG, Chain

ROOT = Path(__file__).parents[2]
OCEL = ROOT.parent / "shared" / "data" / "ocel" / "order_process.jsonocel"
EXAMPLE = ROOT / "docs" / "examples" / "ocel"


def quiet(done: int, total: int) -> None:
    assert done <= total


@pytest.mark.skipif(not OCEL.exists(), reason="the data set is not beside the checkout")
def test_every_relation_of_a_real_log_is_in_a_journey(engine: sa.Engine) -> None:
    catalog = loader.load(loader.read_texts(EXAMPLE / "catalog"))
    types = importer.read_types(EXAMPLE / "types.yaml")
    report = importer.import_ocel(engine, OCEL, "/import/ocel", types, utc_now, quiet)
    assert (report.units, report.accepted, report.refused) == (2_391, 2_391, 0)
    assert (report.objects, report.relations, report.dateless) == (796, 4_381, 0)
    log = ocel_file.read(OCEL)
    with engine.connect() as connection:
        unread = account(connection, log, "/import/ocel", catalog)
    assert unread == {("event to object", "not stored: the event was refused, or is not recorded yet"): 4_381}
    Chain(engine, catalog=catalog).settle()
    with engine.connect() as connection:
        assert account(connection, log, "/import/ocel", catalog) == {("event to object", IN_JOURNEY): 4_381}
        assert connection.scalar(sa.select(sa.func.count()).select_from(t.journeys)) == 199
        assert connection.scalar(sa.select(sa.func.count()).select_from(t.objects)) == 796


def test_what_is_in_no_journey_is_named_with_the_reason(engine: sa.Engine, tmp_path: Path) -> None:
    def event(number: int, kind: str, *ids: str) -> dict[str, Any]:
        related = [{"objectId": name, "qualifier": ""} for name in ids]
        return {"id": str(number), "type": kind, "time": "2026-01-01T00:00:00Z", "relationships": related}

    kinds = {"S": "order", "P": "picking", "T": "truck", "N": "picking"}
    of_it = [{"objectId": "P1", "qualifier": "Of It"}]
    ids = ("S1", "S2", "P1", "P2", "P9", "T1", "N/A")
    document = {
        "objectTypes": [], "eventTypes": [],
        "objects": [
            {"id": name, "type": kinds[name[0]], "relationships": of_it if name == "S1" else []} for name in ids
        ],
        "events": [
            event(1, "got", "S1", "P1"), event(2, "got", "S1", "S2", "P1", "P2"), event(3, "drove", "T1"),
            event(4, "packed", "P9"), event(5, "got", "S2", "N/A"), event(6, "x" * 200, "S1"),
        ],
    }  # fmt: skip
    (tmp_path / "log.json").write_bytes(msgspec.json.encode(document))
    importer.import_ocel(engine, tmp_path / "log.json", "o", {"got": "order.received", "x" * 200: ""}, utc_now, quiet)
    Chain(engine).settle()
    log = ocel_file.read(tmp_path / "log.json")
    with engine.connect() as connection:
        found = account(connection, log, "o", CATALOG)
    assert sum(found.values()) == ocel.survey(log).relations + 1
    assert found == {
        ("event to object", IN_JOURNEY): 6,
        ("event to object", "kept with the object, picking: no journey leads to it"): 1,
        ("event to object", "kept with the object, truck: no model has a place for it"): 1,
        ("event to object", "left out: the key is one that the catalog calls junk"): 1,
        ("event to object", "not stored: the event was refused, or is not recorded yet"): 1,
        ("event to object", "relates nothing: the event names several objects on both sides"): 1,
        ("object to object", "related, with the event that proved it"): 1,
    }
