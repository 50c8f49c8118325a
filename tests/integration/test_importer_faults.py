"""Files as people have them: short rows, long rows, rows without an id, times that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector import importer
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.errors import MalformedBody
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
