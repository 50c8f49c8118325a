"""Files as people have them: short rows, long rows, rows without an id, times that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector import importer
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.errors import CatalogError, MalformedBody, NotFound
from tests.chain import Chain

MAPPING = """
source: /import/test
id: Nr
table: {}
events:
  - {type: order.received, time: Placed, keys: {order: Nr}}
  - {type: shipment.dispatched, time: Sent, keys: {order: Nr, shipment: Parcel}, when: {Kind: [parcel]}}
  - {type: shipment.dispatched, time: Again, keys: {order: Nr, shipment: Second}}
"""
HEAD = "Nr,Placed,Kind,Sent,Parcel,Again,Second"


def quiet(done: int, total: int) -> None:
    assert done <= total


def load(engine: sa.Engine, folder: Path, *lines: str, mapping: str = MAPPING) -> importer.Report:
    (folder / "m.yaml").write_text(mapping)
    (folder / "t.csv").write_text("\n".join([HEAD, *lines]))
    report = importer.import_csv(engine, folder / "t.csv", folder / "m.yaml", utc_now, quiet)
    Chain(engine).settle()
    return report


def reasons(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(t.quarantine.c.reason).order_by(t.quarantine.c.quarantine_id)))


def test_a_row_that_ends_early_has_no_more_values(engine: sa.Engine, tmp_path: Path) -> None:
    report = load(engine, tmp_path, "A1,2024-02-01")
    assert (report.accepted, report.refused) == (1, 0)


def test_a_row_with_more_fields_than_columns_is_refused(engine: sa.Engine, tmp_path: Path) -> None:
    """A comma within a text moves all that follows into the wrong columns."""
    report = load(engine, tmp_path, "A1,2024-02-01,parcel,2024-02-02,X1,,,,2024-02-03", "A2,2024-02-01")
    assert (report.accepted, report.refused) == (1, 1)
    assert "line 2: 9 fields for 7 columns" in reasons(engine)[0]


def test_a_row_without_an_id_is_refused(engine: sa.Engine, tmp_path: Path) -> None:
    """All such rows would have the same identity, and all but one would be lost as conflicts."""
    report = load(engine, tmp_path, " ,2024-02-01", ",2024-02-02,,,,2024-02-03,X1")
    assert (report.accepted, report.refused) == (0, 2)
    why = "id: Nr is empty; name what stays the same when this comes again"
    assert reasons(engine) == [f"line 2: {why}", f"line 3: {why}"]


def test_a_time_that_no_event_can_have_is_told_with_line_and_value(engine: sa.Engine, tmp_path: Path) -> None:
    lines = ["A1,01.01.0001", "A2,2024-02-01", "A3,31.12.9999"]
    mapping = MAPPING.replace("table: {}", 'table: {}\nzone: Europe/Berlin\ndate_forms: ["%d.%m.%Y", iso]')
    assert load(engine, tmp_path, *lines, mapping=mapping).accepted == 1
    assert reasons(engine) == [
        f'line {line}: events[0].time: "{value}" lies outside the years 1990 to 2100'
        for line, value in ((2, "01.01.0001"), (4, "31.12.9999"))
    ]


def test_two_events_of_one_type_in_a_row_are_two(engine: sa.Engine, tmp_path: Path) -> None:
    load(engine, tmp_path, "A1,2024-02-01,parcel,2024-02-02,X1,2024-02-03,X2")
    assert not reasons(engine)
    with engine.connect() as connection:
        types = connection.scalars(sa.select(t.events.c.type).order_by(t.events.c.occurred_at)).all()
    assert types == ["order.received", "shipment.dispatched", "shipment.dispatched"]


def test_what_is_no_table_is_said_to_be_none(engine: sa.Engine, tmp_path: Path) -> None:
    with pytest.raises(MalformedBody, match=r"t\.csv"):
        load(engine, tmp_path, '"' + "x" * 200_000)
    (tmp_path / "t.csv").write_text(f'"{HEAD}\n' + "A1,2024-02-01\n" * 20_000)
    with pytest.raises(MalformedBody, match=r"t\.csv: line 1: "):
        importer.import_csv(engine, tmp_path / "t.csv", tmp_path / "m.yaml", utc_now, quiet)


def test_what_was_refused_before_is_refused_once(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["A1,soon", ",2024-02-01", "A2,2024-02-01", "A3,later", "A2,2024-02-02"]
    first = load(engine, tmp_path, *lines)
    assert (first.accepted, first.conflicts, first.refused, first.open) == (2, 0, 3, 0)
    monkeypatch.setattr(importer, "BATCH", 1)
    again = load(engine, tmp_path, "A4,never", *lines)  # which gives all the others another line
    assert (again.accepted, again.conflicts, again.refused, again.open) == (1, 1, 4, 3)
    assert len(reasons(engine)) == 5
    with engine.begin() as connection:
        assert sum(connection.scalars(sa.select(t.quarantine_groups.c.open))) == 5
        connection.execute(sa.update(t.quarantine).values(state="discarded"))
    assert load(engine, tmp_path, *lines).open == 0


def test_files_that_can_not_be_read_are_named(engine: sa.Engine, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MAPPING)
    (tmp_path / "t.csv").write_text(HEAD)
    (tmp_path / "latin").write_bytes('{"events":[{"id":"1","type":"Ä","time":"x"}],"objects":[]}'.encode("latin-1"))
    for table, mapping in (("", "m.yaml"), ("t.csv", "")):
        with pytest.raises(NotFound, match=f"{tmp_path}: Is a directory"):
            importer.import_csv(engine, tmp_path / table, tmp_path / mapping, utc_now, quiet)
    with pytest.raises(NotFound, match=f"{tmp_path}: Is a directory"):
        importer.import_ocel(engine, tmp_path, "ocel", {}, utc_now, quiet)
    for table, mapping in (("latin", "m.yaml"), ("t.csv", "latin")):
        with pytest.raises(MalformedBody, match="latin: not readable as utf-8"):
            importer.import_csv(engine, tmp_path / table, tmp_path / mapping, utc_now, quiet)
    with pytest.raises(MalformedBody, match="utf-8"):
        importer.import_ocel(engine, tmp_path / "latin", "ocel", {}, utc_now, quiet)


@pytest.mark.parametrize("kind", ["not a type!!", "received", "order.", "", "order .received", ".received"])
def test_event_types_are_of_an_object_and_a_verb(tmp_path: Path, kind: str) -> None:
    (tmp_path / "types.yaml").write_text(json.dumps({"Place Order": "order.received", "Ship": kind}))
    with pytest.raises(CatalogError, match=rf'^types\.yaml: Ship: "{kind}" is no event type; write object\.verb'):
        importer.read_types(tmp_path / "types.yaml")


def test_activities_and_their_types_are_held_to_each_other(engine: sa.Engine, tmp_path: Path) -> None:
    times = {"Place": "2024-02-01T10:00:00Z", "Pay": "2024-02-02T10:00:00Z", "Ship": "2024-02-03T10:00:00Z"}
    events = [
        {"id": name, "type": name, "time": at, "relationships": [{"objectId": "o1"}]} for name, at in times.items()
    ]
    own = {"source": "s", "id": "1", "received": "2024-02-01T10:00:00Z", "outcome": "ok"}
    events[2]["relationships"] = [{"objectId": "order:o3"}]
    events[2]["attributes"] = [{"name": f"milepost_{name}", "value": value} for name, value in own.items()]
    objects = [
        {"id": name, "type": "order", "attributes": [{"name": said, "value": "x"}]}
        for name, said in (("o1", "size"), ("o2", "size"), ("o3", "milepost_key"))
    ]
    (tmp_path / "log.json").write_text(json.dumps({"events": events, "objects": [*objects, {"id": "o4", "type": "x"}]}))
    types = {"Place": "order.received", "Nope": "order.paid"}
    report = importer.import_ocel(engine, tmp_path / "log.json", "o", types, utc_now, quiet)
    assert (report.unlisted, report.absent) == (["Pay"], ["Nope"])
    assert report.dateless == 1  # o2: o3 is Milepost's own, and o4 has nothing to tell


def test_one_bad_time_in_a_log_costs_one_event(engine: sa.Engine, tmp_path: Path) -> None:
    log = {
        "events": [
            {"id": "1", "type": "Place", "time": "2024-02-30T10:00:00Z", "relationships": [{"objectId": "o1"}]},
            {
                "id": "2",
                "type": "Pay",
                "time": "2024-02-01T10:00:00Z",
                "relationships": [{"objectId": "o1"}],
                "attributes": [{"name": "note", "value": None}, {"name": "big", "value": 2**70}],
            },
            {"id": "3", "type": "Pay", "time": 17, "relationships": [{"objectId": "o2"}]},
            {"id": "4", "type": "Pay", "time": "0001-01-01T00:00:00+01:00", "relationships": [{"objectId": "o2"}]},
            {"id": "5", "type": "Pay", "time": "9999-12-31T23:00:00-02:00", "relationships": [{"objectId": "o2"}]},
        ],
        "objects": [{"id": "o1", "type": "Order"}, {"id": "o2", "type": "Order", "attributes": []}],
    }
    (tmp_path / "log.json").write_text(json.dumps(log))
    report = importer.import_ocel(engine, tmp_path / "log.json", "/import/ocel", {}, utc_now, quiet)
    assert (report.accepted, report.refused) == (1, 4)
    Chain(engine).settle()
    assert all("time" in reason for reason in reasons(engine))
    with engine.connect() as connection:
        (body,) = connection.scalars(sa.select(t.events.c.body)).all()
    assert body["data"]["attributes"] == {"note": None, "big": str(2**70)}
