"""Exports: what comes out is valid, complete, consistent, and gives the same journeys when it is imported again."""

from __future__ import annotations

import csv
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import sqlalchemy as sa
from pyarrow import parquet as arrow

from collector import importer
from dashboards.queries import journeys as queries
from exports import csv as csv_form
from exports import ocel_json, ocel_sqlite, parquet, snapshot, tables, xes
from exports.snapshot import Snapshot
from milepost import ocel
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.db.engine import make_engine
from milepost.decisions import correlation
from milepost.errors import Transient
from milepost.wiring.exports import business, reader
from tests.chain import CATALOG, Chain, entry
from tests.databases import Databases
from tests.integration.test_correlation_property import scenario, stored
from tests.integration.test_rebuild import wires

READ = reader(CATALOG)
SCENARIOS = 12
FORMS = ("json", "sqlite")


@pytest.fixture(scope="module")
def told(databases: Databases) -> Iterator[sa.Engine]:
    """Many scenarios of the property test in one database, orders that go their way, and an event with everything that
    an event can have."""
    with databases.fresh() as url:
        engine = make_engine(url)
        chain = Chain(engine)
        for number in range(SCENARIOS):
            events = scenario(random.Random(f"export-{number}"), f"x{number}_")
            chain.append([entry(wire, received) for wire, received in events])
        chain.send(*wires(0, 8))
        chain.send(ODD, received_us=1_790_000_000_000_000)
        chain.settle()
        yield engine
        engine.dispose()


ODD: dict[str, Any] = {
    "specversion": "1.0", "id": "a#b%1", "source": "/odd#1%", "type": "order.received", "causationid": "c-1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "time": "2026-09-21T14:13:20.123456+02:00", "correlationid": " xz@1 ",
    "data": {
        "keys": {"order": [" x@1%", "x2\t"], "picking": 12, "invoice": "N/A"}, "note": {"of": ["any", None]},
        "links": [{"parent": {"type": "order", "key": "x@1%"}, "child": {"type": "return", "key": "xR"}, "rel": "r"}],
        "outcome": "rejected", "code": "E1", "reason": "it said <no> & \"why\"\u0001",
        "attributes": {
            "amount": "1.50", "Amount": 3, "ocel_id": "x", "milepost_id": "mine", "gone": None, "flag": True,
            "ratio": 0.1, "big": 2**62, "0 odd:name": "é", "partner": "ACME",
        },
    },
}  # fmt: skip


def quiet(done: int, total: int) -> None:
    assert done <= total


def export(engine: sa.Engine, path: Path, form: str, chosen: sa.Select[Any] | None = None, piece: int = 100) -> Path:
    with snapshot.opened(engine, chosen, piece=piece) as view:
        if form == "sqlite":
            ocel_sqlite.write(path, view, READ)
        else:
            path.write_bytes(b"".join(ocel_json.chunks(view, READ)))
    return path


def bodies(engine: sa.Engine) -> dict[tuple[str, str], tuple[datetime, Any]]:
    e = t.events.c
    with engine.connect() as connection:
        rows = connection.execute(sa.select(e.source, e.event_id, e.received_at, e.body))
        return {(row.source, row.event_id): (row.received_at, row.body) for row in rows}


@pytest.mark.parametrize("form", FORMS)
def test_an_export_imported_again_gives_the_same_journeys(
    told: sa.Engine, engine: sa.Engine, tmp_path: Path, form: str
) -> None:
    path = export(told, tmp_path / "log", form)
    report = importer.import_ocel(engine, path, "ocel", {}, utc_now, quiet)
    assert (report.units, report.accepted, report.refused) == (len(bodies(told)), len(bodies(told)), 0)
    chain = Chain(engine)
    chain.settle()
    assert len(stored(told, "x")) > SCENARIOS
    assert stored(engine, "x") == stored(told, "x")
    (odd,) = [body for (source, _), (_, body) in bodies(engine).items() if source == ODD["source"]]
    assert odd["data"]["attributes"] == ODD["data"]["attributes"]
    assert {name: odd[name] for name in odd.keys() - {"time", "data"}} == {
        name: ODD[name] for name in ODD.keys() - {"time", "data"}
    }
    importer.import_ocel(engine, path, "ocel", {}, utc_now, quiet)  # what is there is a duplicate, and no conflict
    chain.settle()
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.sum(t.source_stats.c.conflicts))) == 0
        assert connection.scalar(sa.select(sa.func.sum(t.source_stats.c.duplicates))) == report.units


