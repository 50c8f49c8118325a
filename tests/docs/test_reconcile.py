"""The guide to reconciliation, run as it stands, on events that went through the chain."""

from __future__ import annotations

import csv
import shlex
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from milepost.cli import app
from milepost.clock import to_us
from tests.chain import Chain, Wire, entry
from tests.docs.pages import DOCS, blocks

PAGE = DOCS / "how-to" / "reconcile.md"
AT = datetime(2026, 11, 5, 9, 0, tzinfo=UTC)


def event(kind: str, source: str, order: int, **keys: str) -> Wire:
    data = {"keys": {"order": f"S{order}", **keys}, "attributes": {"amount": "99.50", "currency": "EUR"}}
    return {
        "specversion": "1.0",
        "id": f"{kind}-{order}",
        "source": source,
        "type": kind,
        "time": AT.isoformat(),
        "data": data,
    }


def test_the_guide_from_top_to_bottom(
    database: str, engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "reconciliations.yaml").write_text(blocks(PAGE, "yaml")[0].text)
    monkeypatch.chdir(tmp_path)
    said: dict[str, str] = {}

    def run(line: str) -> None:
        done = CliRunner().invoke(app, shlex.split(line)[1:], env={"MILEPOST_DATABASE_URL": database, "COLUMNS": "200"})
        assert done.exit_code == 0, (line, done.output, done.exception)
        said[line] = done.output

    lines = [line for block in blocks(PAGE, "sh database") for line in block.text.splitlines()]
    run(lines[0])
    run(lines[1])
    chain = Chain(engine)
    wires = [event("shipment.dispatched", "/wms/north", order, shipment=f"1Z{order}") for order in range(3)]
    wires += [event("invoice.posted", "odoo", order, invoice=f"I{order}") for order in range(2)]
    chain.append([entry(wire, to_us(AT)) for wire in wires])
    chain.settle()
    for line in lines[2:]:
        run(line)
    listed, _, compared, month, as_csv, as_html = list(said.values())[2:]
    assert "not run yet" in listed
    assert "1 missing in Odoo of 3 (33.3%)" in compared
    assert "1 new, 0 gone" in compared
    assert "S2" in month
    (row,) = csv.DictReader(StringIO(as_csv))
    assert (row["key"], row["what"], row["Warehouse"]) == ("S2", "missing in Odoo", "99.50 EUR")
    assert "<h1>What left the warehouse is invoiced</h1>" in as_html
