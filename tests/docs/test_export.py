"""The guide to exports, run as it stands; and downloads, which are the same over HTTP."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Generator, Iterator
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import anyio.lowlevel
import httpx
import pytest
import sqlalchemy as sa
from starlette.types import Message
from typer.main import get_command

from dashboards import exporting
from dashboards.pages.journeys import downloads
from dashboards.session import Person
from dashboards.view import View
from milepost.cli import app as cli
from milepost.clock import utc_now
from milepost.db.tables import audit, source_stats
from milepost.errors import Overloaded
from tests.chain import Chain, Wire
from tests.dashboard import Dashboard, dashboard
from tests.docs.pages import DOCS, Block, blocks
from tests.docs.test_how_to import shell

PAGE = DOCS / "how-to" / "export.md"
IMPORTING = DOCS / "how-to" / "import-history.md"


def order(key: str, day: int, channel: str) -> list[Wire]:
    steps = [("order.received", f"2026-11-{day:02}T09:00:00Z"), ("order.confirmed", f"2026-11-{day:02}T10:30:00Z")]
    return [
        {
            "specversion": "1.0", "id": f"{kind}-{key}", "source": "/shop", "type": kind, "time": at,
            "data": {"keys": {"order": key}, "attributes": {"channel": channel, "amount": "12.50", "currency": "EUR"}},
        }
        for kind, at in steps
    ]  # fmt: skip


@pytest.fixture
def filled(engine: sa.Engine) -> Chain:
    chain = Chain(engine)
    chain.send(*order("S1", 2, "shopify"), *order("S2", 3, "edi"))
    chain.settle()
    return chain


def run(block: Block) -> None:
    """Its commands, in this process: each in one of its own would take a second."""
    for line in block.text.splitlines():
        get_command(cli).main(shlex.split(line)[1:], standalone_mode=False)


def test_the_commands_of_the_page(
    filled: Chain, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILEPOST_DATABASE_URL", database)
    everything, parts, importing, calendar = blocks(PAGE, "sh")
    for block in (everything, parts, calendar):
        run(block)
    assert not list(tmp_path.glob("*.part"))
    assert {path.suffix for path in tmp_path.iterdir()} == {".sqlite", ".jsonocel", ".xes", ".csv", ".parquet"}
    assert [row["key"] for row in rows(tmp_path / "journeys.csv")] == ["S1", "S2"]
    assert [(row["key"], row["amount"]) for row in rows(tmp_path / "open.csv")] == [("S1", "12.5000")]
    assert [row["channel"] for row in rows(tmp_path / "november.csv")] == ["shopify", "edi"]
    steps = [(row["from"], row["to"], row["seconds"], row["calendar"]) for row in rows(tmp_path / "durations.csv")]
    assert [step[:3] for step in steps] == [("received", "confirmed", "5400.0")] * 2
    assert all(step[3] for step in steps)
    one = json.loads((tmp_path / "order-S1.jsonocel").read_text("utf-8"))
    assert [item["id"] for item in one["objects"]] == ["order:S1"]
    with filled.engine.connect() as connection:
        noted = connection.execute(sa.select(audit.c.target).where(audit.c.action == "export.begun")).scalars().all()
    assert len(noted) == sum(block.text.count("milepost export") for block in (everything, parts, calendar))
    run(importing)
    filled.settle()
    with filled.engine.connect() as connection:
        (counted,) = connection.execute(sa.select(source_stats.c.duplicates, source_stats.c.conflicts))
    assert tuple(counted) == (4, 0)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(path.read_text("utf-8"), newline="")))


@pytest.fixture
def served(filled: Chain, database: str) -> Iterator[Dashboard]:
    with dashboard(database) as running:
        yield running


def test_downloads_have_the_filters_of_the_list(served: Dashboard, tmp_path: Path) -> None:
    (block,) = blocks(PAGE, "sh curl")
    shell(block.text.replace("http://127.0.0.1:8080", served.url), tmp_path, {"KEY": served.keys["read"]})
    assert rows(tmp_path / "durations.csv") == []  # none is completed
    read = {"authorization": f"Bearer {served.keys['read']}"}

    def get(path: str, headers: dict[str, str] = read) -> httpx.Response:
        return served.client.get(f"/v1/export/{path}", headers=headers)

    found = get("csv?channel=edi")
    assert found.headers["content-type"] == "text/csv; charset=utf-8"
    assert found.headers["content-disposition"] == 'attachment; filename="milepost-journeys.csv"'
    assert [row["key"] for row in csv.DictReader(StringIO(found.text, newline=""))] == ["S2"]
    assert len(get("ocel-json").json()["events"]) == 4
    assert len(get("ocel-json?q=S1&since=2026-11-01&until=2026-11-03").json()["events"]) == 2
    assert get("xes?q=S2").text.count("<trace>") == 1
    refused = ("pdf", "csv?table=all", "csv?kind=nothing", "csv?stage=nowhere", "csv?calendar=a", "xes?table=events")
    assert [get(path).status_code for path in refused] == [422] * len(refused)
    assert get("csv", {}).status_code == 401
    assert get("csv", {"authorization": f"Bearer {served.keys['send']}"}).status_code == 403


def test_a_download_ends_when_its_reader_has_gone() -> None:
    closed: list[bool] = []

    def chunks() -> Generator[bytes, None, None]:
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        await anyio.lowlevel.checkpoint()

    answer = exporting.Download(chunks())
    anyio.run(answer, {"type": "http", "asgi": {"spec_version": "2.3"}}, gone, send)
    assert closed == [True]


def test_a_download_that_nobody_reads_gives_its_place_up() -> None:
    slots = exporting.Slots(2, seconds=60)
    with slots.one(), slots.one(), pytest.raises(Overloaded), slots.one():
        raise AssertionError
    with slots.one():
        pass
    stuck = exporting.Slots(1, seconds=0)
    with stuck.one(), stuck.one():
        pass


def test_the_figures_of_the_real_log_stand_in_the_guide() -> None:
    text = " ".join(IMPORTING.read_text("utf-8").split())
    assert "all 4,381 are `in a journey that has the object and shows the event`" in text


def test_the_journeys_page_offers_what_its_filters_leave() -> None:
    params = {"q": "S1", "state": "any", "cursor": "next", "channel": "edi", "sort": "due"}
    view = View("/journeys", params, Person("ines", "analyst"), ZoneInfo("UTC"), utc_now())
    shown = downloads(view, "order")
    hrefs = [link.href for link in shown.children[1:]]
    assert hrefs == [
        "/v1/export/csv?q=S1&channel=edi&kind=order",
        "/v1/export/csv?table=durations&q=S1&channel=edi&kind=order",
        "/v1/export/ocel-json?q=S1&channel=edi&kind=order",
    ]
