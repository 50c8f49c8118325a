"""The guide to reports, run as it stands, on a month that went through the chain; its numbers counted again by hand."""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from correlator.assemble import Assembler
from milepost.catalog import loader
from milepost.catalog.objective import month_of
from milepost.cli import app
from milepost.clock import to_us, utc_now
from milepost.db.engine import make_engine
from sla.job import check_due_once
from sla.objective.job import judge_once
from sla.store import Clocks
from tests.chain import Chain, Wire, entry
from tests.dashboard import dashboard
from tests.databases import Databases
from tests.docs.pages import DOCS, blocks
from tests.docs.test_how_to import shell
from tests.integration.test_pages import show, texts

PAGE = DOCS / "how-to" / "report-on-slas.md"
HOUR = timedelta(hours=1)
TODAY = utc_now()
FIRST, AFTER = month_of(month_of(TODAY, UTC)[0] - HOUR, UTC)
MONTH = f"{FIRST:%Y-%m}"
"""The last month that is over: it stands for the one in the guide."""
CHANNELS, CARRIERS = ("shop", "edi", "phone"), ("DHL", "UPS")
SECTION = Callable[[str], str]


@dataclass(frozen=True)
class Order:
    """What happens to an order. `hidden`: its confirmation is heard of only after it was missed."""

    number: int

    @property
    def key(self) -> str:
        return f"S{self.number:03}"

    @property
    def received(self) -> datetime:
        return FIRST - 30 * HOUR + self.number * 13 * HOUR  # the first begin before the month, the last end after it

    @property
    def confirmed(self) -> datetime:
        return self.received + HOUR * (6 if self.number % 7 == 0 else 2)

    @property
    def hidden(self) -> bool:
        return self.number % 10 == 3

    @property
    def dispatched(self) -> datetime:
        return self.confirmed + 5 * HOUR

    @property
    def scanned(self) -> datetime | None:
        """Some never are."""
        if self.number % 11 == 0:
            return None
        return self.dispatched + HOUR * (30 if self.carrier == "DHL" and self.number % 4 == 0 else 8)

    @property
    def channel(self) -> str:
        return CHANNELS[self.number % 3]

    @property
    def carrier(self) -> str:
        return CARRIERS[self.number % 2]

    def events(self) -> Iterator[tuple[str, datetime, dict[str, Any]]]:
        sold = {"channel": self.channel, "amount": f"{100 + self.number}.50", "currency": "EUR"}
        yield "order.received", self.received, {"keys": {"order": self.key}, "attributes": sold}
        yield "order.confirmed", self.confirmed, {"keys": {"order": self.key}}
        parcel = {"keys": {"shipment": f"1Z{self.number}"}, "attributes": {"carrier": self.carrier}}
        yield "shipment.dispatched", self.dispatched, parcel
        if self.scanned is not None:
            yield "shipment.in_transit", self.scanned, parcel


ORDERS = [Order(number) for number in range(64)]