# --- the forms --------------------------------------------------------------------------------------------------------

TEXT = {"type": "string"}


def listed(*required: str, **properties: Any) -> dict[str, Any]:
    """A list of objects with these properties, as a JSON Schema."""
    found = dict.fromkeys(required, TEXT) | properties
    return {"type": "array", "items": {"type": "object", "required": list(required), "properties": found}}


TYPES = listed("name", "attributes", attributes=listed("name", "type"))
MOMENT = {"type": "string", "format": "date-time"}
RELATED = listed("objectId", "qualifier")
OCEL_2_JSON = {
    # what the standard's own schema asks for (OCEL 2.0 specification, 8.2)
    "type": "object",
    "required": ["eventTypes", "objectTypes", "events", "objects"],
    "properties": {
        "eventTypes": TYPES,
        "objectTypes": TYPES,
        "events": listed("id", "type", "time", time=MOMENT, attributes=listed("name", "value"), relationships=RELATED),
        "objects": listed("id", "type", attributes=listed("name", "value", "time", time=MOMENT), relationships=RELATED),
    },
}


def test_the_json_log_is_valid_and_names_nothing_that_is_not_there(told: sa.Engine, tmp_path: Path) -> None:
    log = json.loads(export(told, tmp_path / "log.json", "json").read_text("utf-8"))
    jsonschema.Draft7Validator(OCEL_2_JSON, format_checker=jsonschema.FormatChecker()).validate(log)
    kinds = {
        (what, item["name"]): {each["name"]: each["type"] for each in item["attributes"]}
        for what in ("event", "object")
        for item in log[f"{what}Types"]
    }
    assert {kind for declared in kinds.values() for kind in declared.values()} <= {
        "string", "time", "integer", "float", "boolean",
    }  # fmt: skip
    objects = {item["id"]: item["type"] for item in log["objects"]}
    assert len(objects) == len(log["objects"])
    assert len({item["id"] for item in log["events"]}) == len(log["events"])
    for what in ("event", "object"):
        for item in log[f"{what}s"]:
            declared = kinds[what, item["type"]]
            for each in item["attributes"]:
                value = ocel.value_of(each["value"], declared[each["name"]])
                assert declared[each["name"]] in ("time", ocel.kind_of(value))
            assert all(each["objectId"] in objects for each in item["relationships"])
            assert not item.get("time", "Z").removesuffix("Z").endswith("+00:00")
    assert {each["qualifier"] for item in log["events"] for each in item["relationships"]} == set(ocel.QUALIFIERS)
    with told.connect() as connection:
        pairs = connection.execute(sa.select(t.relations.c.rel)).scalars().all()
        subjects = connection.scalar(sa.select(sa.func.count()).where(t.event_object.c.subject))
    assert Counter(each["qualifier"] for item in log["objects"] for each in item["relationships"]) == Counter(pairs)
    assert subjects == sum(each["qualifier"] == "subject" for item in log["events"] for each in item["relationships"])


