"""`milepost import …` and `milepost export …`: what they say, and what they refuse."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from milepost.cli import app
from milepost.clock import utc_now
from milepost.decisions import correlation
from tests.chain import Chain, Wire

MAPPING = """
source: /import/orders
table: {}
id: Nr
events:
  - {type: order.received, time: Placed, keys: {order: Nr}}
"""
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(database: str, engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in a folder of its own: its exit code, and what it said in one line."""
    Chain(engine)
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, line.split(), env={"MILEPOST_DATABASE_URL": database})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, " ".join(done.output.split())

    return run


def test_an_import_says_what_it_handed_over_and_what_was_refused_before(command: Command) -> None:
    Path("m.yaml").write_text(MAPPING)
    Path("t.csv").write_text("Nr,Placed\nA1,2024-02-01\nA2,soon\n")
    first = command("import csv t.csv --mapping m.yaml")[1]
    assert "2 rows read, 1 events handed over; what is stored already stays as it is" in first
    assert "1 were refused, and are in quarantine with the reason" in first
    assert "before" not in first
    assert "with the reason; 1 were there before" in command("import csv t.csv --mapping m.yaml")[1]
    code, said = command("import csv . --mapping m.yaml")
    assert code == 1
    assert said.endswith("milepost: .: Is a directory")


def test_an_import_names_activities_without_a_type_and_types_without_an_activity(command: Command) -> None:
    event = '{"id": "%s", "type": "%s", "time": "2024-02-01T10:00:00Z", "relationships": [{"objectId": "o"}]}'
    pays = ", ".join(event % (number, f"Pay {number:02}") for number in range(22))
    Path("log.json").write_text(f'{{"events": [{pays}], "objects": [{{"id": "o", "type": "order"}}]}}')
    Path("types.yaml").write_text("Pay 00: order.paid\nNope: order.received")
    said = command("import ocel log.json --types types.yaml")[1]
    assert "no event type was given for Pay 01, Pay 02," in said
    assert "Pay 20 and 1 more: they are ocel.<activity>" in said
    assert "the log has no Nope, for which --types gives an event type" in said
    assert command("import ocel log.json --types gone.yaml --account") == (
        1, "milepost: gone.yaml: No such file or directory",
    )  # fmt: skip


def wire(number: int, at: str, kind: str = "order", **more: str) -> Wire:
    data = {"keys": {kind: "S4"}, "attributes": more}
    return {"id": f"e{number}", "source": "/shop", "type": "order.received", "time": at, "data": data}


def test_one_journey_of_a_key_that_was_split(command: Command, engine: sa.Engine) -> None:
    chain = Chain(engine)
    chain.send(wire(1, "2026-03-01T09:00:00Z"), wire(2, "2026-09-01T09:00:00Z"))
    chain.settle()
    with engine.begin() as connection:
        first = correlation.find(connection, "order", "S4")
        since = datetime(2026, 6, 1, tzinfo=UTC)
        correlation.decide(connection, "split", first, since=since, actor="test", reason="again", now=utc_now())
    chain.settle()
    code, said = command("export csv --out t.csv --journey order S4")
    assert code == 1
    assert said.startswith("milepost: S4 is the key of several order journeys; add --epoch 0 for S4, --epoch 1 for S4")
    for epoch, month in ((0, "03"), (1, "09")):
        assert command(f"export csv --out t.csv --journey order S4 --epoch {epoch}")[0] == 0
        (row,) = csv.DictReader(StringIO(Path("t.csv").read_text()))
        assert row["started_at"] == f"2026-{month}-01T09:00:00Z"
    assert command("export csv --out t.csv --journey order S4 --epoch 2") == (
        1, "milepost: there is no order journey S4",
    )  # fmt: skip


def test_one_journey_of_a_key_that_several_namespaces_have(command: Command, engine: sa.Engine) -> None:
    chain = Chain(engine)
    at = "2026-03-01T09:00:00Z"
    chain.send(*(wire(number, at, "customer_po", partner=name) for number, name in enumerate(("ACME", "B"))))
    chain.settle()
    code, said = command("export csv --out t.csv --journey order S4")
    assert code == 1
    assert said.endswith("several order journeys; add one of --namespace partner=ACME, --namespace partner=B")
    assert command("export csv --out t.csv --journey order S4 --namespace partner=B")[0] == 0
    assert [row["partner"] for row in csv.DictReader(StringIO(Path("t.csv").read_text()))] == ["B"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ocel-sqlite --out -", "--out -: this form can't go to standard output; name a file"),
        ("parquet --out -", "--out -: this form can't go to standard output; name a file"),
        ("csv --out x --calendar business", "--calendar counts for --table durations, and not for journeys"),
        (
            "parquet --out x --table events --calendar business",
            "--calendar counts for --table durations, and not for events",
        ),
        ("xes --out x --epoch 1", "--namespace and --epoch say which --journey is meant: name it"),
    ],
)  # fmt: skip
def test_options_that_would_be_ignored_are_refused(command: Command, line: str, reason: str) -> None:
    assert command(f"export {line}") == (2, f"milepost: {reason}")
    assert list(Path().iterdir()) == []
