"""A warehouse falls silent: the real service, a real receiver, one alert and one end of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from milepost.db import tables as t
from tests.e2e.service import PATIENCE, Service, service
from tests.receivers import Receiver, Request, http_receiver
from tests.served import BATCH, wait_until

WITHIN = timedelta(seconds=3)
INTERVAL = timedelta(seconds=2)
SECRET = "whsec_" + base64.b64encode(os.urandom(32)).decode()
POLICY = "warehouse-acknowledgement"
SLAS = """
policies:
  - &policy
    name: {name}
    title: The warehouse acknowledges a picking
    kind: between
    model: order
    start: allocated
    end: released
    per: picking
    within: {seconds}s
    severity: critical
    group_by: [warehouse]
    owner: warehouse lead
    objective: {{target: 1}}
  - <<: *policy
    name: island-acknowledgement
    match: {{warehouse: [island]}}
    calendar: closed
"""
CALENDARS = """
calendars:
  closed:
    zone: Pacific/Auckland
    weekly: {{mon: &all [["00:00", "24:00"]], tue: *all, wed: *all, thu: *all, fri: *all, sat: *all, sun: *all}}
    holidays: [{holidays}]
"""
ROUTES = """
channels:
  - {{name: hook, kind: webhook, url: "http://127.0.0.1:{port}/hook", secret_env: HOOK_SECRET}}
routes:
  - {{match: {{severity: [critical]}}, channels: [hook]}}
group_interval: {seconds}s
"""


@dataclass
class Scene:
    """Milepost, a key to speak to it, and who listens to its alerts."""

    milepost: Service
    key: dict[str, str]
    receiver: Receiver

    def send(self, events: Sequence[dict[str, Any]]) -> None:
        """As the warehouses' systems do: all of them are taken."""
        answer = httpx.post(
            f"{self.milepost.url}/v1/events",
            content=json.dumps(list(events)),
            headers={**self.key, "content-type": BATCH},
            timeout=20,
        )
        assert answer.json() == {"accepted": len(events), "rejected": []}

    def heard(self, warehouse: str) -> list[Any]:
        """The notifications about a warehouse, in order."""
        bodies = [request.json for request in list(self.receiver.got)]
        return [body for body in bodies if body["data"]["alert"]["group"] == {"warehouse": warehouse}]

    def told(self, warehouse: str) -> list[str]:
        """What they were: opened, updated, resolved."""
        return [body["type"].removeprefix("alert.") for body in self.heard(warehouse)]

    def read(self, path: str) -> Any:
        """An answer of the read API."""
        answer = httpx.get(f"{self.milepost.url}{path}", headers=self.key, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="milepost-") as folder, http_receiver() as receiver:
        catalog = Path(folder) / "catalog"
        catalog.mkdir()
        today = datetime.now(UTC).date()
        days = ", ".join(f'"{today + timedelta(days=days)}"' for days in range(-1, 3))
        (catalog / "slas.yaml").write_text(SLAS.format(name=POLICY, seconds=WITHIN.seconds))
        (catalog / "calendars.yaml").write_text(CALENDARS.format(holidays=days))
        (catalog / "routes.yaml").write_text(ROUTES.format(port=receiver.port, seconds=INTERVAL.seconds))
        settings = {
            "MILEPOST_CATALOG": str(catalog),
            "MILEPOST_ALLOW_PRIVATE_RECEIVERS": "true",
            "HOOK_SECRET": SECRET,
        }
        with service(Path(folder), **settings) as running:
            yield Scene(running, running.key(["/wms"]), receiver)


def event(kind: str, warehouse: str, number: int, at: datetime) -> dict[str, Any]:
    """What a warehouse says about the picking of an order, and what the order is worth."""
    order, picking = f"{warehouse}-{number}", f"{warehouse}/OUT/{number}"
    keys = {"order": order} if kind == "order.received" else {"order": order, "picking": picking}
    attributes = {"amount": "100.50", "currency": "EUR"} if kind == "order.received" else {"warehouse": warehouse}
    return {
        "specversion": "1.0",
        "id": f"{kind}-{order}",
        "source": "/wms",
        "type": kind,
        "time": at.isoformat(),
        "data": {"keys": keys, "attributes": attributes},
    }


def orders(warehouse: str, numbers: range, at: datetime) -> list[dict[str, Any]]:
    """Orders that came in and wait for their picking."""
    kinds = ("order.received", "picking.created")
    return [event(kind, warehouse, number, at) for number in numbers for kind in kinds]


def releases(warehouse: str, numbers: range, at: datetime) -> list[dict[str, Any]]:
    """The warehouse acknowledges."""
    return [event("picking.released", warehouse, number, at) for number in numbers]


def now() -> datetime:
    return datetime.now(UTC)


def check_signature(request: Request) -> None:
    """As the standard has it (Standard Webhooks 1.0.0, "Verifying signatures"), and not by Milepost's own code."""
    number, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = b".".join((number.encode(), timestamp.encode(), request.body))
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{wanted}"
    assert abs(time.time() - int(timestamp)) < PATIENCE