def test_the_sqlite_log_keeps_to_the_standards_tables(told: sa.Engine, tmp_path: Path) -> None:
    path = export(told, tmp_path / "log.sqlite", "sqlite")
    with closing(sqlite3.connect(path)) as file:

        def column(statement: str) -> list[Any]:
            return [row[0] for row in file.execute(statement)]

        assert column("PRAGMA foreign_key_check") == []
        tables_ = set(column("SELECT name FROM sqlite_master WHERE type = 'table'"))
        fixed = {"event", "object", "event_object", "object_object", "event_map_type", "object_map_type"}
        for what, first in (
            ("event", ["ocel_id", "ocel_time"]),
            ("object", ["ocel_id", "ocel_time", "ocel_changed_field"]),
        ):
            names = dict(file.execute(f"SELECT ocel_type, ocel_type_map FROM {what}_map_type"))
            fixed |= {f"{what}_{name}" for name in names.values()}
            for kind, name in names.items():
                described = list(file.execute(f'PRAGMA table_info("{what}_{name}")'))
                assert [row[1] for row in described][: len(first)] == first
                assert {row[2] for row in described} <= {"TEXT", "TIMESTAMP", "INTEGER", "REAL", "BOOLEAN"}
                mine = column(f"SELECT ocel_id FROM {what} WHERE ocel_type = '{kind}'")
                assert set(column(f'SELECT ocel_id FROM "{what}_{name}"')) == set(mine)
                assert column(f'SELECT ocel_time FROM "{what}_{name}" WHERE datetime(ocel_time) IS NULL') == []
                if what == "object":  # each begins once, and each change names one field
                    assert len(column(f'SELECT 1 FROM "{what}_{name}" WHERE ocel_changed_field IS NULL')) == len(mine)
                    assert set(column(f'SELECT ocel_changed_field FROM "{what}_{name}"')) - {None} <= {
                        row[1] for row in described
                    }
        assert tables_ == fixed
        both = sorted(file.execute("SELECT * FROM event_object")), sorted(file.execute("SELECT * FROM object_object"))
    log = json.loads(export(told, tmp_path / "log.json", "json").read_text("utf-8"))
    for what, found in zip(("events", "objects"), both, strict=True):
        assert found == sorted(
            (item["id"], each["objectId"], each["qualifier"]) for item in log[what] for each in item["relationships"]
        )


XES = "{http://www.xes-standard.org/}"
ATTRIBUTES = ("string", "date", "int", "float", "boolean", "id", "list")


def test_xes_keeps_to_the_schema_of_ieee_1849(told: sa.Engine) -> None:
    with snapshot.opened(told, None, piece=50) as view:
        text = b"".join(xes.chunks(view, "order"))
    with snapshot.opened(told, None) as view:
        assert b"".join(xes.chunks(view, "order")) == text  # the order is the same, whatever the pieces
    log = ElementTree.fromstring(text)
    order = ["extension", "global", "classifier", *[ATTRIBUTES], "trace", "event"]
    assert (log.tag, log.get("xes.version")) == (f"{XES}log", "1849.2016")
    check_order(log, order)
    prefixes = {item.get("prefix") for item in log.iterfind(f"{XES}extension")}
    scopes = {item.get("scope"): {each.get("key") for each in item} for item in log.iterfind(f"{XES}global")}
    for classifier in log.iterfind(f"{XES}classifier"):
        assert set((classifier.get("keys") or "").split()) <= scopes[classifier.get("scope")]
    traces = log.findall(f"{XES}trace")
    for trace in traces:
        check_order(trace, [ATTRIBUTES, "event"])
        moments = []
        for event in trace.iterfind(f"{XES}event"):
            check_attributes(event, prefixes, scopes["event"])
            moments.append(datetime.fromisoformat(value(event, "time:timestamp")))
        assert moments
        assert moments == sorted(moments)
    j = t.journeys.c
    with told.connect() as connection:
        roots = connection.execute(sa.select(j.key, j.namespace).where(j.model == "order").order_by(j.key, j.namespace))
        names = [f"{key}@{space}" if space else key for key, space in roots]
    assert [value(trace, "concept:name") for trace in traces] == names


def value(item: ElementTree.Element, key: str) -> str:
    (found,) = [each.get("value") for each in item if each.get("key") == key]
    assert found is not None
    return found


