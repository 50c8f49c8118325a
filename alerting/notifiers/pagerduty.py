"""PagerDuty Events API v2: an alert's opening triggers, its acknowledgement acknowledges, its end resolves.

`dedup_key` is the message id of the alert's opening on this channel: PagerDuty has one incident an alert, and a request
that comes twice changes nothing. Sources: developer.pagerduty.com/docs/events-api-v2 (overview, trigger-events): limits
of lengths, 202 for what was taken, 400 for what never will be, 429 and 5xx for later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from alerting.message import Message
from alerting.notifiers import NOTHING, Delivery, Taken, http
from alerting.notifiers.facts import cut, facts, is_web_address, items, links
from milepost.catalog.routing import Channel
from milepost.errors import ConfigurationError, Transient
from milepost.settings import Alerting

API: Final = "https://events.pagerduty.com/v2/enqueue"
KEY_LENGTH: Final = 32
SUMMARY: Final = 1024
ITEMS: Final = 20
_ACTIONS: Final = {"acknowledged": "acknowledge", "resolved": "resolve"}
"""Everything else triggers; on an incident that is open already PagerDuty notes it without calling anybody."""
_DONE: Final = 202


@dataclass(frozen=True, slots=True)
class PagerDuty:
    """A service's integration."""

    endpoint: http.Endpoint
    routing_key: str

    @staticmethod
    def make(channel: Channel, settings: Alerting, environ: Mapping[str, str]) -> PagerDuty:
        """From the routing key in the variable that `secret_env` names. Raises ConfigurationError."""
        key = http.secret(channel, "secret_env", environ)
        if len(key) != KEY_LENGTH or not key.isalnum():
            words = f"{channel.secret_env} holds no integration key: those have {KEY_LENGTH} letters and digits"
            raise ConfigurationError(f"channel {channel.name}: {words}")
        return PagerDuty(http.Endpoint.make(channel.url or API, settings), key)

    def deliver(self, delivery: Delivery) -> Taken:
        """Send the event; see alerting.notifiers for the contract."""
        if delivery.message.event == "digest":
            return Taken("left out: a digest is no incident")
        response = self.endpoint.post_json(event(delivery, self.routing_key), {}, now=delivery.at, answer=True)
        if response.status != _DONE or _status(response) != "success":
            raise Transient(f"the answer is not that of PagerDuty: HTTP {response.status}")
        return NOTHING


def _status(response: http.Response) -> object:
    try:
        return msgspec.json.decode(response.text, type=dict[str, Any]).get("status")
    except msgspec.DecodeError:
        return None


def event(delivery: Delivery, routing_key: str) -> dict[str, Any]:
    """The event of a message."""
    message = delivery.message
    action = _ACTIONS.get(message.event, "trigger")
    own = {"routing_key": routing_key, "event_action": action, "dedup_key": message.thread}
    if action != "trigger":
        return own
    return {**own, "client": "Milepost", "client_url": message.url, "links": _links(delivery), "payload": _pay(message)}


def _pay(message: Message) -> dict[str, Any]:
    alert = message.alert
    return {
        "summary": cut(message.headline, SUMMARY),
        "source": urlsplit(message.url).hostname or "milepost",
        "severity": alert.severity,
        "timestamp": alert.opened_at.isoformat(),
        "component": alert.rule,
        "group": ", ".join(f"{name} {value}" for name, value in sorted(alert.group.items())),
        "class": alert.kind,
        "custom_details": _details(message),
    }


def _details(message: Message) -> dict[str, Any]:
    alert = message.alert
    money = {currency or "of unknown currency": str(amount) for currency, amount in alert.money.items()}
    return {
        "summary": alert.summary,
        "open": alert.items_open,
        "at_risk": money,
        **{name.lower(): value for name, value in facts(message)},
        "items": items(message, ITEMS),
    }


def _links(delivery: Delivery) -> list[dict[str, str]]:
    runbook = delivery.message.alert.runbook or ""
    found = [*links(delivery), *([("Runbook", runbook)] if is_web_address(runbook) else [])]
    return [{"href": url, "text": text} for text, url in found]
