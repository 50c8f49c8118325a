"""Logs that Milepost exported, and what they come to where their events are known already, or sent again later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from collector import importer
from collector.ingest import validate
from exports import ocel_json, ocel_sqlite, snapshot
from milepost.clock import to_us, utc_now
from milepost.db import tables as t
from milepost.db.engine import make_engine
from milepost.wiring.exports import reader
from tests.chain import CATALOG, Chain
from tests.databases import Databases

READ = reader(CATALOG)
SENDER = importer.Importer("shop")


def quiet(done: int, total: int) -> None:
    assert done <= total


def wire(number: int, **fields: Any) -> dict[str, Any]:
    whole = {"specversion": "1.0", "id": f"e{number}", "source": "shop", "type": "order.received"}
    return {**whole, "time": "2026-03-01T09:00:00Z", "data": {"keys": {"order": f"H{number}"}}, **fields}


SENT = [
    wire(1),
    wire(2, traceparent=f"00-{'a' * 32}-{'1' * 16}-01"),
    wire(3, data={}),  # its correlation alone says where it belongs
    wire(4, correlationid="stated", traceparent=f"00-{'a' * 32}-{'1' * 16}-01"),
]


def send(chain: Chain, trace: str) -> None:
    """As by HTTP: `trace` is what the request's header says."""
    bodies = [json.dumps(item).encode() for item in SENT]
    verdict = validate(bodies, received_us=to_us(utc_now()), sender=SENDER, correlation=trace)
    assert not verdict.rejected
    chain.append(verdict.entries)
    chain.settle()


def counted(engine: sa.Engine) -> tuple[int, int, int]:
    s = t.source_stats.c
    with engine.connect() as connection:
        row = connection.execute(sa.select(s.events, s.duplicates, s.conflicts).where(s.source == "shop")).one()
    return row.events, row.duplicates, row.conflicts


@pytest.mark.parametrize("form", ["json", "sqlite"])
def test_correlation_ids_that_were_taken_from_traces_make_no_conflicts(
    engine: sa.Engine, databases: Databases, tmp_path: Path, form: str
) -> None:
    path = tmp_path / "log"
    with databases.fresh() as url:
        other = make_engine(url)
        chain = Chain(other)
        send(chain, "1" * 32)
        with snapshot.opened(other, None) as view:
            if form == "json":
                path.write_bytes(b"".join(ocel_json.chunks(view, READ)))
            else:
                ocel_sqlite.write(path, view, READ)
        importer.import_ocel(other, path, "ocel", {}, utc_now, quiet)
        chain.settle()
        assert counted(other) == (4, 4, 0)
        other.dispose()
    importer.import_ocel(engine, path, "ocel", {}, utc_now, quiet)
    chain = Chain(engine)
    chain.settle()
    send(chain, "2" * 32)  # as the senders repeat, in other traces
    assert counted(engine) == (4, 4, 0)
    with engine.connect() as connection:
        keys = connection.scalars(sa.select(t.correlations.c.key).order_by(t.correlations.c.key)).all()
    assert keys == ["1" * 32, "a" * 32, "stated"]