def plain() -> Counter[tuple[str, str, str, str]]:
    """(dimension, value, policy, due or missed): {number}, counted from what happened, and from nothing else."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for one in ORDERS:
        due = one.received + 4 * HOUR
        count(found, "order-confirmation", due, missed=one.confirmed > due, channel=one.channel)
        due = one.dispatched + 24 * HOUR
        count(found, "first-scan", due, missed=one.scanned is None or one.scanned > due, carrier=one.carrier)
    return found


def count(found: Counter[Any], policy: str, due: datetime, *, missed: bool, **values: str) -> None:
    if not FIRST <= due < AFTER:
        return
    for dimension, value in (("policy", policy), *values.items()):
        for whose in {policy, policy if dimension == "policy" else "all"}:
            found[dimension, value, whose, "due"] += 1
            found[dimension, value, whose, "missed"] += missed


def read(text: str) -> Counter[tuple[str, str, str, str]]:
    rows = [row for row in csv.DictReader(StringIO(text)) if row["value"] != "unknown"]
    return Counter(
        {
            (row["dimension"], row["value"], row["policy"], name): int(row[name])
            for row in rows
            for name in ("due", "missed")
        }
    )


class Told:
    """The month as Milepost heard of it: most of it in time, some only after it was held against somebody."""

    def __init__(self, engine: sa.Engine) -> None:
        texts = loader.default_texts()
        self.catalog = loader.load(texts | {"slas.yaml": blocks(PAGE, "yaml")[0].text})
        self.chain = Chain(engine, changed=Clocks().on_journeys_changed, catalog=self.catalog)
        self.chain.assembler = Assembler(
            engine, lambda _: self.catalog, lambda: AFTER, Clocks().on_journeys_changed
        )  # fmt: skip
        self.send(hidden=False)
        check_due_once(engine, self.catalog, now=AFTER + 48 * HOUR, applied_through=AFTER + 48 * HOUR)
        self.send(hidden=True)

    def send(self, *, hidden: bool) -> None:
        told = [
            (wire(kind, one.number, at, data), AFTER + 50 * HOUR if hidden else at)
            for one in ORDERS
            for kind, at, data in one.events()
            if hidden is (one.hidden and kind == "order.confirmed")
        ]
        self.chain.append([entry(event, to_us(received)) for event, received in told])
        self.chain.settle()


def wire(kind: str, number: int, at: datetime, data: Mapping[str, Any]) -> Wire:
    source = "/carrier" if kind.startswith("shipment") else "odoo"
    named = {"id": f"{kind}-{number}", "source": source, "type": kind, "time": at.isoformat()}
    return {"specversion": "1.0", **named, "data": data}


@pytest.fixture(scope="module")
def told(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        engine = make_engine(url)
        catalog = Told(engine).catalog
        judge_once(engine, catalog, now=TODAY, through=TODAY)
        engine.dispose()
        yield url


def test_the_guide_from_top_to_bottom(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    for name, block in zip(("slas.yaml", "routes.yaml"), blocks(PAGE, "yaml"), strict=True):
        (tmp_path / "mine" / name).write_text(block.text)
    monkeypatch.chdir(tmp_path)
    said = {}
    for block in blocks(PAGE, "sh database"):
        for line in block.text.replace("2026-10", MONTH).splitlines():
            done = CliRunner().invoke(app, shlex.split(line)[1:], env={"MILEPOST_DATABASE_URL": told, "COLUMNS": "200"})
            assert done.exit_code == 0, (line, done.output, done.exception)
            said[line] = done.stdout
    stands = next(text for line, text in said.items() if line.endswith("objectives"))
    assert "95 % over month" in stands
    attained = next(text for line, text in said.items() if line.endswith("csv"))
    assert read(attained) == plain()
    check_breaches(list(csv.DictReader(StringIO(Path("breaches.csv").read_text("utf-8")))))
    page, dhl = (Path(name).read_text("utf-8") for name in ("october.html", "dhl.html"))
    assert "Taken back" in page
    assert "By channel" in page
    assert "carrier DHL" in dhl
    assert "UPS" not in dhl
    assert "http://" not in page.replace("http://127.0.0.1:8080/journeys", "")  # it holds everything itself


def check_breaches(rows: list[dict[str, str]]) -> None:
    counted = plain()
    for policy in ("order-confirmation", "first-scan"):
        mine = [row for row in rows if row["policy"] == policy]
        assert sum(row["counts"] == "yes" for row in mine) == counted["policy", policy, policy, "missed"]
    taken = {row["key"] for row in rows if row["end"] == "retracted"}
    due = {one.key: one.received + 4 * HOUR for one in ORDERS}
    hidden = {
        one.key for one in ORDERS if one.hidden and one.confirmed <= due[one.key] and FIRST <= due[one.key] < AFTER
    }
    assert taken == hidden
    late = next(row for row in rows if row["key"] == "S007")
    assert (late["late_seconds"], late["amount"], late["currency"]) == ("7200", "107.50", "EUR")
    assert "received: odoo order.received-7; confirmed: odoo order.confirmed-7" in late["evidence"]


def test_programs_download_the_same(told: str, tmp_path: Path) -> None:
    texts = loader.default_texts() | {"slas.yaml": blocks(PAGE, "yaml")[0].text}
    with dashboard(told, catalog=loader.load(texts)) as served:
        (block,) = blocks(PAGE, "sh curl")
        script = block.text.replace("http://127.0.0.1:8080", served.url).replace("2026-10", MONTH)
        shell(script, tmp_path, {"KEY": served.keys["read"]})
        narrowed = read((tmp_path / "dhl.csv").read_text("utf-8"))
        assert narrowed["policy", "first-scan", "first-scan", "due"] == plain()["carrier", "DHL", "first-scan", "due"]
        page = served.get("/v1/sla/report", month=MONTH)
        assert page.headers["content-type"].startswith("text/html")
        assert f'filename="sla-{MONTH}.html"' in page.headers["content-disposition"]
        assert served.get("/v1/sla/report", month="2026-13").status_code == 422
        assert served.get("/v1/sla/report", month=MONTH, policy="none").status_code == 404
        assert served.get("/v1/sla/report", key="", month=MONTH).status_code == 401
        check_objectives(served)
        with served.session("Vera") as browser:
            check_pages(browser)


def check_objectives(served: Any) -> None:
    items = {item["policy"]: item for item in served.get("/v1/objectives").json()["items"]}
    assert {item["window"] for item in items.values()} == {"month"}
    scans = items["first-scan"]
    assert 0 <= scans["budget"]["remaining"] <= 1
    assert sum(day["misses"] for day in scans["days"]) <= sum(day["clocks"] for day in scans["days"])
    found = served.get("/v1/objectives/first-scan/breaches", limit=500).json()["items"]
    assert len(found) == scans["budget"]["misses"]
    assert served.get("/v1/objectives/none/breaches").status_code == 404


def check_pages(browser: httpx.Client) -> None:
    listed, one = (" | ".join(texts(show(browser, f"/objectives{path}")["body"])) for path in ("", "/first-scan"))
    assert "95 % over the month" in listed
    assert "Budget left" in listed
    assert "The carrier scans a dispatched shipment within 24 hours" in one
    assert "Alerts on the burn rate" in one
    assert "There is no such objective" in " | ".join(texts(show(browser, "/objectives/none")["body"]))