def test_a_warehouse_that_stops_acknowledging_is_one_alert_and_one_end(scene: Scene) -> None:
    began = time.monotonic()
    for first in range(0, 200, 40):
        scene.send(orders("north", range(first, first + 40), now()))
    scene.send(orders("south", range(40), now()))
    scene.send(releases("south", range(40), now()))
    wait_until(lambda: any(body["data"]["alert"]["items_open"] == 200 for body in scene.heard("north")), PATIENCE)
    scene.send(releases("north", range(200), now()))
    wait_until(lambda: scene.told("north")[-1] == "resolved", PATIENCE)
    lasted = time.monotonic() - began

    told = scene.told("north")
    assert (told[0], told[-1]) == ("opened", "resolved")
    assert set(told[1:-1]) <= {"updated"}
    assert len(told) - 2 <= lasted / INTERVAL.total_seconds()
    assert len(scene.receiver.got) == len(told), "nobody is told of anything else"
    for request in scene.receiver.got:
        check_signature(request)
    full = next(body["data"] for body in scene.heard("north") if body["data"]["alert"]["items_open"] == 200)
    over = scene.heard("north")[-1]["data"]
    check_text(full)
    assert (over["alert"]["state"], over["alert"]["items_open"], over["alert"]["items_total"]) == ("resolved", 0, 200)
    assert over["thread"] == full["thread"] == scene.heard("north")[0]["data"]["thread"]
    check_outbox(scene, "north")
    listed = scene.read("/v1/alerts?state=resolved")["items"]
    assert [(row["group"], row["items_total"]) for row in listed] == [({"warehouse": "north"}, 200)]


def check_text(data: Any) -> None:
    """How many, how much, whose business it is."""
    alert = data["alert"]
    assert (alert["severity"], alert["rule"], alert["owner"]) == ("critical", POLICY, "warehouse lead")
    assert {name: Decimal(amount) for name, amount in alert["money"].items()} == {"EUR": Decimal("20100")}
    assert "200" in alert["summary"]
    assert "20,100.00 EUR" in alert["summary"]
    assert "north" in alert["title"]
    assert len(data["items"]) + data["items_left_out"] == 200
    assert data["url"].endswith(f"/alerts/{alert['id']}")


def check_outbox(scene: Scene, warehouse: str) -> None:
    """What was sent is all that there was to send."""
    with scene.milepost.engine() as engine, engine.connect() as connection:
        group = {"warehouse": warehouse}
        (alert_id,) = connection.scalars(sa.select(t.alerts.c.alert_id).where(t.alerts.c.group == group)).all()
        waiting = sa.select(sa.func.count()).select_from(t.signals).where(t.signals.c.handled_at.is_(None))
        assert connection.scalar(waiting) == 0
        rows = connection.execute(sa.select(t.notifications).where(t.notifications.c.alert_id == alert_id)).all()
    assert {row.state for row in rows} == {"sent"}
    assert Counter(row.event for row in rows) == Counter(scene.told(warehouse))


def test_late_evidence_takes_a_breach_back_and_both_stay_recorded(scene: Scene) -> None:
    at = now()
    scene.send(orders("west", range(1), at))
    wait_until(lambda: scene.told("west") == ["opened"], PATIENCE)
    scene.send(releases("west", range(1), at + WITHIN / 2))
    wait_until(lambda: scene.told("west") == ["opened", "resolved"], PATIENCE)

    assert "late evidence" in scene.heard("west")[-1]["data"]["alert"]["summary"]
    (clock,) = scene.read("/v1/journeys/order/west-0")["clocks"]
    assert clock["policy"] == POLICY
    assert clock["state"] in ("met", "retracted")
    with scene.milepost.engine() as engine, engine.connect() as connection:
        (breach,) = connection.execute(
            sa.select(t.breaches).where(t.breaches.c.dimensions["warehouse"].astext == "west")
        ).all()
        (alert,) = connection.execute(sa.select(t.alerts).where(t.alerts.c.group == {"warehouse": "west"})).all()
        changes = connection.scalars(
            sa.select(t.alert_changes.c.what).where(t.alert_changes.c.alert_id == alert.alert_id)
        ).all()
    assert (breach.end, breach.late_known) == ("retracted", False)
    assert breach.opened_at < breach.ended_at
    assert breach.due_at == at + WITHIN
    assert sorted(changes) == ["opened", "resolved", "retracted", "routed"]


def test_a_closed_calendar_raises_no_alarm(scene: Scene) -> None:
    scene.send(orders("island", range(5), now()))
    scene.send(orders("mainland", range(1), now()))
    wait_until(lambda: scene.told("mainland") == ["opened"], PATIENCE)  # due at the same time, were it not closed
    assert scene.told("island") == []
    (clock,) = scene.read("/v1/journeys/order/island-0")["clocks"]
    assert (clock["policy"], clock["state"]) == ("island-acknowledgement", "running")
    assert datetime.fromisoformat(clock["due_at"]) > now() + timedelta(days=1)
