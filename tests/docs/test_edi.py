"""The how-to guides of EDI and of watched folders, run as they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from collector.folders.watch import Watcher
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.decisions import catalog as decided
from milepost.inbox import log
from tests.databases import Databases
from tests.docs.pages import DOCS, blocks
from tests.docs.test_how_to import shell
from tests.served import Served, collector

EDI = DOCS / "how-to" / "connect-edi.md"
FOLDERS = DOCS / "how-to" / "watch-folders.md"


def lay_out(page: Path, folder: Path) -> None:
    """The catalog of a page, each file under the name in its first line."""
    for block in blocks(page, "yaml"):
        path = folder / "catalog" / block.text.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)


@pytest.fixture(scope="module")
def served(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A collector with the catalog of the page in force."""
    folder = tmp_path_factory.mktemp("edi")
    lay_out(EDI, folder)
    with databases.fresh() as url, collector(url) as running:
        with running.engine.begin() as connection:
            decided.apply(connection, loader.read_texts(folder / "catalog"), actor="test", now=utc_now())
        yield running


def test_the_edi_guide_runs_as_it_stands(served: Served, tmp_path: Path) -> None:
    lay_out(EDI, tmp_path)
    show, _, send, close, broken = blocks(EDI, "sh")
    (text,) = blocks(EDI, "text")
    assert shell(show.text, tmp_path, {}).stdout == text.text
    environment = {"URL": served.url, "KEY": served.keys["anybody"]}
    sent, refused = (json.loads(block.text) for block in blocks(EDI, "json"))
    done = shell(send.text, tmp_path, environment)
    assert json.loads(done.stdout) == sent
    types = [json.loads(entry.body)["type"] for entry in served.taken()]
    assert types == ["document.received", "order.received"]
    shell(close.text, tmp_path, environment | {"KEY": served.keys["north"]})
    assert [json.loads(entry.body)["type"] for entry in served.taken()] == ["document.closed"]
    answer = json.loads(shell(broken.text, tmp_path, environment).stdout)
    assert answer | {"title": ""} == refused | {"title": ""}, "the phrase of 422 has changed between versions of Python"
    (held,) = served.quarantined()
    assert (held["way"], held["source"], held["body"]) == ("edi", "edi", (tmp_path / "broken.edi").read_bytes().strip())


def test_the_folder_guide_runs_as_it_stands(served: Served, tmp_path: Path) -> None:
    lay_out(FOLDERS, tmp_path)
    catalog = loader.load(loader.read_texts(tmp_path / "catalog"))
    start, drop = blocks(FOLDERS, "sh")
    (make,) = (line for line in start.text.splitlines() if line.startswith("mkdir"))
    shell(f"{make}\n{drop.text}", tmp_path, {})
    times = [utc_now()]
    watcher = Watcher(served.engine, str(tmp_path / "drop"), lambda: catalog, lambda: times[-1])
    watcher.step()
    times.append(times[-1] + timedelta(seconds=11))
    looked = watcher.step()
    with served.engine.begin() as connection:
        (batch,) = log.consume(connection, 10)
    assert [json.loads(entry.body)["data"]["keys"]["picking"] for entry in batch.entries] == [["WH/OUT/00047"]]
    assert (looked.accepted, looked.refused) == (1, 1)
    (text,) = blocks(FOLDERS, "text")
    error = (tmp_path / "drop/wms/done/packed.csv.error.txt").read_text()
    assert error.startswith(text.text.strip()), error
