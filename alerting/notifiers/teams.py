"""Microsoft Teams: an adaptive card for each notification, through a workflow's webhook.

The workflow is "Post to a channel when a webhook request is received"; its address is a secret. A webhook can't change
what was posted, and knows no idempotency key: a card whose answer was lost is posted again.
Sources: learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors (how-to/connectors-using,
how-to/add-incoming-webhook: message format, 28 KB a message, four requests a second), adaptivecards.io.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from alerting.notifiers import NOTHING, Delivery, Taken, http
from alerting.notifiers.facts import cut, facts, items, links
from milepost.catalog.routing import Channel
from milepost.errors import Permanent, Transient
from milepost.settings import Alerting

MOST_BYTES: Final = 27_000
"""Teams takes 28 KB a message."""
TEXT: Final = 2000
LINE: Final = 500
ITEMS: Final = 10
_STYLES: Final = {"info": "accent", "warning": "warning", "critical": "attention"}
_FAILED: Final = "Webhook message delivery failed"
"""How connectors report a failure behind them, with HTTP 200."""


@dataclass(frozen=True, slots=True)
class Teams:
    """A workflow's webhook."""

    endpoint: http.Endpoint

    @staticmethod
    def make(channel: Channel, settings: Alerting, environ: Mapping[str, str]) -> Teams:
        """From the variable that `url_env` names. Raises ConfigurationError."""
        return Teams(http.Endpoint.make(http.secret_url(channel, environ), settings))

    def deliver(self, delivery: Delivery) -> Taken:
        """Post the card; see alerting.notifiers for the contract."""
        response = self.endpoint.post_json(payload(delivery), {}, now=delivery.at, answer=True)
        if _FAILED in response.text:
            said = cut(response.text, 200)
            raise Transient(said) if "error 429" in said or "error 5" in said else Permanent(said)
        return NOTHING


def payload(delivery: Delivery) -> dict[str, Any]:
    """The message with its card, with as many items as fit."""
    made = _payload(delivery, ITEMS)
    for shown in range(ITEMS - 1, -1, -1):
        if len(msgspec.json.encode(made)) <= MOST_BYTES:
            break
        made = _payload(delivery, shown)
    return made


def _payload(delivery: Delivery, shown: int) -> dict[str, Any]:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": cut(delivery.message.headline, LINE),
        "msteams": {"width": "Full"},
        "body": _body(delivery, shown),
        "actions": [{"type": "Action.OpenUrl", "title": title, "url": url} for title, url in links(delivery)],
    }
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "contentUrl": None, "content": card}]}


def _body(delivery: Delivery, shown: int) -> list[dict[str, Any]]:
    """Runs of text, as these hold no markup: an alert's words make no links."""
    message = delivery.message
    alert = message.alert
    style = "good" if alert.state == "resolved" else _STYLES[alert.severity]
    head = _text(cut(message.headline, LINE), weight="Bolder", size="Large")
    named = [_text(f"{name}: ", cut(value, LINE), spacing="Small") for name, value in facts(message)]
    lines = [_text(f"• {cut(line, LINE)}", spacing="Small") for line in items(message, shown)]
    return [
        {"type": "Container", "style": style, "bleed": True, "items": [head]},
        *([_text(cut(alert.summary, TEXT))] if alert.summary else []),
        *named,
        *lines,
    ]


def _text(first: str, then: str = "", *, spacing: str = "Default", **given: str) -> dict[str, Any]:
    runs: list[dict[str, Any]] = [{"type": "TextRun", "text": first, **given}]
    if then:
        runs = [{"type": "TextRun", "text": first, "weight": "Bolder"}, {"type": "TextRun", "text": then}]
    return {"type": "RichTextBlock", "spacing": spacing, "inlines": runs}