def check_order(item: ElementTree.Element, order: list[Any]) -> None:
    """The children stand in this order."""
    places = {
        name: index for index, names in enumerate(order) for name in ([names] if isinstance(names, str) else names)
    }
    found = [places[child.tag.removeprefix(XES)] for child in item]
    assert found == sorted(found)


def check_attributes(item: ElementTree.Element, prefixes: set[Any], required: set[Any]) -> None:
    keys = [each.get("key", "") for each in item]
    assert len(set(keys)) == len(keys)
    assert required <= set(keys)
    reads = {
        "date": datetime.fromisoformat,
        "int": int,
        "float": float,
        "boolean": ["false", "true"].index,
        "string": str,
    }
    for each in item:
        key = each.get("key", "")
        assert key.replace("_", "a")[0].isalpha()
        assert not set(key) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:")
        assert ":" not in key or key.split(":")[0] in prefixes
        reads[each.tag.removeprefix(XES)](each.get("value", ""))


@pytest.mark.parametrize("what", tables.WHATS)
def test_tables_are_the_same_as_csv_and_as_parquet(told: sa.Engine, tmp_path: Path, what: tables.What) -> None:
    def table(view: Snapshot) -> tables.Table:
        return tables.table(what, view, CATALOG, business(CATALOG, "business"))

    with snapshot.opened(told, None, piece=7) as view:
        lines = list(csv.reader(StringIO(b"".join(csv_form.chunks(table(view))).decode(), newline="")))
    with snapshot.opened(told, None) as view:
        parquet.write(tmp_path / "t.parquet", table(view))
    read = arrow.read_table(tmp_path / "t.parquet")
    assert read.column_names == lines[0]
    assert read.num_rows == len(lines) - 1 > 5
    for name, cells in zip(lines[0], zip(*lines[1:], strict=True), strict=True):
        typed = read.column(name).to_pylist()
        assert [
            "" if cell is None else ocel.stamp(cell) if isinstance(cell, datetime) else str(cell) for cell in typed
        ] == [*cells]
    with told.connect() as connection:
        if what == "journeys":
            assert read.num_rows == connection.scalar(sa.select(sa.func.count()).select_from(t.journeys))
            reached = sum(
                read.num_rows - read.column(name).null_count for name in lines[0] if name.endswith("_reached_at")
            )
            assert reached == connection.scalar(sa.select(sa.func.count()).select_from(t.milestones))
        if what == "durations":
            seconds = read.column("seconds").to_pylist()
            ends = zip(read.column("from_at").to_pylist(), read.column("to_at").to_pylist(), strict=True)
            assert seconds == [(end - start).total_seconds() for start, end in ends]
            open_, hours = read.column("business_seconds").to_pylist(), read.column("calendar").to_pylist()
            assert all(abs(one) <= abs(other) for one, other, name in zip(open_, seconds, hours, strict=True) if name)


# --- what is chosen, and how it is read -------------------------------------------------------------------------------


def test_a_filter_leaves_its_journeys_and_nothing_else(told: sa.Engine, tmp_path: Path) -> None:
    with told.connect() as connection:
        journey_id = connection.scalar(
            sa.select(t.members.c.journey_id).join(t.journeys, t.journeys.c.journey_id == t.members.c.journey_id)
            .where(t.journeys.c.model == "order").group_by(t.members.c.journey_id)
            .order_by(sa.func.count().desc(), t.members.c.journey_id).limit(1)
        )  # fmt: skip
        m, eo = t.members.c, t.event_object.c
        ids = connection.execute(sa.select(m.object_id).where(m.journey_id == journey_id)).scalars().all()
        numbers = connection.execute(sa.select(eo.event_no).distinct().where(eo.object_id.in_(ids))).all()
    chosen = queries.select_ids(queries.Filter(ids=[journey_id or 0]))
    log = json.loads(export(told, tmp_path / "log.json", "json", chosen).read_text("utf-8"))
    objects = {item["id"] for item in log["objects"]}
    assert len(objects) == len(ids) > 2
    assert len(log["events"]) == len(numbers) > 2
    for item in (*log["events"], *log["objects"]):
        assert {each["objectId"] for each in item["relationships"]} <= objects
    with snapshot.opened(told, chosen) as view:
        (shown,) = (rows for rows in tables.table("events", view, CATALOG, business(CATALOG)).pieces)
    assert len(shown) == len(numbers)


