"""What each provider is sent over an alert's life: updated in place, loud where it matters, and without markup."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from alerting import channels
from alerting.message import Message
from alerting.notifiers import Delivery, alertmanager, apprise, apprise_child, pagerduty, slack, teams
from milepost.catalog.routing import Channel
from milepost.errors import ConfigurationError, Permanent, Transient
from tests.providers import AlertmanagerApi, PagerDutyEvents, Provider, SlackApi, texts
from tests.receivers import Receiver, http_receiver
from tests.unit.test_notifiers import A_LIFE, ACKNOWLEDGE, DELIVERY, NOW, a_channel, a_message, settings, stage


@contextlib.contextmanager
def served(provider: Provider) -> Iterator[Receiver]:
    with http_receiver(answer=provider) as receiver:
        yield receiver
    assert provider.complaints == []


def tell(kind: str, port: int, messages: Sequence[Message]) -> Mapping[str, str]:
    """Deliver in order, as the outbox would; the last receipt."""
    channel, environ = a_channel(kind, f"http://127.0.0.1:{port}")
    notifier = channels.make(channel, settings(), environ)
    receipt: Mapping[str, str] = {}
    for number, message in enumerate(messages):
        receipt = notifier.deliver(Delivery(f"msg_{number}", message, NOW, ACKNOWLEDGE, receipt)).receipt or receipt
    return receipt


# --- Slack ------------------------------------------------------------------------------------------------------------


def test_slack_has_one_message_that_is_kept_up_to_date_and_replies_to_what_matters() -> None:
    api = SlackApi()
    with served(api) as receiver:
        receipt = tell("slack", receiver.port, A_LIFE)
    assert receipt == {"channel": "C0OPS", "ts": "1800000000.000100", "severity": "critical"}
    assert (len(api.messages), api.updates) == (1, 5)
    worse, acknowledged, over, again = api.replies
    assert ":red_circle:" in worse["text"]
    assert ":eyes:" in acknowledged["text"]
    assert ":white_check_mark:" in over["text"]
    assert [reply["reply_broadcast"] for reply in api.replies] == [False, False, False, True]
    assert again["thread_ts"] == receipt["ts"]


def test_slack_takes_no_markup_from_an_alert() -> None:
    made = stage("opened", summary="<!channel> <https://evil.example.org|click> & more", owner="<@U123>")
    said = "\n".join(texts(slack.content(replace(DELIVERY, message=made))))
    assert "&lt;!channel&gt; &lt;https://evil.example.org|click&gt; &amp; more" in said
    assert "<!channel>" not in said
    assert "<@U123>" not in said
    assert f"<{ACKNOWLEDGE}|Acknowledge>" in said


def test_a_message_that_somebody_deleted_in_slack_is_posted_anew() -> None:
    api = SlackApi()
    with http_receiver(answer=api) as receiver:
        receipt = tell("slack", receiver.port, A_LIFE[:1])
        api.messages.clear()
        api.messages["another"] = {}
        again = tell_with(receipt, receiver.port, A_LIFE[2])
    assert api.complaints == ["message_not_found"]
    assert again["ts"] == "1800000001.000100"


def tell_with(receipt: Mapping[str, str], port: int, message: Message) -> Mapping[str, str]:
    channel, environ = a_channel("slack", f"http://127.0.0.1:{port}")
    return channels.make(channel, settings(), environ).deliver(Delivery("msg", message, NOW, "", receipt)).receipt


def test_a_reply_that_fails_is_made_again_without_another_message() -> None:
    api = SlackApi()
    with served(api) as receiver:
        receipt = tell("slack", receiver.port, A_LIFE[:1])
        receiver.troubles = ["", "server error"]
        with pytest.raises(Transient):
            tell_with(receipt, receiver.port, A_LIFE[4])
        tell_with(receipt, receiver.port, A_LIFE[4])
    assert (len(api.messages), len(api.replies)) == (1, 1)


@pytest.mark.parametrize(("error", "kind"), [("ratelimited", Transient), ("not_in_channel", Permanent)])
def test_slack_tells_failures_with_status_200(error: str, kind: type[Exception]) -> None:
    answer = msgspec.json.encode({"ok": False, "error": error})
    with (
        http_receiver(answer=lambda _: (200, {"Retry-After": "30"}, answer)) as receiver,
        pytest.raises(kind, match=error) as caught,
    ):
        tell("slack", receiver.port, A_LIFE[:1])
    assert kind is Permanent or caught.value.retry_after == 30  # type: ignore[attr-defined]


@pytest.mark.parametrize("token", ["", "hunter2", "xoxb-1\r\nX: y"])
def test_a_token_that_is_none_is_not_shown(token: str) -> None:
    channel = Channel("ops", "slack", secret_env="SLACK_TOKEN", to=["#ops"])
    with pytest.raises(ConfigurationError, match="SLACK_TOKEN") as caught:
        channels.make(channel, settings(), {"SLACK_TOKEN": token})
    assert not token or token not in str(caught.value)


def test_an_address_that_is_a_secret_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        channels.make(Channel("ops", "teams", url_env="TEAMS"), settings(), {"TEAMS": "flow.example.org/?sig=hunter2"})
    assert str(caught.value) == "channel ops: TEAMS holds no http or https address"


# --- Teams ------------------------------------------------------------------------------------------------------------


def test_a_card_says_it_all_and_holds_no_markup() -> None:
    card = teams.payload(DELIVERY)["attachments"][0]["content"]
    said = list(texts(card["body"]))
    assert "S1 <b>is</b> late (since 20 Nov 2026 10:00 UTC, 12.50 EUR)" in " ".join(said)
    assert "anna" in said
    assert {element["type"] for element in card["body"]} == {"Container", "RichTextBlock"}
    assert [action["url"] for action in card["actions"]] == ["https://milepost.example.org/alerts/17", ACKNOWLEDGE]


@pytest.mark.parametrize(("said", "kind"), [("HTTP error 429", Transient), ("HTTP error 403", Permanent)])
def test_teams_tells_failures_with_status_200(said: str, kind: type[Exception]) -> None:
    body = f"Webhook message delivery failed with error: Microsoft Teams endpoint returned {said}".encode()
    with http_receiver(answer=lambda _: (200, {}, body)) as receiver, pytest.raises(kind):
        tell("teams", receiver.port, A_LIFE[:1])


# --- PagerDuty --------------------------------------------------------------------------------------------------------


def test_pagerduty_has_one_incident_that_follows_the_alert() -> None:
    events = PagerDutyEvents()
    with served(events) as receiver:
        tell("pagerduty", receiver.port, A_LIFE)
    assert [event["event_action"] for event in events.events] == [
        "trigger", "trigger", "trigger", "acknowledge", "resolve", "trigger",
    ]  # fmt: skip
    assert {event["dedup_key"] for event in events.events} == {"msg_first"}
    assert events.incidents == {"msg_first": "trigger"}
    first = events.events[0]
    assert first["payload"]["severity"] == "warning"
    assert first["payload"]["custom_details"]["at_risk"] == {"EUR": "12.50"}
    assert [link["text"] for link in first["links"]] == ["Open the alert", "Acknowledge", "Runbook"]


def test_a_routing_key_that_is_none_is_not_shown() -> None:
    channel = Channel("duty", "pagerduty", secret_env="PAGERDUTY_KEY")
    with pytest.raises(ConfigurationError, match="32 letters") as caught:
        channels.make(channel, settings(), {"PAGERDUTY_KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_digest_pages_nobody() -> None:
    events, alerts = PagerDutyEvents(), AlertmanagerApi()
    with served(events) as receiver, served(alerts) as other:
        tell("pagerduty", receiver.port, [a_message("digest")])
        tell("alertmanager", other.port, [a_message("digest")])
    assert (events.events, alerts.alerts) == ([], {})


# --- Alertmanager -----------------------------------------------------------------------------------------------------


def test_alertmanager_knows_one_firing_alert_whatever_its_severity() -> None:
    api = AlertmanagerApi()
    later = NOW + timedelta(minutes=4)
    with served(api) as receiver:
        tell("alertmanager", receiver.port, A_LIFE[:2])
        assert [one["labels"]["severity"] for one in api.firing(later)] == ["warning"]
        tell("alertmanager", receiver.port, A_LIFE[:4])
        (firing,) = api.firing(later)
        assert firing["labels"]["severity"] == "critical"
        assert firing["labels"]["warehouse"] == "north"
        assert firing["annotations"]["acknowledge_url"] == ACKNOWLEDGE
        assert firing["annotations"]["runbook_url"] == "https://wiki.example.org/ack"
        tell("alertmanager", receiver.port, A_LIFE[:5])
    assert api.firing(NOW) == []


def test_labels_are_what_prometheus_allows() -> None:
    made = stage("opened", group={"1st-leg": "x", "warehouse": ""})
    assert alertmanager.labels(made, "info") == {
        "_1st_leg": "x", "alertname": "ack", "kind": "sla", "severity": "info", "job": "milepost",
    }  # fmt: skip


def test_an_alertmanager_behind_a_password() -> None:
    api = AlertmanagerApi()
    with served(api) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/api/v2/alerts"
        channel = Channel("am", "alertmanager", url=url, secret_env="AM")
        channels.make(channel, settings(), {"AM": "Bearer abc"}).deliver(DELIVERY)
    assert receiver.got[0].headers["authorization"] == "Bearer abc"


# --- Apprise ----------------------------------------------------------------------------------------------------------


def through_apprise(url: str, **given: Any) -> None:
    channel = Channel("any", "apprise", url_env="ANY")
    channels.make(channel, settings(**given), {"ANY": url}).deliver(DELIVERY)


def test_apprise_runs_in_a_process_of_its_own() -> None:
    with http_receiver() as receiver:
        through_apprise(f"json://127.0.0.1:{receiver.port}/")
        (request,) = receiver.got
        assert request.json["title"].startswith("[critical] Late")
        assert f"Acknowledge: {ACKNOWLEDGE}" in request.json["message"]


def test_the_process_of_apprise_reaches_no_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)  # so that the guard's is taken away again
    refused: list[str] = []
    apprise_child.guard(refused)
    with http_receiver() as receiver:
        order = apprise_child.Order(f"json://127.0.0.1:{receiver.port}/", "t", "b", "info", 5.0, False)
        assert apprise_child.send(order).what == "failed"
        assert receiver.seen == []
    assert "MILEPOST_ALLOW_PRIVATE_RECEIVERS" in refused[0]


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apprise, "STARTING", 0.0)  # no process has begun so soon
    with http_receiver() as receiver, pytest.raises(Transient, match="did not finish"):
        through_apprise(f"json://127.0.0.1:{receiver.port}/", notify_timeout=0.01)


@pytest.mark.parametrize("url", ["", "json://a json://b"])
def test_one_address_a_channel(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ANY"):
        through_apprise(url)


def test_severity_is_pagerdutys_own() -> None:
    for severity in ("info", "warning", "critical"):
        made = pagerduty.event(replace(DELIVERY, message=stage("opened", severity=severity)), "key")
        assert made["payload"]["severity"] == severity
