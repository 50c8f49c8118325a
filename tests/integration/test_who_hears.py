"""Who hears of an alert, and when, on the real database and with real receivers: hours, turns, escalation, digests,
and the sign of life."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from alerting import commands, digests, heartbeat, overrides, pipeline, send, silences
from alerting.desk import calendars_of
from alerting.heartbeat import Heartbeat, Signs
from alerting.hiding import Stage
from alerting.silences import Wanted
from alerting.stages import silenced
from milepost.catalog import loader
from milepost.catalog.matcher import read
from milepost.catalog.schema import Catalog
from milepost.db.tables import alert_changes, alert_hidden, alerts, audit
from milepost.db.tables import digests as periods
from milepost.errors import ConfigurationError, Conflict, NotFound
from milepost.inbox import heartbeats
from milepost.settings import Alerting as Settings
from tests.integration.test_alerting_pipeline import MINUTE, URL, breach, over
from tests.integration.test_alerting_pipeline import Alerting as Base
from tests.receivers import Receiver, closed_port, http_receiver

HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 20, 12, tzinfo=BERLIN).astimezone(UTC)
NIGHT = datetime(2026, 11, 20, 23, tzinfo=BERLIN).astimezone(UTC)
MORNING = datetime(2026, 11, 23, 8, tzinfo=BERLIN).astimezone(UTC)
SETTINGS = Settings(notify_timeout=5.0, allow_private_receivers=True)
ENVIRON = {"SECRET": "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
ROUTES = """\
channels:
  - {{name: chat, kind: webhook, url: "{url}/chat", secret_env: SECRET}}
  - {{name: pager, kind: webhook, url: "{url}/pager", secret_env: SECRET}}
  - {{name: boss, kind: webhook, url: "{url}/boss", secret_env: SECRET}}
  - {{name: duty-hook, kind: webhook, secret_env: SECRET}}
people:
  ann: {{url: "{url}/ann"}}
  bert: {{url: "{url}/bert"}}
rotations:
  duty: {{people: [ann, bert], channels: [duty-hook], start: "2026-11-16", zone: Europe/Berlin}}
routes:
  - name: urgent
    match: {{severity: [critical]}}
    channels: [duty]
    goes_on: true
    escalation: {{steps: [{{after: 15m, channels: [duty]}}, {{after: 30m, channels: [boss]}}], repeat: 1h, times: 2}}
  - {{name: days, during: business, channels: [chat]}}
digests:
  morning: {{channels: [chat], at: "08:00", calendar: business, title: Morning}}
  critical: {{channels: [boss], match: {{severity: [critical]}}, when_empty: true}}
