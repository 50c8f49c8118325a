"""Volume, duration and journeys against what is normal: found, told in words, raised as one alert, and ended."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from alerting import pipeline
from anomaly import job, volume
from anomaly.features import ALL, Baseline, Finding, baseline, duration_score, in_words, slot_of, volume_score
from milepost.db import tables as t
from tests.chain import CATALOG, Chain, Wire

NOW = datetime(2026, 9, 16, 15, 20, tzinfo=UTC)  # a Wednesday
STEPS = ("order.received", "order.confirmed", "picking.created", "picking.released", "picking.done", "invoice.posted")


def order(number: int, start: datetime, rng: random.Random, slow: float = 1.0) -> list[Wire]:
    """The events of one order, a step every ten minutes or so; `slow` stretches the picking."""
    at, made = start, []
    for step in STEPS:
        keys: dict[str, Any] = {"order": f"S{number}"}
        if step.startswith(("picking", "invoice")):
            keys[step.partition(".")[0]] = f"K{number}"
        data = {"keys": keys, "attributes": {"warehouse": "north"}}
        wire = {"id": f"{number}-{step}", "source": "/wms/north", "type": step, "time": at.isoformat(), "data": data}
        made.append({"specversion": "1.0", **wire})
        at += timedelta(minutes=rng.uniform(8, 12) * (slow if step == "picking.released" else 1.0))
    return made


@pytest.fixture
def history(engine: sa.Engine) -> Chain:
    """Four weeks, eight orders an hour from 8 to 16, up to an hour before NOW."""
    rng = random.Random(3)
    chain = Chain(engine)
    wires: list[Wire] = []
    hour = NOW.replace(minute=0) - timedelta(days=28)
    number = 0
    while hour < NOW - timedelta(hours=6):
        if 8 <= hour.hour < 16:
            for _ in range(rng.randint(3, 5)):
                number += 1
                wires += order(number, hour + timedelta(minutes=rng.uniform(0, 10)), rng)
        hour += timedelta(hours=1)
    chain.send(*wires)
    chain.settle()
    return chain


def test_silence_and_slowness_are_found_told_and_ended(history: Chain) -> None:
    engine, rng = history.engine, random.Random(5)
    assert job.fit_once(engine, CATALOG, now=NOW) > 50
    # a slow hour, and silence in the hour before NOW's
    for number in range(900_000, 900_020):
        history.send(*order(number, NOW.replace(hour=11, minute=0), rng, slow=14.0))
    history.settle()
    assert job.score_once(engine, CATALOG, now=NOW) > 0
    assert job.score_once(engine, CATALOG, now=NOW) == 0  # the same hours are judged once
    with engine.connect() as connection:
        found = connection.execute(sa.select(t.anomalies)).mappings().all()
        signals = connection.execute(sa.select(t.signals.c.rule, t.signals.c.group)).all()
    reasons = {row["detector"]: row["reason"] for row in found if row["labels"].get("step", "released → fulfilled")}
    silent = [row for row in found if row["series"] == "/wms/north||" and row["observed"] == 0]
    assert any(
        "sent 0 events" in row["reason"] and "usual at this hour on a weekday" in row["reason"] for row in silent
    )
    slow = [row for row in found if row["series"] == "order|released → fulfilled|warehouse=north"]
    assert any("warehouse=north took 2 h" in row["reason"] for row in slow), reasons
    assert ("unusual-volume", {"source": "/wms/north"}) in [(rule, dict(group)) for rule, group in signals]
    # a day later nothing confirms them any more
    job.score_once(engine, CATALOG, now=NOW + timedelta(hours=30))
    with engine.connect() as connection:
        a = t.anomalies.c
        still = connection.scalar(sa.select(sa.func.count()).where(a.ended_at.is_(None), a.at < NOW))
        cleared = connection.scalar(sa.select(sa.func.count()).where(t.signals.c.action == "clear"))
    assert still == 0
    assert cleared


def test_a_finished_journey_unlike_the_others_is_told_with_its_reason(history: Chain) -> None:
    engine, rng = history.engine, random.Random(6)
    job.fit_once(engine, CATALOG, now=NOW)
    history.send(*order(777_777, NOW.replace(hour=10, minute=0), rng, slow=20.0))
    history.settle()
    job.score_once(engine, CATALOG, now=NOW)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(t.anomalies).where(t.anomalies.c.detector == "journey")).mappings().all()
    told = [row["reason"] for row in rows if row["series"].startswith("order|S777777|")]
    assert len(told) == 1
    assert told[0].startswith("S777777: stayed at released for 3 h")
    assert "(usual 10 min)" in told[0]


def test_a_finding_about_a_journey_ends_with_its_alert_though_alert_on_holds_its_detector_no_longer(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = Finding("journey", "order|S1", NOW - timedelta(hours=1), 12.0, 1.0, 9.0, "S1: odd", {"model": "order"})
    alerting = replace(CATALOG, anomaly=replace(CATALOG.anomaly, alert_on=["journey"]))
    silent = replace(CATALOG, anomaly=replace(CATALOG.anomaly, alert_on=[]))
    monkeypatch.setattr(job, "_outliers", lambda *_: [finding])
    for catalog, hours in [(alerting, 0), (silent, 22), (silent, 24)]:
        job.score_once(engine, catalog, now=NOW + timedelta(hours=hours))
        while pipeline.step(engine, catalog.routing, now=NOW + timedelta(hours=hours), public_url=""):
            pass
        with engine.connect() as connection:
            states = connection.execute(sa.select(t.alerts.c.rule, t.alerts.c.state)).all()
        assert states == [("unusual-journey", "resolved" if hours == 24 else "firing")]


def test_nothing_is_judged_without_history(engine: sa.Engine) -> None:
    assert job.fit_once(engine, CATALOG, now=NOW) == 0
    assert job.score_once(engine, CATALOG, now=NOW) == 0


def test_the_numbers() -> None:
    assert baseline([1, 2, 3, 4, 1000]) == Baseline(3, 1.4826, 5)
    assert -20 < volume_score(0, Baseline(100, 0, 9)) < -18  # twice the root of 100
    assert -10 < volume_score(0, Baseline(100, 20, 9)) < -9  # it varies twice as much as a Poisson count
    assert duration_score([5.0] * 9, Baseline(5.0, 1.0, 99)) == 0
    assert slot_of(datetime(2026, 9, 19, 7, tzinfo=UTC)) == 31
    assert [in_words(value) for value in (42, 720, 11400, 216000)] == ["42 s", "12 min", "3 h 10 min", "2.5 days"]


def test_one_hour_of_history_is_a_history() -> None:
    frame = pd.DataFrame(
        {"source": "s", "type": "a.b", "dimension": "", "hour": pd.to_datetime(["2026-09-14T08:00Z"]), "events": [4]}
    )
    assert volume.fit(frame, datetime(2026, 9, 14, 9, tzinfo=UTC))["s|a.b|", 8] == Baseline(4, 0, 1)


def test_hours_without_events_count_as_none() -> None:
    hours = pd.to_datetime(["2026-09-14T08:00Z", "2026-09-14T11:00Z"])
    frame = pd.DataFrame({"source": "s", "type": "a.b", "dimension": "", "hour": hours, "events": [4, 4]})
    found = volume.fit(frame, datetime(2026, 9, 14, 12, tzinfo=UTC))
    assert found["s|a.b|", ALL] == Baseline(2, 1.4826 * 2, 4)
    assert found["s||", 9] == Baseline(0, 0, 1)
