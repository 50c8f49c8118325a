"""The story of late evidence in docs/explanation/sla.md, played: a breach, its retraction, and both on record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import yaml

from alerting import pipeline
from milepost.db.tables import alert_changes, alert_items, alerts, breaches
from tests.docs.pages import DOCS, blocks
from tests.integration.test_sla_clocks import World

PAGE = DOCS / "explanation" / "sla.md"


def at(text: str) -> datetime:
    """An hour of the story's day."""
    return datetime.fromisoformat(f"2026-03-20T{text}").replace(tzinfo=UTC)


class Story:
    """One order, its clock and its alert."""

    def __init__(self, engine: sa.Engine, policy: dict[str, Any]) -> None:
        self.engine = engine
        self.world = World(engine, policy)

    def step(self, step: dict[str, str]) -> None:
        now = at(step["at"])
        if "event" in step:
            self.world.tell(step["event"], at(step["happened"]), now)
        self.world.check(now)
        while pipeline.step(self.engine, self.world.catalog.routing, now=now, public_url="http://127.0.0.1"):
            continue
        assert {name: self.now(name) for name in ("clock", "breach", "alert") if name in step} == {
            name: step[name] for name in ("clock", "breach", "alert") if name in step
        }, step

    def now(self, name: str) -> str | None:
        """How the clock, its breach and its alert stand."""
        with self.engine.connect() as connection:
            if name == "clock":
                return self.world.states().get("confirmed", "running")
            if name == "alert":
                return connection.scalar(sa.select(alerts.c.state))
            found = connection.scalar(sa.select(sa.func.coalesce(breaches.c.end, "open")))
            return str(found)

    def record(self) -> dict[str, Any]:
        """What stays: the breach, the item in the alert, and what became of the alert."""
        with self.engine.connect() as connection:
            (row,) = connection.execute(sa.select(breaches)).mappings()
            (item,) = connection.execute(sa.select(alert_items)).mappings()
            changes = connection.scalars(sa.select(alert_changes.c.what).order_by(alert_changes.c.change_id)).all()
        times = {name: f"{row[name]:%H:%M}" for name in ("due_at", "opened_at", "ended_at", "stopped_at")}
        proof = row["evidence"]["end"]["events"][0]["says"]
        return {
            "breach": {**times, "end": row["end"], "proof": proof},
            "alert item": {"raised_at": f"{item['raised_at']:%H:%M}", "cleared_why": item["cleared_why"]},
            "alert": list(changes),
        }


def test_late_evidence_takes_a_breach_back_and_both_stay_on_record(engine: sa.Engine) -> None:
    (block,) = blocks(PAGE, "yaml story")
    told = yaml.safe_load(block.text)
    story = Story(engine, told["policy"])
    for step in told["story"]:
        story.step(step)
    assert story.record() == told["on record"]
