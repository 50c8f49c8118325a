"""Watched folders on a real database: whole files only, nothing lost or doubled by a crash, problems told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pytest
import sqlalchemy as sa

from collector.folders import chunks, listing
from collector.folders.watch import PATIENCE, Looked, Watcher
from collector.replay import READERS, Raw
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.db.tables import event_log, files, folders, quarantine, quarantine_groups, signals
from milepost.inbox import log
from tests.conformance.edi_samples import ACME, ORDER, US, x12

MAPPING = """
table: {delimiter: ";"}
id: number
zone: Europe/Berlin
events:
  - {type: picking.packed, time: packed, keys: {picking: number, order: order}}
"""
LINES = """
id: body.id
events:
  - {type: picking.packed, time: body.at, keys: {picking: body.id}}
"""
SOURCES = """
sources:
  wms: {folder: {path: wms, pattern: "*.csv", format: csv, mapping: rows, settle: 10}}
  shop: {folder: {path: shop, format: ndjson, mapping: lines, settle: 0}}
  plain: {folder: {path: plain, format: ndjson, settle: 0}}
  acme: {folder: {path: acme, format: edi, settle: 0}}
"""
CATALOG = loader.load(
    loader.default_texts()
    | {"sources.yaml": SOURCES, "mappings/rows.yaml": MAPPING, "mappings/lines.yaml": LINES}
    | {"partners.yaml": "aliases: {}\nedi: {own: ['ZZ:MILEPOST'], partners: {ACME: {ids: ['01:123456789']}}}"}
)
HEAD = "number;order;packed\n"


@dataclass
class Desk:
    """Folders, a watcher of them, and a clock that only we move."""

    engine: sa.Engine
    root: Path
    now: datetime = field(default_factory=utc_now)
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("wms", "shop", "plain", "acme"):
            (self.root / name).mkdir()
        self.restart()

    def restart(self) -> None:
        self.watcher = Watcher(self.engine, str(self.root), lambda: CATALOG, lambda: self.now, seconds=self.seconds)

    def put(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_bytes(text.encode("latin-1"))
        return path

    def step(self, later: float = 0.0) -> Looked:
        self.now += timedelta(seconds=later)
        return self.watcher.step()

    def settled(self) -> Looked:
        """Two looks, long enough apart for every file to stand still."""
        self.step()
        return self.step(11)

    def taken(self) -> list[dict[str, Any]]:
        """The events in the log, which is empty afterwards."""
        with self.engine.begin() as connection:
            entries = [entry for batch in log.consume(connection, 10_000) for entry in batch.entries]
        return [msgspec.json.decode(entry.body) for entry in entries]

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.select(table)).mappings()]

    def there(self, folder: str) -> set[str]:
        base = self.root / folder
        return {path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()}


@pytest.fixture
def desk(shared: sa.Engine, tmp_path: Path) -> Iterator[Desk]:
    yield Desk(shared, tmp_path)
    with shared.begin() as connection:
        for table in (event_log, files, folders, quarantine, quarantine_groups, signals):
            connection.execute(sa.delete(table))


def test_a_table_is_read_row_by_row_and_put_away(desk: Desk) -> None:
    rows = 'P1;S1;2026-11-20 10:00:00\nP2;S2;yesterday\n"P\n3";S3;2026-11-20\nP4;S4\n'
    desk.put("wms/a.csv", "\ufeff".encode().decode("latin-1") + HEAD + rows)
    desk.settled()
    assert [(event["id"], event["source"], event["time"]) for event in desk.taken()] == [
        ("P1/picking.packed", "wms", "2026-11-20T10:00:00+01:00"),
        ("P\n3/picking.packed", "wms", "2026-11-20T12:00:00+01:00"),
    ]
    (held,) = desk.rows(quarantine)
    assert held["reason"].startswith("line 3: events[0].time:")
    assert (held["way"], held["sender"], held["context"]) == ("rows:rows", "watched folder", {"file": "a.csv"})
    (row,) = desk.rows(files)
    assert (row["state"], row["accepted"], row["refused"], row["units"]) == ("done", 2, 1, 6)
    assert desk.there("wms") == {"done/a.csv", "done/a.csv.error.txt"}


def test_a_row_from_quarantine_is_read_again_by_its_mapping(desk: Desk) -> None:
    desk.put("wms/a.csv", HEAD + "P2;S2;yesterday\n")
    desk.settled()
    (held,) = desk.rows(quarantine)
    body = held["body"].replace(b"yesterday", b"2026-11-20")
    (event,) = READERS["rows"](Raw(body, "wms", desk.now, "rows", held["context"], CATALOG))
    assert msgspec.json.decode(event)["id"] == "P2/picking.packed"


def test_a_file_is_read_only_when_it_stands_still(desk: Desk) -> None:
    path = desk.put("wms/a.csv", HEAD + "P1;S1;2026-11-20\nP2;S")
    assert desk.step().files == 0
    path.write_text(HEAD + "P1;S1;2026-11-20\nP2;S2;2026-11-20\n")
    assert desk.step(9).files == 0
    assert desk.step(9).files == 0
    assert desk.step(1).files == 1
    assert len(desk.taken()) == 2


def test_what_is_half_written_hidden_a_link_or_another_pattern_is_left(desk: Desk, tmp_path: Path) -> None:
    names = (".a.csv", "a.csv.part", "a.csv.tmp", "a.csv.filepart", "b.txt", "c.csv.error.txt")
    for name in names:
        desk.put(f"wms/{name}", HEAD + "P1;S1;2026-11-20\n")
    (desk.root / "wms" / "link.csv").symlink_to(desk.root / "wms" / "b.txt")
    os.mkfifo(desk.root / "wms" / "pipe.csv")
    desk.settled()
    assert desk.taken() == []
    assert desk.rows(files) == []


def test_lines_by_a_mapping_and_lines_that_are_events(desk: Desk) -> None:
    desk.put("shop/a", '{"id": "P1", "at": "2026-11-20T10:00:00Z"}\n\nnot json\n{"at": "2026-11-20T10:00:00Z"}\n')
    event = {"type": "picking.packed", "time": "2026-11-20T10:00:00Z", "data": {"keys": {"picking": "P9"}}}
    desk.put("plain/b", msgspec.json.encode(event).decode() + '\n{"type": "x"}\n')
    desk.step()
    found = sorted((one["source"], str(one["data"]["keys"]["picking"])) for one in desk.taken())
    assert found == [("plain", "P9"), ("shop", "['P1']")]
    reasons = sorted((row["source"], row["reason"].split(":")[0]) for row in desk.rows(quarantine))
    assert reasons == [("plain", "line 2"), ("shop", "line 3"), ("shop", "line 4")]


def test_edi_in_a_folder_and_a_broken_one_is_put_aside(desk: Desk) -> None:
    good = x12(ACME, US, 17, "PO", ORDER)
    desk.put("acme/good.edi", good)
    desk.put("acme/bad.edi", good.replace("SE*5", "SE*6"))
    desk.step()
    assert {event["type"] for event in desk.taken()} == {"document.received", "order.received"}
    assert desk.there("acme") == {"done/good.edi", "failed/bad.edi", "failed/bad.edi.error.txt"}
    error = (desk.root / "acme/failed/bad.edi.error.txt").read_text()
    assert error == "segment 7 (SE), element 1: 6 segments announced, 5 found\n"
    (held,) = desk.rows(quarantine)
    assert (held["kind"], held["way"]) == ("malformed", "edi")
    assert held["body"] == good.replace("SE*5", "SE*6").encode()


def test_the_same_again_is_the_same_events_and_is_not_written_over(desk: Desk) -> None:
    for _ in range(2):
        path = desk.put("acme/a.edi", x12(ACME, US, 17, "PO", ORDER))
        os.utime(path, ns=(1, desk.now.microsecond + len(desk.rows(files))))
        desk.step()
    ids = [event["id"] for event in desk.taken()]
    assert len(ids) == 4
    assert len(set(ids)) == 2
    assert len(desk.there("acme")) == 2


def test_a_file_that_is_put_back_is_read_again(desk: Desk) -> None:
    """Same name, size and time: here its mapping has been mended, or there is another row in it."""
    for number in ("P1", "P2"):
        path = desk.put("wms/a.csv", f"{HEAD}{number};S1;2026-11-20\n")
        os.utime(path, (1e9, 1e9))
        desk.settled()
    (desk.root / "wms/done/a.csv").rename(desk.root / "wms/a.csv")
    desk.settled()
    assert [event["id"] for event in desk.taken()] == [f"P{n}/picking.packed" for n in (1, 2, 1)]
    assert desk.there("wms") == {"done/a.csv", f"done/a.csv.{10**18}"}


class Crash(BaseException):
    """The process ends here."""


def dies(*_: object) -> None:
    raise Crash


@pytest.mark.parametrize("place", ["before the commit", "after it", "before the move"])
def test_a_crash_loses_nothing_and_doubles_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(chunks, "UNITS", 10)
    desk.put("shop/a", "".join(f'{{"id": "P{n}", "at": "2026-11-20T10:00:00Z"}}\n' for n in range(35)))
    with monkeypatch.context() as broken:
        if place == "before the move":
            broken.setattr(listing, "put_away", dies)
        else:
            broken.setattr(log, "append", _on_call(3, log.append, before=place == "before the commit"))
        with pytest.raises(Crash):
            desk.step()
    desk.restart()
    desk.step()
    ids = [event["id"] for event in desk.taken()]
    assert sorted(ids) == sorted(f"P{n}/picking.packed" for n in range(35))
    assert desk.there("shop") == {"done/a"}


def _on_call(number: int, real: Callable[..., None], *, before: bool) -> Callable[..., None]:
    """Crashes in the transaction of the n-th call, or at the start of the one after it."""
    calls = 0

    def append(*given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == number + (not before):
            raise Crash
        real(*given)

    return append


def test_a_long_file_takes_several_steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "UNITS", 10)
    desk.seconds = 0.5
    desk.restart()
    real = log.append

    def slow(*given: Any) -> None:
        desk.now += timedelta(seconds=1)
        real(*given)

    monkeypatch.setattr(log, "append", slow)
    desk.put("shop/a", "".join(f'{{"id": "P{n}", "at": "2026-11-20T10:00:00Z"}}\n' for n in range(35)))
    assert [desk.step().accepted for _ in range(5)] == [10, 10, 10, 5, 0]
    assert desk.there("shop") == {"done/a"}
    assert len({event["id"] for event in desk.taken()}) == 35


def test_a_file_that_changes_while_it_is_read_is_read_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.put("shop/a", '{"id": "P1", "at": "2026-11-20T10:00:00Z"}\n')
    monkeypatch.setattr(listing, "unchanged", lambda *_: len(desk.rows(files)) == 0)
    desk.step()
    assert desk.rows(files) == []
    assert path.exists()
    monkeypatch.undo()
    desk.step()
    assert [row["state"] for row in desk.rows(files)] == ["done"]


def test_a_folder_that_may_not_be_changed_is_read_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "put_away", lambda *_: False)
    desk.put("shop/a", '{"id": "P1", "at": "2026-11-20T10:00:00Z"}\n')
    for _ in range(2):
        desk.step()
        desk.restart()
    assert len(desk.taken()) == 1
    assert desk.there("shop") == {"a"}
    monkeypatch.setattr(listing, "MAX_FILES", 1)
    desk.put("shop/b", '{"id": "P2", "at": "2026-11-20T10:00:00Z"}\n')
    desk.step()
    desk.step()
    assert len(desk.taken()) == 1, "what stays hides nothing"


def test_a_row_without_its_closing_quote_costs_itself(desk: Desk) -> None:
    rows = "".join(f"P{n};S{n};2026-11-20\n" for n in range(12_000))
    desk.put("wms/a.csv", HEAD + 'P;"S;2026-11-20\n' + rows)
    desk.settled()
    assert len(desk.taken()) == 12_000
    (held,) = desk.rows(quarantine)
    assert held["reason"].startswith("line 2: field larger than field limit")
    assert held["body"] == b'P;"S;2026-11-20'


def test_a_table_without_its_columns_is_refused_whole(desk: Desk) -> None:
    desk.put("wms/a.csv", "number;other\nP1;x\n")
    desk.settled()
    assert desk.there("wms") == {"failed/a.csv", "failed/a.csv.error.txt"}
    (held,) = desk.rows(quarantine)
    assert held["reason"] == "line 1: no column order, packed"


def test_a_header_without_its_closing_quote_is_put_aside(desk: Desk) -> None:
    rows = "".join(f"P{n};S{n};2026-11-20\n" for n in range(8_000))
    desk.put("wms/a.csv", f'"{HEAD}{rows}')
    desk.put("wms/b.csv", HEAD + "P1;S1;2026-11-20\n")
    desk.settled()
    assert desk.there("wms") == {"failed/a.csv", "failed/a.csv.error.txt", "done/b.csv"}
    (held,) = desk.rows(quarantine)
    assert held["reason"].startswith("line 1: field larger than field limit")


def test_what_nobody_thought_of_in_a_file_is_told_and_costs_the_others_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = listing.opened

    def opened(folder: Path, found: listing.Found) -> BinaryIO | None:
        if found.name == "a":
            raise ZeroDivisionError("by what?\nby nothing")
        return real(folder, found)

    monkeypatch.setattr(listing, "opened", opened)
    for name in "ab":
        desk.put(f"shop/{name}", f'{{"id": "{name}", "at": "2026-11-20T10:00:00Z"}}\n')
    assert desk.step().problems == {"shop": "a: ZeroDivisionError: by what?"}
    assert desk.there("shop") == {"a", "done/b"}
    assert {row["source"]: row["error"] for row in desk.rows(folders)}["shop"] == "a: ZeroDivisionError: by what?"


def test_a_missing_folder_is_told_and_costs_the_others_nothing(desk: Desk) -> None:
    (desk.root / "wms").rename(desk.root / "away")
    desk.put("acme/a.edi", x12(ACME, US, 17, "PO", ORDER))
    looked = desk.step()
    assert looked.problems == {"wms": f"{desk.root / 'wms'}: No such file or directory"}
    assert len(desk.taken()) == 2
    assert desk.rows(signals) == []
    desk.step(PATIENCE.total_seconds())
    desk.step(5)
    (raised,) = desk.rows(signals)
    assert (raised["action"], raised["rule"], raised["item"]) == ("raise", "watched-folder", "wms")
    (desk.root / "away").rename(desk.root / "wms")
    desk.step(5)
    assert [row["action"] for row in desk.rows(signals)] == ["raise", "clear"]
    assert {row["source"]: row["error"] for row in desk.rows(folders)}["wms"] is None


def test_no_folder_leads_out_of_the_root(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    (desk.root / "shop").rmdir()
    (desk.root / "shop").symlink_to(tmp_path_factory.mktemp("outside"))
    assert "leads out of" in desk.step().problems["shop"]
