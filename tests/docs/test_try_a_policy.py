"""The guide to trying a policy, followed on orders of the last weeks."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from holidays import country_holidays
from typer.testing import CliRunner

from milepost.catalog import loader
from milepost.cli import app as cli
from milepost.clock import to_us, utc_now
from milepost.db.tables import breaches, signals
from milepost.decisions import catalog as decided
from tests.chain import Chain, entry
from tests.docs.pages import DOCS, blocks
from tests.docs.test_how_to import command

PAGE = DOCS / "how-to" / "try-a-policy.md"
BERLIN = ZoneInfo("Europe/Berlin")


def monday() -> datetime:
    """Eight o'clock on the last Monday but one that was no public holiday."""
    now = utc_now().astimezone(BERLIN)
    day = now - timedelta(days=now.weekday() + 7)
    while day.date() in country_holidays("DE", years=day.year):
        day -= timedelta(days=7)
    return day.replace(hour=8, minute=0, second=0, microsecond=0)


@pytest.fixture
def history(engine: sa.Engine) -> datetime:
    """24 orders of one Monday, every third by EDI, confirmed after 15 minutes, half an hour … six hours."""
    start, chain, entries = monday(), Chain(engine), []
    for number in range(1, 25):
        channel = "edi" if number % 3 == 0 else "shopify"
        for kind, at in (("received", start), ("confirmed", start + number * timedelta(minutes=15))):
            wire = {
                "specversion": "1.0", "id": f"{kind}-{number}", "source": "shop", "type": f"order.{kind}",
                "time": at.isoformat(),
                "data": {"keys": {"order": f"S{number:04}"}, "attributes": {"channel": channel, "partner": "ACME"}},
            }  # fmt: skip
            entries.append(entry(wire, to_us(at)))
    chain.append(entries)
    chain.settle()
    with engine.begin() as connection:
        decided.ensure(connection, loader.default_texts(), now=start)
    return start


def test_the_guide(
    database: str, engine: sa.Engine, history: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tried,) = blocks(PAGE, "yaml")
    Path("tighter.yaml").write_text(tried.text)
    first, as_table, apply = blocks(PAGE, "sh")
    said = command(first.text.strip(), database)
    shown, differences = blocks(PAGE, "text")
    for line in shown.text.splitlines()[:3]:
        assert line.split() in [one.split() for one in said.splitlines()], said
    assert "Breaches that are new: 12" in said
    assert "instead: order-confirmation: due" in said
    table = command(as_table.text.strip().partition(" >")[0], database)
    rows = list(csv.DictReader(io.StringIO(table)))
    late = {f"S{number:04}" for number in range(1, 25) if number * 15 > (60 if number % 3 == 0 else 120)}
    assert {row["key"] for row in rows if row["change"] != "gone"} == late
    assert {row["change"] for row in rows} == {"new", "same", "gone"}
    everything = json.loads(command("milepost sla backtest tighter.yaml --as-it-happened --format json", database))
    assert {one["policy"]: one["new"] for one in everything["policies"]}["edi-confirmation"] == 7
    assert everything["messages"]["by_channel"] == {"(no route)": everything["messages"]["total"]}
    assert len(everything["new"]) == 12
    _refused(database)
    _apply(database, apply.text, differences.text)
    with engine.connect() as connection:
        for nothing in (breaches, signals):
            assert connection.scalar(sa.select(sa.func.count()).select_from(nothing)) == 0


def _refused(database: str) -> None:
    Path("models.yaml").write_text("models: {order: {roots: [order], milestones: [{name: a, events: [order.a]}]}}\n")
    for line, why in (
        ("tighter.yaml --catalog .", "give a FILE or --catalog"),
        ("tighter.yaml --since 1d --until 2d", "--since must be before --until"),
        ("nothing.yaml", "there is no such file"),
        ("models.yaml", "slas.yaml"),
        ("tighter.yaml --since lately", "lately is no time"),
    ):
        done = CliRunner().invoke(cli, ["sla", "backtest", *line.split()], env={"MILEPOST_DATABASE_URL": database})
        assert done.exit_code != 0, line
        assert why in " ".join(done.output.split()), line


def _apply(database: str, apply: str, differences: str) -> None:
    mine = Path("my-catalog")
    mine.mkdir()
    former = loader.default_texts()["slas.yaml"]
    head, _, rest = former.partition("  - name: order-confirmation")
    entries = Path("tighter.yaml").read_text().partition("policies:\n")[2]
    (mine / "slas.yaml").write_text(f"{head}{entries}{rest[rest.index('  - name:') :]}")
    said = [command(line, database) for line in apply.splitlines()]
    for line in differences.splitlines():
        assert line in said[0].splitlines()
    assert said[0] == said[1] == said[2]
    assert "policies: 1 changed, 1 new" in said[3]
