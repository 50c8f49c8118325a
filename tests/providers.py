"""What providers of notifications do with a request, as their documentation describes it: a contract each, with memory.

A request that breaks the contract is refused as the provider would, and its complaint is kept. `shown` is what people
have before them in the end: two of one alert are one too many.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from tests.receivers import Request

Answered = tuple[int, Mapping[str, str], bytes]
JSON = {"Content-Type": "application/json"}


class Broken(Exception):
    """The request is not what the provider takes."""


def need(condition: object, complaint: str) -> None:
    if not condition:
        raise Broken(complaint)


@dataclass
class Provider:
    """`complaints`: how requests broke the contract."""

    complaints: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Answered:
        try:
            need(request.headers.get("content-type", "").startswith("application/json"), "content type")
            return self.take(request)
        except Broken as error:
            self.complaints.append(str(error))
            return self.refused(str(error))

    def take(self, request: Request) -> Answered:
        raise NotImplementedError

    def refused(self, why: str) -> Answered:
        return 400, {}, why.encode()

    @property
    def shown(self) -> list[Any]:
        raise NotImplementedError


# --- Slack ------------------------------------------------------------------------------------------------------------


@dataclass
class SlackApi(Provider):
    """chat.postMessage and chat.update with a bot's token, for one conversation."""

    token: str = "xoxb-1-secret"
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By ts, as they look now."""
    replies: list[dict[str, Any]] = field(default_factory=list)
    updates: int = 0

    def take(self, request: Request) -> Answered:
        need("charset=utf-8" in request.headers["content-type"], "missing_charset")
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise Broken("invalid_auth")
        body = request.json
        check_slack_message(body)
        if request.path == "/api/chat.update":
            need(body.get("channel") == "C0OPS", "channel_not_found")  # it takes ids only
            need(body.get("ts") in self.messages, "message_not_found")
            self.messages[body["ts"]] = body
            self.updates += 1
            return self._ok(body["ts"])
        need(request.path == "/api/chat.postMessage", "unknown_method")
        need(body.get("channel") in ("#ops", "C0OPS"), "channel_not_found")
        if "thread_ts" in body:
            need(body["thread_ts"] in self.messages, "thread_not_found")
            self.replies.append(body)
            return self._ok("1800000000.9")
        ts = f"18000000{len(self.messages):02}.000100"
        self.messages[ts] = body
        return self._ok(ts)

    def _ok(self, ts: str) -> Answered:
        return 200, JSON, json.dumps({"ok": True, "channel": "C0OPS", "ts": ts}).encode()

    def refused(self, why: str) -> Answered:
        return 200, JSON, json.dumps({"ok": False, "error": why}).encode()

    @property
    def shown(self) -> list[Any]:
        return list(self.messages.values())


@dataclass
class SlackWebhook(Provider):
    """An incoming webhook."""

    posts: list[Any] = field(default_factory=list)

    def take(self, request: Request) -> Answered:
        check_slack_message(request.json)
        self.posts.append(request.json)
        return 200, {}, b"ok"

    @property
    def shown(self) -> list[Any]:
        return self.posts


def check_slack_message(body: Mapping[str, Any]) -> None:
    """Block Kit's limits."""
    need(body.get("text") or body.get("blocks"), "no_text")
    need(len(body.get("text", "")) <= 40_000, "msg_too_long")
    blocks = body.get("blocks", [])
    need(len(blocks) <= 50, "invalid_blocks: more than 50")
    need(len(json.dumps(blocks, ensure_ascii=False)) <= 13_000, "msg_blocks_too_long")
    for block in blocks:
        texts = {"header": 150, "section": 3000}
        need(block["type"] in texts, f"invalid_blocks: {block['type']}")
        if "text" in block:
            _slack_text(block["text"], texts[block["type"]], plain=block["type"] == "header")
        need(len(block.get("fields", [])) <= 10, "invalid_blocks: fields")
        for one in block.get("fields", []):
            _slack_text(one, 2000, plain=False)
        need("text" in block or block.get("fields"), "invalid_blocks: empty")


def _slack_text(text: Mapping[str, Any], most: int, *, plain: bool) -> None:
    need(text["type"] == ("plain_text" if plain else "mrkdwn"), "invalid_blocks: type of text")
    need(1 <= len(text["text"]) <= most, "invalid_blocks: length of text")
    if not plain:
        for found in re.findall(r"<([^>]*)>", text["text"]):
            need(found.startswith(("http://", "https://")), f"markup: {found}")
        need(not re.search(r"&(?!amp;|lt;|gt;)", text["text"]), "an entity cut in two")


# --- Teams ------------------------------------------------------------------------------------------------------------


