"""Imports: files of this repository's own making, and the real data sets where they lie beside the checkout."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from pandas.tseries.holiday import USFederalHolidayCalendar

from collector import importer
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.errors import CatalogError, MalformedBody
from sla.store import Clocks
from tests.chain import Chain

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
SCMS = DATA / "scms" / "SCMS_Delivery_History_Dataset.csv"
EXAMPLE = ROOT / "docs" / "examples" / "scms"

MAPPING = """
source: /import/test
table: {}
id: Nr
date_forms: ["%d.%m.%Y"]
no_value: ["-"]
events:
  - {type: order.received, time: Placed, keys: {order: Nr}, attributes: {channel: Via}}
  - {type: order.confirmed, time: Confirmed, keys: {order: Nr}}
"""


def quiet(done: int, total: int) -> None:
    assert done <= total


def test_rows_become_events_and_a_missing_date_is_no_event(engine: sa.Engine, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MAPPING)
    lines = ["Nr,Placed,Confirmed,Via", 'A1,01.02.2024,02.02.2024,"web, shop"', "A2,03.02.2024,-,edi", "A3,-,-,edi"]
    (tmp_path / "t.csv").write_text("\n".join([*lines, "A4,soon,-,edi"]))
    for _ in range(2):  # importing again changes nothing
        report = importer.import_csv(engine, tmp_path / "t.csv", tmp_path / "m.yaml", utc_now, quiet)
        assert (report.units, report.accepted, report.refused, report.dateless) == (4, 3, 1, 1)
    Chain(engine).settle()
    with engine.connect() as connection:
        rows = connection.execute(sa.select(t.journeys).order_by(t.journeys.c.key)).all()
        refused = connection.execute(sa.select(t.quarantine.c.reason, t.quarantine.c.body)).first()
        assert connection.scalar(sa.select(sa.func.count()).select_from(t.events)) == 3
    assert [(row.key, row.stage, row.channel) for row in rows] == [
        ("A1", "confirmed", "web, shop"),
        ("A2", "received", "edi"),
    ]
    assert refused is not None
    assert 'line 5: events[0].time: "soon" is no date' in refused.reason
    assert b"A4" in refused.body


def test_a_mapping_that_does_not_fit_names_the_place(engine: sa.Engine, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MAPPING.replace("Confirmed, keys", "Agreed, keys"))
    (tmp_path / "t.csv").write_text("Nr,Placed,Via\n")
    with pytest.raises(CatalogError, match=r"m\.yaml: t\.csv has no column Agreed"):
        importer.import_csv(engine, tmp_path / "t.csv", tmp_path / "m.yaml", utc_now, quiet)
    (tmp_path / "m.yaml").write_text(MAPPING.replace("source", "sauce"))
    with pytest.raises(CatalogError, match=r"m\.yaml"):
        importer.import_csv(engine, tmp_path / "t.csv", tmp_path / "m.yaml", utc_now, quiet)
    (tmp_path / "log.json").write_text('{"events": 5}')
    with pytest.raises(MalformedBody, match="no OCEL"):
        importer.import_ocel(engine, tmp_path / "log.json", "/x", {}, utc_now, quiet)


@pytest.mark.skipif(not SCMS.exists(), reason="the data set is not beside the checkout")
def test_the_lines_breached_are_those_of_a_plain_count(engine: sa.Engine) -> None:
    texts = loader.read_texts(EXAMPLE / "catalog")
    catalog = loader.load(texts)
    clocks = Clocks()
    chain = Chain(
        engine,
        catalog=catalog,
        changed=lambda c, cat, changes, now: clocks.on_journeys_changed(c, cat, changes, now=now),
    )
    report = importer.import_csv(engine, SCMS, EXAMPLE / "mapping.yaml", utc_now, quiet)
    assert (report.units, report.refused, report.dateless) == (10_324, 0, 0)
    chain.settle()

    with SCMS.open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(t.journeys)) == 10_324
        j, b = t.journeys.c, t.breaches.c
        found: dict[str, set[str]] = {policy.name: set() for policy in catalog.policies}
        query = sa.select(b.policy, j.key).join(t.journeys, j.journey_id == b.journey_id)
        for policy, key in connection.execute(query):
            found[policy].add(key)
        silent = connection.scalar(sa.select(sa.func.count()).select_from(t.notifications))
        signals = connection.execute(sa.select(t.signals.c.body).where(t.signals.c.action == "raise")).all()
    expected = lines_late(rows)
    assert {name: found[name] ^ keys for name, keys in expected.items() if found[name] != keys} == {}
    assert len(expected["delivered-as-scheduled"]) == 1186
    assert silent == 0
    assert not any(body.get("notify", True) for (body,) in signals)


def lines_late(rows: list[dict[str, str]]) -> dict[str, set[str]]:
    """Counted with what analysts use: pandas' federal holidays and numpy's working days."""
    ids = np.array([row["ID"] for row in rows])
    delivered, scheduled = days(rows, "Delivered to Client Date"), days(rows, "Scheduled Delivery Date")
    ordered = days(rows, "PO Sent to Vendor Date")
    told = ~np.isnat(ordered)
    stopped = np.where(told, np.maximum(delivered, ordered), delivered)  # no clock stops before it started
    off = USFederalHolidayCalendar().holidays("1999-01-01", "2017-01-01").to_numpy().astype("datetime64[D]")
    after_scheduled = np.busday_offset(scheduled, 5, roll="backward", holidays=off)
    after_ordered = np.busday_offset(ordered[told], 130, roll="backward", holidays=off)
    return {
        "delivered-as-scheduled": set(ids[delivered > scheduled]),
        "delivered-within-a-week": set(ids[told & (stopped > after_scheduled)]),
        "delivered-in-half-a-year": set(ids[told][stopped[told] > after_ordered]),
    }


def days(rows: list[dict[str, str]], column: str) -> Any:
    """The dates of a column; NaT where there is none."""
    texts = pd.Series([row[column] for row in rows])
    read = [pd.to_datetime(texts, format=form, errors="coerce") for form in ("%d-%b-%y", "%m/%d/%y")]
    return read[0].fillna(read[1]).to_numpy().astype("datetime64[D]")