def test_an_export_during_whose_course_journeys_are_swapped_fails(engine: sa.Engine) -> None:
    chain = Chain(engine)
    chain.send(*({**ODD, "id": name, "data": {"keys": {"order": name}}} for name in ("S1", "S2", "S3")))
    chain.settle()
    with snapshot.opened(engine, None, piece=1) as view:
        chunks = csv_form.chunks(tables.table("journeys", view, CATALOG, business(CATALOG)))
        read = [next(chunks), next(chunks)]
        with engine.begin() as connection:  # as a rebuild's swap does
            connection.execute(sa.text("ALTER SCHEMA derived RENAME TO derived_former"))
            connection.execute(sa.text("CREATE SCHEMA derived"))
            for name in ("journeys", "milestones"):
                connection.execute(sa.text(f"CREATE TABLE derived.{name} (LIKE derived_former.{name})"))
        with pytest.raises(Transient, match="rebuilt meanwhile"):
            read.extend(chunks)


def test_a_key_that_was_split_is_two_objects(engine: sa.Engine, tmp_path: Path) -> None:
    chain = Chain(engine)
    days = {"early": "2026-03-01T09:00:00Z", "late": "2026-09-01T09:00:00Z"}
    wires = [{**ODD, "id": name, "time": at, "data": {"keys": {"order": "R1@"}}} for name, at in days.items()]
    chain.send(*wires)
    chain.settle()
    with engine.begin() as connection:
        object_id = connection.scalar(sa.select(t.objects.c.object_id)) or 0
        since = datetime(2026, 6, 1, tzinfo=UTC)
        named = correlation.Named(object_id, "order", "", "R1@")
        correlation.decide(connection, "split", named, since=since, actor="test", reason="anew", now=utc_now())
    chain.settle()
    log = json.loads(export(engine, tmp_path / "log.json", "json").read_text("utf-8"))
    orders = {"order:R1%40", "order:R1%40@since=2026-06-01T00:00:00Z"}
    assert {item["id"] for item in log["objects"] if item["type"] == "order"} == orders
    about = [
        each["objectId"] for item in log["events"] for each in item["relationships"] if each["qualifier"] == "subject"
    ]
    assert about == sorted(orders)
    assert [ocel.object_of(name) for name in about] == [("order", "R1@")] * 2


def test_an_export_sees_one_moment_and_reads_in_pieces(engine: sa.Engine) -> None:
    chain = Chain(engine)
    chain.send(*({**ODD, "id": str(number)} for number in range(40)))
    chain.settle()
    heard: list[int] = []
    with snapshot.opened(engine, None, piece=8) as view:
        watched = replace(view, heard=heard.append)
        chunks = ocel_json.chunks(watched, READ)
        first = [next(chunks) for _ in range(4)]
        chain.send(*({**ODD, "id": f"later {number}", "type": "late.one"} for number in range(40)))
        chain.settle()
        found, cursors = [], 0
        for chunk in chunks:
            found.append(chunk)
            cursors += view.connection.scalar(sa.text("SELECT count(*) FROM pg_cursors")) or 0
        log = json.loads(b"".join([*first, *found]))
        with pytest.raises(Transient, match="read-only"):
            view.connection.execute(t.decisions.delete())
    assert max(heard) <= 8
    assert cursors >= 4  # the server keeps what is not read yet
    assert len(log["events"]) == 40
    assert {item["type"] for item in log["events"]} == {"order.received"}