"""


class Alerting(Base):
    """The pipeline by hours and turns, and the sender."""

    def __init__(self, engine: sa.Engine, receiver: Receiver) -> None:
        super().__init__(engine)
        self.receiver, self.now = receiver, NOON
        self.url = f"http://127.0.0.1:{receiver.port}"
        self.catalog: Catalog = loader.load({**loader.default_texts(), "routes.yaml": ROUTES.format(url=self.url)})
        self.routing = self.catalog.routing
        self.stages: list[Stage] = []

    def step(self) -> bool:
        hours, stages = calendars_of(self.catalog), self.stages
        return pipeline.step(self.engine, self.routing, stages=stages, calendars=hours, now=self.now, public_url=URL)

    def at(self, now: datetime) -> list[tuple[str, str]]:
        """Let it be then, with a step whenever something is due; (path, event) of what came."""
        while self.now < now:
            self.now = min(now, *(row["escalate_at"] or now for row in self.rows(alerts)))
            while self.step():
                pass
        return self.came()

    def came(self) -> list[tuple[str, str]]:
        known = len(self.receiver.got)
        while send.step(self.engine, self.routing, SETTINGS, clock=lambda: self.now, environ=ENVIRON, patience=10.0):
            pass
        return sorted(
            (one.path.strip("/"), one.json["type"].removeprefix("alert.")) for one in self.receiver.got[known:]
        )

    def digest(self) -> bool:
        hours = calendars_of(self.catalog)
        return digests.step(self.engine, self.routing, hours, now=self.now, public_url=URL)


@pytest.fixture
def alerting(engine: sa.Engine) -> Iterator[Alerting]:
    with http_receiver() as receiver:
        yield Alerting(engine, receiver)


def urgent(number: int = 1, **fields: Any) -> Any:
    return breach(number, severity="critical", **fields)


def test_what_the_night_held_back_is_told_in_the_morning(alerting: Alerting) -> None:
    alerting.now = NIGHT
    alerting.run(breach(1), urgent(2, group={"warehouse": "south"}))
    assert alerting.came() == [("ann", "opened")]
    alerting.run(over(1), breach(3), after=MINUTE)
    kept = [(row["stage"], row["by_name"], row["until_at"], row["end"]) for row in alerting.rows(alert_hidden)]
    assert kept == [("hours", "route days", MORNING, "cleared"), ("hours", "route days", MORNING, None)]
    (south,) = [row["alert_id"] for row in alerting.rows(alerts) if row["group"] == {"warehouse": "south"}]
    alerting.act(commands.acknowledge, south, actor="ann")
    assert alerting.came() == [("ann", "acknowledged")]
    alerting.now = MORNING - 2 * MINUTE
    assert alerting.at(MORNING - MINUTE) == []
    assert alerting.at(MORNING) == [("chat", "opened"), ("chat", "opened")]
    told = [one.json["data"]["alert"] for one in alerting.receiver.got if one.path == "/chat"]
    assert {(one["group"]["warehouse"], one["items_open"]) for one in told} == {("north", 1), ("south", 1)}


def test_nobody_acknowledges(alerting: Alerting) -> None:
    alerting.run(urgent())
    assert alerting.came() == [("ann", "opened"), ("chat", "opened")]
    assert alerting.at(NOON + 14 * MINUTE) == []
    assert alerting.at(NOON + 15 * MINUTE) == [("ann", "escalated")]
    assert alerting.at(NOON + 29 * MINUTE) == []
    assert alerting.at(NOON + 30 * MINUTE) == [("boss", "opened")]
    assert alerting.receiver.got[-1].json["data"]["headline"].startswith("[critical] Not acknowledged: ")
    assert alerting.at(NOON + 91 * MINUTE) == [("boss", "escalated")]
    assert alerting.at(NOON + 8 * HOUR) == [("boss", "escalated")], "twice, and no more"
    alerting.run(over(1))
    assert alerting.came() == [("ann", "resolved"), ("boss", "resolved"), ("chat", "resolved")]
    notes = [row["detail"] for row in alerting.rows(alert_changes) if row["what"] == "escalated"]
    assert [(note["step"], note["channels"]) for note in notes[:2]] == [(1, ["duty-hook/ann"]), (2, ["boss"])]
    (routed,) = [row["detail"] for row in alerting.rows(alert_changes) if row["what"] == "routed"]
    assert routed == {
        "routes": ["urgent", "days"], "channels": ["duty-hook/ann", "chat"], "on_call": {"duty": "ann"},
    }  # fmt: skip


def test_an_acknowledgement_ends_it(alerting: Alerting) -> None:
    alerting.run(urgent())
    alerting.came()
    alerting.now += 10 * MINUTE
    alerting.act(commands.acknowledge, alerting.alert()["alert_id"], actor="ann")
    assert alerting.came() == [("ann", "acknowledged"), ("chat", "acknowledged")]
    assert alerting.alert()["escalate_at"] is None
    assert alerting.at(NOON + 3 * HOUR) == []


def test_a_call_that_waits_is_dropped_once_somebody_acknowledges(alerting: Alerting) -> None:
    alerting.run(urgent())
    alerting.came()
    alerting.now += 15 * MINUTE
    alerting.run()
    alerting.act(commands.acknowledge, alerting.alert()["alert_id"], actor="ann")
    assert alerting.came() == [("ann", "acknowledged"), ("chat", "acknowledged")]


def test_it_stands_still_while_silenced(alerting: Alerting) -> None:
    alerting.stages = [silenced({})]
    alerting.run(urgent())
    alerting.came()
    alerting.now = NOON + 13 * MINUTE
    alerting.run()
    wanted = Wanted((read("warehouse=north"),), "known", alerting.now, alerting.now + 3 * MINUTE)
    with alerting.engine.begin() as connection:
        silences.add(connection, wanted, actor="anna", now=alerting.now, admin=False)
    told = {minute: alerting.at(NOON + minute * MINUTE) for minute in (17, 19)}
    assert told == {17: [], 19: [("ann", "escalated")]}


def test_who_stands_in_is_called(alerting: Alerting) -> None:
    with alerting.engine.begin() as connection:
        number = overrides.add(
            connection, alerting.routing, rotation="duty", person="bert", since=NOON, until=NOON + HOUR,
            reason="Ann is ill", actor="cleo", now=NOON,
        )  # fmt: skip
    alerting.run(urgent())
    assert ("bert", "opened") in alerting.came()
    alerting.now += MINUTE
    with alerting.engine.begin() as connection:
        overrides.end(connection, number, actor="cleo", now=alerting.now)
    assert alerting.at(NOON + 15 * MINUTE) == [("ann", "opened")]
    with alerting.engine.begin() as connection:
        with pytest.raises(Conflict, match="over already"):
            overrides.end(connection, number, actor="cleo", now=alerting.now)
        with pytest.raises(NotFound, match="no rotation night; there are duty"):
            overrides.add(
                connection, alerting.routing, rotation="night", person="bert", since=NOON, until=NOON + HOUR,
                reason="", actor="cleo", now=NOON,
            )  # fmt: skip
    assert [row["action"] for row in alerting.rows(audit)] == ["oncall.overridden", "oncall.override_ended"]


def test_a_digest_is_sent_once_a_period_and_says_what_changed(alerting: Alerting) -> None:
    alerting.now = NIGHT - HOUR
    assert alerting.digest() is False, "new ones begin with their next period"
    alerting.now = NIGHT
    alerting.run(breach(1), breach(2), urgent(3, group={"warehouse": "south"}))
    alerting.came()
    alerting.now = MORNING - 2 * HOUR
    alerting.run(*(over(number) for number in (1, 2)))
    alerting.now = MORNING + MINUTE
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: alerting.digest(), range(4)))
    assert sum(made) >= 1
    alerting.now += MINUTE
    assert alerting.digest() is False
    assert [(path, event) for path, event in alerting.came() if event == "digest"] == [
        ("boss", "digest"), ("chat", "digest"),
    ]  # fmt: skip
    (said,) = [
        one.json["data"] for one in alerting.receiver.got if one.path == "/chat" and one.json["type"] == "alert.digest"
    ]
    assert said["headline"] == "Morning: 1 open, 1 new, 1 resolved"
    assert said["alert"]["summary"].startswith(
        "1 open, 1 new, 1 resolved since 20 Nov 2026 21:00 UTC.\nAt risk: 100.00 EUR.\nOldest since "
    )
    assert said["alert"]["money"] == {"EUR": "100.0000"}
    assert [item["item"] for item in said["items"]] == ["alert:2"]
    assert len([row for row in alerting.rows(periods) if row["name"] == "morning"]) == 2
    alerting.run(over(3), after=HOUR)
    alerting.now += timedelta(days=1)
    alerting.digest()
    alerting.now += timedelta(days=1)
    alerting.digest()
    sent = [(row["name"], row["sent"]) for row in alerting.rows(periods)]
    assert sent.count(("morning", False)) == 2, "the first, and the one with nothing to say"
    assert sent[0] == ("critical", False)


# --- the sign of life -------------------------------------------------------------------------------------------------


def test_a_sign_of_life_while_the_chain_works_and_what_is_wrong_otherwise(alerting: Alerting) -> None:
    now = alerting.now
    heart = Heartbeat(alerting.engine, f"{alerting.url}/ping/secret?rid=1", Signs(), lambda: alerting.now)
    heart.beat()
    told = alerting.receiver.got[-1]
    assert told.path == "/ping/secret/fail?rid=1"
    assert b"events are not processed since the start\n" in told.body
    assert b"no process record runs" in told.body
    with alerting.engine.begin() as connection:
        for name in ("record@here", "assemble@there"):
            heartbeats.beat(connection, name, now, {})
    heart.signs = Signs(now, now, now, now)
    heart.beat()
    assert (alerting.receiver.got[-1].path, alerting.receiver.got[-1].body) == ("/ping/secret?rid=1", b"ok")
    alerting.run(breach(1))
    alerting.now += timedelta(minutes=11)
    heart.signs = Signs(*[alerting.now] * 4)
    with alerting.engine.begin() as connection:
        for name in ("record@here", "assemble@there"):
            heartbeats.beat(connection, name, alerting.now, {})
    heart.beat()
    assert alerting.receiver.got[-1].body == b"a message waits that could go for 11 min"
    alerting.came()
    heart.beat()
    assert alerting.receiver.got[-1].body == b"ok"


def test_without_a_database_or_a_receiver_it_goes_on(alerting: Alerting) -> None:
    away = sa.create_engine(f"postgresql+psycopg://nobody@127.0.0.1:{closed_port()}/none")
    Heartbeat(away, f"{alerting.url}/ping", Signs(), lambda: NOON).beat()
    assert (alerting.receiver.got[-1].path, alerting.receiver.got[-1].body) == (
        "/ping/fail", b"the database does not answer",
    )  # fmt: skip
    alerting.receiver.trouble = "server error"
    Heartbeat(away, f"{alerting.url}/ping", Signs(), lambda: NOON).beat()
    with pytest.raises(ConfigurationError, match="MILEPOST_HEARTBEAT_URL"):
        Heartbeat(away, "ftp://x", Signs(), lambda: NOON)


def test_lag_is_told_with_its_length() -> None:
    known = heartbeat.Stored(None, frozenset({"record", "assemble"}))
    signs = Signs(NOON - 3 * MINUTE, NOON, NOON, NOON)
    assert heartbeat.troubles(signs, known, NOON) == ["events are not processed for 3 min"]
    assert heartbeat.troubles(replace(signs, through=NOON), known, NOON) == []
