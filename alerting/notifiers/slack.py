"""Slack: one message an alert, kept up to date, with a reply in its thread for what changes much.

With a bot's token (scope chat:write): chat.postMessage, then chat.update of the same message, whose `ts` the receipt
holds. With an incoming webhook's address: a message for each notification, as it can't change what was posted.
Sources: docs.slack.dev/reference/methods/chat.postMessage and chat.update, docs.slack.dev/reference/block-kit/blocks,
docs.slack.dev/apis/web-api/rate-limits, docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.

Slack knows no idempotency key: a message whose answer was lost is posted again. An update that is repeated changes
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from alerting.lifecycle import RANK
from alerting.message import Message
from alerting.notifiers import NOTHING, Delivery, Taken, http
from alerting.notifiers.facts import cut, facts, is_web_address, items, links
from milepost.catalog.routing import Channel
from milepost.errors import ConfigurationError, Permanent, Transient
from milepost.settings import Alerting

API: Final = "https://slack.com/api"
HEADER: Final = 150
TEXT: Final = 2900
"""A section holds 3,000 characters, and all blocks of a message about 13,000."""
FIELD: Final = 300
ITEMS: Final = 10
_AGAIN: Final = frozenset(
    {
        "fatal_error", "internal_error", "message_limit_exceeded", "rate_limited", "ratelimited", "request_timeout",
        "service_unavailable", "team_added_to_org",
    }
)  # fmt: skip
"""Errors that may pass, as Slack describes them. Any other is a refusal."""
_LOST: Final = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "channel_not_found"})
"""The message can't be updated any more: another one is posted."""
_SYMBOLS: Final = {"info": ":large_blue_circle:", "warning": ":large_orange_circle:", "critical": ":red_circle:"}
_SPECIAL: Final = re.compile(r"[&<>]")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


@dataclass(frozen=True, slots=True)
class Slack:
    """A conversation, as the bot with this token sees it."""

    post: http.Endpoint
    update: http.Endpoint
    token: str
    conversation: str

    def deliver(self, delivery: Delivery) -> Taken:
        """Post it, or bring the alert's message up to date; see alerting.notifiers for the contract."""
        receipt = delivery.receipt
        if "ts" not in receipt or delivery.message.event == "digest":
            return self._open(delivery)
        try:
            self._call(self.update, delivery, channel=receipt["channel"], ts=receipt["ts"])
        except _Lost:
            return self._open(delivery)
        if is_important(delivery):
            # only after the update: what fails from here on is done again, and an update twice is as one
            self._reply(delivery)
        return Taken(receipt={**receipt, "severity": delivery.message.alert.severity})

    def _open(self, delivery: Delivery) -> Taken:
        answer = self._call(self.post, delivery, channel=self.conversation, unfurl_links=False, unfurl_media=False)
        channel, ts = answer.get("channel"), answer.get("ts")
        if not isinstance(channel, str) or not isinstance(ts, str):
            raise Transient("Slack took the message without saying where it is")
        if delivery.message.event == "digest":
            return NOTHING
        return Taken(receipt={"channel": channel, "ts": ts, "severity": delivery.message.alert.severity})

    def _reply(self, delivery: Delivery) -> None:
        receipt, message = delivery.receipt, delivery.message
        reply = {
            "channel": receipt["channel"],
            "thread_ts": receipt["ts"],
            "text": cut(f"{symbol(message)} {escape(message.headline)}\n{escape(message.alert.summary)}", TEXT),
            "reply_broadcast": message.event in ("reopened", "escalated"),
            "unfurl_links": False,
            "unfurl_media": False,
        }
        self._ask(self.post, reply, delivery)

    def _call(self, endpoint: http.Endpoint, delivery: Delivery, **given: Any) -> Mapping[str, Any]:
        return self._ask(endpoint, {**given, **content(delivery)}, delivery)

    def _ask(self, endpoint: http.Endpoint, body: Mapping[str, Any], delivery: Delivery) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}"}
        response = endpoint.post_json(body, headers, now=delivery.at, answer=True)
        return _judged(response, delivery)


