"""The guide to silences, run as it stands: its commands in their order, on alerts that a pipeline made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from milepost.clock import utc_now
from milepost.db.tables import audit, silences
from tests.docs.pages import DOCS, blocks
from tests.docs.test_how_to import command
from tests.integration.test_alerting_pipeline import MINUTE, breach
from tests.integration.test_silences import Alerting

PAGE = DOCS / "how-to" / "silence-alerts.md"
DATES = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")


def lines() -> list[str]:
    return [line for block in blocks(PAGE, "sh") for line in block.text.splitlines() if line.startswith("milepost ")]


def test_the_commands_of_the_guide(
    engine: sa.Engine, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerting = Alerting(engine)
    alerting.now = utc_now() - 5 * MINUTE
    alerting.run(*[breach(number, currency="EUR") for number in range(14)])
    alerting.run(*[breach(number, action="clear", why="late") for number in range(2)])
    folder = tmp_path / "catalog"
    folder.mkdir()
    for block in blocks(PAGE, "yaml"):
        (folder / block.text.splitlines()[0].removeprefix("# ")).write_text(block.text)
    monkeypatch.chdir(tmp_path)
    told = {line: command(line, database) for line in lines()}
    seen = next(text for line, text in told.items() if " preview warehouse" in line)
    (shown,) = blocks(PAGE, "text")
    assert squeezed(seen) == squeezed(shown.text)
    window = next(text for line, text in told.items() if "--window" in line)
    assert "Open now: 12 items of 1 alert" in window
    with engine.connect() as connection:
        (row,) = connection.execute(sa.select(silences)).mappings()
        acts = list(connection.scalars(sa.select(audit.c.action)))
    assert (row["reason"], row["owner"], row["ended_by"] is not None) == ("stock-taking", "warehouse lead", True)
    assert [act for act in acts if act.startswith("silence.")] == ["silence.added", "silence.ended"]


def squeezed(text: str) -> list[str]:
    """Lines without their alignment and the times of the day on which the test runs."""
    return [" ".join(DATES.sub("TIME", line).split()) for line in text.splitlines() if line.strip()]