@dataclass
class TeamsWorkflow(Provider):
    """A workflow that posts the adaptive card of a webhook request."""

    cards: list[Any] = field(default_factory=list)

    def take(self, request: Request) -> Answered:
        need(len(request.body) <= 28 * 1024, "too large")
        body = request.json
        need(body["type"] == "message" and len(body["attachments"]) == 1, "message")
        attached = body["attachments"][0]
        need(attached["contentType"] == "application/vnd.microsoft.card.adaptive", "contentType")
        card = attached["content"]
        need(card["type"] == "AdaptiveCard" and card["version"] in ("1.2", "1.3", "1.4", "1.5"), "card")
        need(card["body"], "empty body")
        for element in [inner for outer in card["body"] for inner in outer.get("items", [outer])]:
            need(element["type"] == "RichTextBlock" and element["inlines"], element["type"])
            need(all(run["type"] == "TextRun" and run["text"] for run in element["inlines"]), "run")
        for action in card["actions"]:
            need(action["type"] == "Action.OpenUrl" and urlsplit(action["url"]).scheme == "https", "action")
        self.cards.append(card)
        return 202, {}, b""

    @property
    def shown(self) -> list[Any]:
        return self.cards


# --- PagerDuty --------------------------------------------------------------------------------------------------------


@dataclass
class PagerDutyEvents(Provider):
    """Events API v2: POST /v2/enqueue."""

    key: str = "0123456789abcdef0123456789abcdef"
    incidents: dict[str, str] = field(default_factory=dict)
    """State by dedup_key."""
    events: list[Any] = field(default_factory=list)

    def take(self, request: Request) -> Answered:
        need(len(request.body) <= 512 * 1024, "too large")
        body = request.json
        need(request.path == "/v2/enqueue", "path")
        need(body.get("routing_key") == self.key, "routing_key")
        need(0 < len(body["dedup_key"]) <= 255, "dedup_key")
        need(body["event_action"] in ("trigger", "acknowledge", "resolve"), "event_action")
        if body["event_action"] == "trigger":
            check_incident(body)
        key, state = body["dedup_key"], body["event_action"]
        self.events.append(body)
        known = self.incidents.get(key, "resolve") != "resolve"
        if state == "trigger" or known:
            self.incidents[key] = self.incidents[key] if state == "trigger" and known else state
        answer = {"status": "success", "message": "Event processed", "dedup_key": key}
        return 202, JSON, json.dumps(answer).encode()

    def refused(self, why: str) -> Answered:
        answer = {"status": "invalid event", "message": "Event object is invalid", "errors": [why]}
        return 400, JSON, json.dumps(answer).encode()

    @property
    def shown(self) -> list[Any]:
        return list(self.incidents.values())


def check_incident(body: Mapping[str, Any]) -> None:
    payload = body["payload"]
    need(0 < len(payload["summary"]) <= 1024, "summary")
    need(payload["source"], "source")
    need(payload["severity"] in ("critical", "error", "warning", "info"), "severity")
    datetime.fromisoformat(payload["timestamp"])
    need(isinstance(payload["custom_details"], dict), "custom_details")
    for link in body.get("links", []):
        need(link.keys() == {"href", "text"} and urlsplit(link["href"]).scheme in ("http", "https"), "links")


# --- Alertmanager -----------------------------------------------------------------------------------------------------


@dataclass
class AlertmanagerApi(Provider):
    """POST /api/v2/alerts, an Alertmanager's memory, told apart by labels."""

    alerts: dict[tuple[tuple[str, str], ...], dict[str, Any]] = field(default_factory=dict)

    def take(self, request: Request) -> Answered:
        need(request.path == "/api/v2/alerts", "path")
        need(isinstance(request.json, list), "a list")
        for alert in request.json:
            _check_labels(alert["labels"])
            need("alertname" in alert["labels"], "alertname")
            _check_labels(alert["annotations"])
            starts, ends = (datetime.fromisoformat(alert[name]) for name in ("startsAt", "endsAt"))
            need(starts.tzinfo and ends.tzinfo and starts <= ends, "times")
            need(urlsplit(alert["generatorURL"]).scheme in ("http", "https"), "generatorURL")
            self.alerts[tuple(sorted(alert["labels"].items()))] = alert
        return 200, {}, b""

    def firing(self, now: datetime) -> list[dict[str, Any]]:
        return [one for one in self.alerts.values() if datetime.fromisoformat(one["endsAt"]) > now]

    @property
    def shown(self) -> list[Any]:
        return list(self.alerts.values())


def _check_labels(labels: Mapping[str, Any]) -> None:
    for name, value in labels.items():
        need(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name), f"label {name}")
        need(isinstance(value, str) and value, f"value of {name}")


# --- plain webhooks, and what Apprise sends ---------------------------------------------------------------------------


@dataclass
class SignedWebhook(Provider):
    """A receiver of Standard Webhooks that acts on every id once."""

    bodies: dict[str, bytes] = field(default_factory=dict)

    def take(self, request: Request) -> Answered:
        need(request.headers["webhook-signature"].startswith("v1,"), "signature")
        before = self.bodies.setdefault(request.headers["webhook-id"], request.body)
        need(before == request.body, "another body of the same id")
        return 204, {}, b""

    @property
    def shown(self) -> list[Any]:
        return list(self.bodies)


@dataclass
class AppriseJson(Provider):
    """Apprise's own notation `json://`, which stands for any of its services."""

    posts: list[Any] = field(default_factory=list)

    def take(self, request: Request) -> Answered:
        need(request.json["type"] in ("info", "success", "warning", "failure"), "type")
        need(request.json["title"] and request.json["message"], "words")
        self.posts.append(request.json)
        return 200, {}, b""

    @property
    def shown(self) -> list[Any]:
        return self.posts


def texts(value: Any) -> Iterable[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(inner)