@dataclass(frozen=True, slots=True)
class SlackHook:
    """An incoming webhook."""

    endpoint: http.Endpoint

    def deliver(self, delivery: Delivery) -> Taken:
        """Post it; see alerting.notifiers for the contract."""
        response = self.endpoint.post_json(content(delivery), {}, now=delivery.at, answer=True)
        if response.text != "ok":
            raise Transient(f"Slack answered {cut(response.text, 100)!r} instead of ok")
        return NOTHING


def make(channel: Channel, settings: Alerting, environ: Mapping[str, str]) -> Slack | SlackHook:
    """From the catalog and the variables that it names. Raises ConfigurationError."""
    if channel.url_env:
        return SlackHook(http.Endpoint.make(http.secret_url(channel, environ), settings))
    token = http.secret(channel, "secret_env", environ)
    if not token.startswith("xox") or not token.isascii() or not token.isprintable():
        raise ConfigurationError(f"channel {channel.name}: {channel.secret_env} holds no token of Slack (xoxb-…)")
    base = (channel.url or API).rstrip("/")
    post, update = (http.Endpoint.make(f"{base}/{method}", settings) for method in ("chat.postMessage", "chat.update"))
    return Slack(post, update, token, channel.to[0])


def is_important(delivery: Delivery) -> bool:
    """Whether people are to be told of it again, as an update of a message makes no sound."""
    message, before = delivery.message, delivery.receipt.get("severity", "critical")
    return message.event != "updated" or RANK[message.alert.severity] > RANK[before]


# --- words ------------------------------------------------------------------------------------------------------------


def content(delivery: Delivery) -> dict[str, Any]:
    """`text` for notifications and readers aloud, `blocks` for the screen."""
    message = delivery.message
    text = f"{escape(message.headline)}\n{escape(message.alert.summary)}"
    return {"text": cut(text, TEXT), "blocks": blocks(delivery)}


def blocks(delivery: Delivery) -> list[dict[str, Any]]:
    """What the message shows: at most six blocks, each within Slack's limits."""
    message = delivery.message
    title = {"type": "plain_text", "text": cut(f"{symbol(message)} {message.headline}", HEADER), "emoji": True}
    fields = [_mrkdwn(f"*{name}*\n{_value(value)}") for name, value in facts(message)][:10]
    shown = "\n".join(f"• {escape(line)}" for line in items(message, ITEMS))
    return [
        {"type": "header", "text": title},
        *([_section(escape(message.alert.summary))] if message.alert.summary else []),
        *([{"type": "section", "fields": fields}] if fields else []),
        *([_section(shown)] if shown else []),
        _section("  ·  ".join(f"<{url}|{title}>" for title, url in links(delivery))),
    ]


def symbol(message: Message) -> str:
    """The alert's state at a glance."""
    if message.alert.state == "resolved":
        return ":white_check_mark:"
    return ":eyes:" if message.alert.state == "acknowledged" else _SYMBOLS[message.alert.severity]


def escape(text: str) -> str:
    """What Slack takes for markup, as text: nothing in an alert's words mentions people or makes links."""
    return _SPECIAL.sub(lambda found: _ENTITIES[found[0]], text)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(_cut_escaped(text))}


def _cut_escaped(text: str) -> str:
    """Cut, but not in the middle of an entity."""
    return re.sub(r"&[a-z]{0,3}…$", "…", cut(text, TEXT))


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def _value(value: str) -> str:
    if is_web_address(value) and len(value) <= FIELD and not set(value) & set("|<> "):
        return f"<{value}>"
    return escape(cut(value, FIELD))


# --- answers ----------------------------------------------------------------------------------------------------------


class _Lost(Permanent):
    """The message to update is gone."""


def _judged(response: http.Response, delivery: Delivery) -> Mapping[str, Any]:
    """The answer of a method. Raises Transient, Permanent, or _Lost.

    What is not Slack's JSON came from something in between, which may or may not have passed the message on.
    """
    try:
        answer = msgspec.json.decode(response.text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Transient("the answer is not the JSON that Slack gives") from error
    if answer.get("ok") is True:
        return answer
    error_code = str(answer.get("error", "no error given"))
    said = f"Slack: {cut(error_code, 100)}"
    if error_code in _AGAIN:
        raise Transient(said, http.retry_after(response.headers.get("retry-after"), delivery.at))
    raise _Lost(said) if error_code in _LOST and "ts" in delivery.receipt else Permanent(said)
