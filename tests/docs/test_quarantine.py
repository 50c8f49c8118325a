"""The guide to the quarantine, run as it stands, on a real database."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from milepost.cli import app
from milepost.db.tables import quarantine as table
from milepost.inbox import log, quarantine
from milepost.inbox.quarantine import Refusal
from tests.docs.pages import DOCS, blocks

AT = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
BLOCKS = [block.text for block in blocks(DOCS / "how-to" / "quarantine.md", "sh quarantine")]


def event(number: int, **data: Any) -> bytes:
    whole = {"specversion": "1.0", "id": str(number), "source": "/wms/north", "type": "order.received", "data": data}
    return json.dumps(whole).encode()


class Shell:
    """Runs command lines as `milepost` does, in this process."""

    def __init__(self, database: str) -> None:
        self._environment = {"MILEPOST_DATABASE_URL": database, "COLUMNS": "200"}

    def run(self, line: str, **more: Any) -> tuple[str, str]:
        """(standard output, standard error) of a line that must succeed."""
        words = shlex.split(line)
        assert words[0] == "milepost"
        done = CliRunner().invoke(app, words[1:], env=self._environment, **more)
        assert done.exit_code == 0, (line, done.output, done.exception)
        return done.stdout, done.stderr

    def refuse(self, line: str) -> None:
        done = CliRunner().invoke(app, shlex.split(line)[1:], env=self._environment)
        assert done.exit_code == 1, (line, done.output)


@pytest.fixture
def shell(database: str, engine: sa.Engine) -> Shell:
    made = Shell(database)
    made.run("milepost quarantine groups")  # brings what a new database lacks
    reason = "data.keys: an event needs at least one key or a correlationid"
    bad = [Refusal(AT, "/wms/north", "malformed", reason, str(number), event(number), "wms") for number in range(1, 5)]
    with engine.begin() as connection:
        quarantine.add(connection, bad)
        junk = Refusal(AT, "/wms/north", "malformed", 'type: "x" is none', "9", b"{", "wms")
        quarantine.add(connection, [junk])
    return made


def states(engine: sa.Engine) -> list[tuple[str, str | None]]:
    with engine.connect() as connection:
        query = sa.select(table.c.state, table.c.outcome).order_by(table.c.quarantine_id)
        return [(row[0], row[1]) for row in connection.execute(query)]


def test_the_guide_from_top_to_bottom(shell: Shell, engine: sa.Engine) -> None:
    said = [shell.run(line) for block in BLOCKS for line in block.splitlines()]
    printed = "\n".join(out for out, _ in said)
    assert "malformed" in printed
    assert "> " in printed, "the place is marked"
    assert "1: accepted" in printed
    told = "\n".join(err for _, err in said)
    assert "3 of 3 edited" in told
    assert "Would be: 3 accepted" in told
    assert "Replayed: 3 accepted" in told
    assert "1 discarded" in told
    assert states(engine) == [("replayed", "accepted")] * 4 + [("discarded", None)]
    with engine.begin() as connection:
        sent = [json.loads(entry.body) for batch in log.consume(connection, 10) for entry in batch.entries]
    assert [one["data"]["keys"]["order"] for one in sent] == ["S00001", "S00002", "S00002", "S00002"]


def test_what_the_commands_print_for_programs(shell: Shell, engine: sa.Engine) -> None:
    (first, second) = json.loads(shell.run("milepost quarantine groups --json")[0])
    assert {first["open"], second["open"]} == {4, 1}
    assert len(json.loads(shell.run("milepost quarantine list --json --kind malformed --limit 3")[0])) == 3
    assert json.loads(shell.run("milepost quarantine show 1 --json")[0])["body"] == event(1).decode()
    assert shell.run("milepost quarantine show 5 --raw")[0] == "{"
    mended = event(7, keys={"order": "S7"})
    shell.run("milepost quarantine edit 5 --file -", input=mended.decode())
    assert json.loads(shell.run("milepost quarantine replay 5 --json")[0])["outcome"] == "accepted"
    report = json.loads(shell.run("milepost quarantine replay --source /wms/north --json")[0])
    assert (report["refused"], report["more"]) == (4, False)
    assert states(engine)[4] == ("replayed", "accepted")


def test_what_is_wrong_is_one_line(shell: Shell) -> None:
    calls = ("show 99", "replay 99", "replay", "discard --group 1", "edit", "edit 1 2", "edit 1 --file /none")
    for call in (*calls, "replay 1 2 --new-id"):
        shell.refuse(f"milepost quarantine {call}")
