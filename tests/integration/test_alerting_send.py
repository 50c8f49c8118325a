"""From a signal to a receiver on loopback: signed, once, in order, whatever dies in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa

from alerting import channels, outbox, retry, send
from milepost import signing
from milepost.catalog.routing import Channel, Route, Routing
from milepost.catalog.schema import Duration
from milepost.db.tables import alerts, audit, metadata, notifications, signals
from milepost.settings import Alerting
from tests.integration.test_alerting_pipeline import INTERVAL, MINUTE, SECOND, URL, breach, over
from tests.integration.test_alerting_pipeline import Alerting as Base
from tests.receivers import RETRY_AFTER, Receiver, closed_port, http_receiver, smtp_receiver
from tests.threads import at_once

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ENVIRON = {"HOOK_SECRET": SECRET}
SETTINGS = Alerting(notify_timeout=5.0, allow_private_receivers=True, mail_from="milepost@example.org")


def hook(name: str, port: int) -> Channel:
    return Channel(name, "webhook", url=f"http://127.0.0.1:{port}/", secret_env="HOOK_SECRET")


class Service(Base):
    """Pipeline and sender with one clock."""

    settings = SETTINGS

    def use(self, *channels: Channel) -> None:
        self.routing = Routing(
            channels=list(channels),
            routes=[Route(channels=[channel.name for channel in channels])],
            group_interval=Duration("5m"),
        )

    def send_once(self, **given: Any) -> bool:
        given.setdefault("patience", 20.0)
        return send.step(self.engine, self.routing, self.settings, clock=lambda: self.now, environ=ENVIRON, **given)

    def send_all(self) -> None:
        while self.send_once():
            pass

    def states(self, channel: str = "hook") -> list[tuple[str, str]]:
        rows = self.rows(notifications)
        return [(row["event"], row["state"]) for row in rows if row["channel"] == channel]

    def claim(self) -> list[outbox.Claimed]:
        with self.engine.begin() as connection:
            return outbox.claim(connection, self.now, MINUTE, 16)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


def emptied(engine: sa.Engine) -> sa.Engine:
    """A database with nothing of alerting in it: a fresh one for each test takes longer than the test."""
    ours = [table for table in metadata.tables.values() if table.info["writer"].startswith("alerting.")]
    names = ", ".join(table.fullname for table in [*ours, audit])
    with engine.begin() as connection:
        connection.execute(sa.text(f"truncate {names} restart identity"))
    return engine


@pytest.fixture
def service(shared: sa.Engine, receiver: Receiver) -> Iterator[Service]:
    made = Service(emptied(shared))
    made.use(hook("hook", receiver.port))
    yield made
    receiver.closing.set()  # lets go of what hangs
    for thread in threading.enumerate():
        if thread.name.startswith("send-"):
            thread.join(10)


def types(receiver: Receiver) -> list[str]:
    return [request.json["type"] for request in receiver.got]


def test_two_hundred_breaches_of_one_warehouse_are_one_signed_message_and_one_end(
    service: Service, receiver: Receiver
) -> None:
    service.run(*[breach(number) for number in range(200)])
    service.send_all()
    (request,) = receiver.got
    timestamp = int(request.headers["webhook-timestamp"])
    keys = signing.secrets_of(SECRET)
    expected = signing.sign(keys, request.headers["webhook-id"], timestamp, request.body)
    assert request.headers["webhook-signature"] == expected
    assert request.json["data"]["alert"]["items_open"] == 200
    service.run(*[over(number) for number in range(200)], after=MINUTE)
    service.send_all()
    assert types(receiver) == ["alert.opened", "alert.resolved"]
    assert receiver.got[1].json["data"]["thread"] == request.headers["webhook-id"]
    assert service.states() == [("opened", "sent"), ("resolved", "sent")]


def test_nothing_due_is_no_work(service: Service) -> None:
    assert service.send_once() is False


def test_a_sender_that_dies_before_recording_sends_the_same_id_again(service: Service, receiver: Receiver) -> None:
    service.run(breach(1))
    (claimed,) = service.claim()
    assert service.claim() == []
    assert service.send_once() is False
    service.now += MINUTE + SECOND
    service.send_all()
    (request,) = receiver.got
    assert request.headers["webhook-id"] == claimed.message_id
    (row,) = service.rows(notifications)
    assert (row["state"], row["attempts"], row["lease_until"]) == ("sent", 2, None)


def test_a_crash_between_delivery_and_record_repeats_id_and_body(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.run(breach(1))
    with monkeypatch.context() as patched:
        patched.setattr(threading, "excepthook", lambda args: None)
        patched.setattr(outbox, "sent", lambda *args, **given: (_ for _ in ()).throw(SystemExit))
        service.send_all()
    assert service.states() == [("opened", "sending")]
    service.now += timedelta(hours=1)
    service.send_all()
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert service.states() == [("opened", "sent")]


def test_two_senders_at_once_send_each_message_once(service: Service, receiver: Receiver) -> None:
    ports = [receiver.port] * 4
    service.use(*[hook(f"hook{number}", port) for number, port in enumerate(ports)])
    service.run(*[breach(number, rule=f"rule-{number}") for number in range(10)])
    at_once(*[service.send_all] * 3)
    service.send_all()
    ids = [request.headers["webhook-id"] for request in receiver.seen]
    assert (len(ids), len(set(ids))) == (40, 40)
    assert {row["state"] for row in service.rows(notifications)} == {"sent"}


def test_messages_of_an_alert_keep_their_order_through_failures(service: Service, receiver: Receiver) -> None:
    receiver.troubles = ["server error", "hang up"]
    service.run(breach(1))
    service.send_all()
    service.run(over(1), after=SECOND)
    service.send_all()
    assert receiver.got == []
    for _ in range(3):
        service.now += MINUTE
        service.send_all()
    assert types(receiver) == ["alert.opened", "alert.resolved"]
    attempts = [request.headers["webhook-id"] for request in receiver.seen]
    assert attempts[0] == attempts[1] == attempts[2] != attempts[3]


def test_another_alert_does_not_wait_for_one_that_fails(service: Service, receiver: Receiver) -> None:
    receiver.troubles = ["server error"]
    service.run(breach(1), breach(2, group={"warehouse": "south"}))
    service.send_all()
    assert [request.json["data"]["alert"]["group"] for request in receiver.got] == [{"warehouse": "south"}]


def test_a_failure_is_tried_again_after_a_growing_wait(service: Service, receiver: Receiver) -> None:
    receiver.trouble = "server error"
    service.run(breach(1))
    waits = []
    for _ in range(5):
        service.send_all()
        (row,) = service.rows(notifications)
        assert (row["state"], row["lease_until"]) == ("pending", None)
        assert "HTTP 503" in row["error"]
        waits.append((row["next_attempt_at"] - service.now).total_seconds())
        service.now = row["next_attempt_at"]
    for wait, longest in zip(waits, (2, 4, 8, 16, 32), strict=True):
        assert longest / 2 <= wait <= longest


def test_a_rate_limit_holds_the_whole_channel(service: Service, receiver: Receiver) -> None:
    receiver.troubles = ["rate limited"]
    service.run(*[breach(number, rule=f"rule-{number}") for number in range(3)])
    service.send_all()
    assert len(receiver.seen) == 1
    service.now += (RETRY_AFTER - 1) * SECOND
    service.send_all()
    assert len(receiver.seen) == 1
    service.now += 2 * SECOND
    service.send_all()
    assert len(receiver.got) == 3


def test_a_refused_message_is_parked_and_milepost_says_so_elsewhere(service: Service, receiver: Receiver) -> None:
    with http_receiver() as other:
        service.use(hook("hook", receiver.port), hook("other", other.port))
        receiver.trouble = "client error"
        service.run(breach(1))
        service.send_all()
        service.run(over(1), after=MINUTE)
        service.send_all()
        assert service.states() == [("opened", "parked"), ("opened", "parked")]
        titles = [request.json["data"]["alert"]["title"] for request in other.got]
        assert "Notifications can't be delivered (channel hook)" in titles
        assert titles.count("Notifications can't be delivered (channel hook)") == 1
        assert sorted(types(other)) == ["alert.opened", "alert.opened", "alert.resolved"]


def test_the_alert_about_a_channel_ends_when_it_works_again(service: Service, receiver: Receiver) -> None:
    receiver.troubles = ["client error"]
    service.run(breach(1))
    service.send_all()
    service.run()
    service.send_all()
    service.run()
    rows = {row["rule"]: row["state"] for row in service.rows(alerts)}
    assert rows == {"warehouse-acknowledgement": "firing", "delivery": "resolved"}


def test_a_receiver_that_is_gone_gets_nothing_more(service: Service, receiver: Receiver) -> None:
    receiver.trouble = "gone"
    service.run(breach(1), breach(2, group={"warehouse": "south"}))
    service.send_all()
    assert len(receiver.seen) == 1
    assert service.states() == [("opened", "parked"), ("opened", "parked")]


def test_after_a_parked_opening_nothing_follows_on_that_channel(service: Service, receiver: Receiver) -> None:
    receiver.trouble = "client error"
    service.run(breach(1))
    service.run(over(1), after=MINUTE)
    service.send_all()
    assert service.states()[:2] == [("opened", "parked"), ("resolved", "dropped")]
    assert service.rows(notifications)[1]["error"] == outbox.UNOPENED


def test_a_message_written_while_its_opening_is_being_parked_is_not_sent(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.troubles = ["client error"]
    service.run(breach(1))
    park = outbox.park

    def park_late(connection: sa.Connection, *args: Any) -> None:
        park(connection, *args)
        service.run(over(1), after=MINUTE)  # sees the opening on its way, and commits first

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "park", park_late)
        service.send_once()
    assert service.states() == [("opened", "parked"), ("resolved", "pending")]
    service.send_all()
    assert service.states()[:2] == [("opened", "parked"), ("resolved", "dropped")]
    assert len(receiver.seen) == 1


def test_the_budget_ends_in_a_parked_message(service: Service, receiver: Receiver) -> None:
    receiver.trouble = "server error"
    service.run(breach(1))
    service.send_all()
    service.now += retry.AGE
    service.send_all()
    (row,) = service.rows(notifications)
    assert row["state"] == "parked"
    assert row["error"].startswith("given up after 2 attempts: HTTP 503")


@pytest.mark.parametrize("error", [RecursionError("too deep"), OverflowError("nul \0")])
def test_a_notifier_that_breaks_spends_the_budget_too(
    service: Service, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(channels, "make", broken)
    service.run(breach(1))
    service.send_all()
    assert caplog.text.count("to hook broke") == 1
    (row,) = service.rows(notifications)
    assert (row["state"], row["error"]) == ("pending", f"{type(error).__name__}: {error}".replace("\0", "\ufffd"))
    service.now += retry.AGE
    service.send_once()
    (row,) = service.rows(notifications)
    assert row["state"] == "parked"
    assert {signal["rule"] for signal in service.rows(signals)} == {"warehouse-acknowledgement", "delivery"}


def test_a_wrong_secret_is_parked_and_not_shown(service: Service, receiver: Receiver) -> None:
    service.routing = Routing(
        channels=[Channel("hook", "webhook", url=f"http://127.0.0.1:{receiver.port}/", secret_env="NOT_SET")],
        routes=[Route(channels=["hook"])],
    )
    service.run(breach(1))
    service.send_all()
    (row,) = service.rows(notifications)
    assert (row["state"], row["error"]) == ("parked", "channel hook: the secret in NOT_SET: it is empty")
    assert receiver.seen == []


def test_a_hanging_receiver_keeps_nobody_else_waiting(service: Service, receiver: Receiver) -> None:
    with http_receiver() as other:
        service.use(hook("hook", receiver.port), hook("other", other.port))
        receiver.trouble = "hang"
        service.run(breach(1), breach(2, group={"warehouse": "south"}))
        assert service.send_once(patience=0.05)
        receiver.wait_for(1)
        end = time.monotonic() + 30
        while len(other.seen) < 2 and time.monotonic() < end:
            service.send_once(patience=0.05)
        other.wait_for(2)
        assert len(receiver.seen) == 1


def test_a_late_success_counts_though_the_lease_is_lost(service: Service, receiver: Receiver) -> None:
    service.run(breach(1))
    (slow,) = service.claim()
    service.now += 2 * MINUTE
    (again,) = service.claim()
    assert (slow.attempt, again.attempt) == (1, 2)
    with service.engine.begin() as connection:
        outbox.retry(connection, slow, service.now, "too late to matter")
    assert service.states() == [("opened", "sending")]
    with service.engine.begin() as connection:
        outbox.sent(connection, slow, service.now)
    assert service.states() == [("opened", "sent")]


def test_nothing_is_open_in_the_database_while_sending(service: Service, receiver: Receiver) -> None:
    receiver.trouble = "hang"
    service.run(breach(1))
    service.send_once(patience=0.0)
    receiver.wait_for(1)
    query = sa.text("select count(*) from pg_stat_activity where xact_start is not null and pid <> pg_backend_pid()")
    with service.engine.connect() as connection:
        assert connection.scalar(sa.text(f"{query} and datname = current_database()")) == 0


def test_a_channel_that_nobody_listens_on_waits(service: Service) -> None:
    service.use(hook("hook", closed_port()))
    service.run(breach(1))
    service.send_all()
    assert service.states() == [("opened", "pending")]


def test_mails_of_an_alert_are_one_thread(service: Service) -> None:
    with smtp_receiver() as mailbox:
        service.settings = Alerting(
            smtp_url=f"smtp://127.0.0.1:{mailbox.port}", mail_from="milepost@example.org", notify_timeout=5.0
        )
        service.use(Channel("mail", "email", to=["ops@example.org"]))
        service.run(*[breach(number) for number in range(30)])
        service.send_all()
        service.run(breach(31), after=INTERVAL)
        service.send_all()
        service.run(*[over(number) for number in range(32)], after=MINUTE)
        service.send_all()
        opened, updated, resolved = mailbox.got
    assert opened["Subject"].endswith("(warehouse north) · 30 open")
    assert updated["References"] == resolved["References"] == opened["Message-ID"]
    assert "Resolved: " in resolved["Subject"]
    assert f"{URL}/alerts/" in opened.get_body(("plain",)).get_content()


def test_the_opening_leaves_in_time(service: Service, receiver: Receiver) -> None:
    """Due breach to request at the receiver, with steps back to back: a small part of the two seconds promised."""
    began = datetime.now(UTC)
    service.run(breach(1))
    service.send_all()
    assert len(receiver.got) == 1
    assert datetime.now(UTC) - began < 2 * SECOND
