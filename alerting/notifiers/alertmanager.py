"""Prometheus Alertmanager: alerts as its API v2 takes them (POST /api/v2/alerts).

Alertmanager tells alerts apart by their labels and forgets those that it doesn't hear of any more, so they are sent
again every minute while they fire, and for five minutes after they ended (alerting/resend.py). A request that comes
twice changes nothing. Sources: prometheus.io/docs/alerting/latest/alerts_api and /clients; Prometheus itself, which
says of a firing alert that it ends a few minutes from now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from alerting.message import Message
from alerting.notifiers import Delivery, Taken, http
from alerting.notifiers.facts import facts, items
from milepost.catalog.routing import Channel
from milepost.settings import Alerting

PATH: Final = "/api/v2/alerts"
EVERY: Final = timedelta(minutes=1)
"""How often a firing alert is told again; Alertmanager wants 30 seconds to 3 minutes."""
LASTS: Final = timedelta(minutes=5)
"""So long Alertmanager takes an alert for firing after it last heard of it, and hears of one that is over."""
ITEMS: Final = 20
_NO_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """An Alertmanager. `authorization`: the whole header, where it wants one."""

    endpoint: http.Endpoint
    authorization: str = ""

    @staticmethod
    def make(channel: Channel, settings: Alerting, environ: Mapping[str, str]) -> Alertmanager:
        """From its address, with or without the path. Raises ConfigurationError."""
        base = (channel.url or "").rstrip("/").removesuffix(PATH)
        authorization = http.secret(channel, "secret_env", environ) if channel.secret_env else ""
        return Alertmanager(http.Endpoint.make(base + PATH, settings), authorization)

    def deliver(self, delivery: Delivery) -> Taken:
        """Send it; see alerting.notifiers for the contract."""
        message = delivery.message
        if message.event == "digest":
            return Taken("left out: a digest is no alert")
        told = [alert(message, delivery.at, delivery.acknowledge_url)]
        before = delivery.receipt.get("severity", message.alert.severity)
        if before != message.alert.severity:
            # its severity is one of its labels: to Alertmanager this is another alert, and the one it had is over
            told.append({**told[0], "labels": labels(message, before), "endsAt": delivery.at.isoformat()})
        self.send(told, delivery.at)
        return Taken(receipt={"severity": message.alert.severity})

    def send(self, alerts: Iterable[Mapping[str, Any]], now: datetime) -> None:
        """Send alerts; raises what `deliver` raises."""
        headers = {"Authorization": self.authorization} if self.authorization else {}
        self.endpoint.post_json(list(alerts), headers, now=now)


def alert(message: Message, now: datetime, acknowledge_url: str = "") -> dict[str, Any]:
    """An alert as Alertmanager takes it."""
    view = message.alert
    ends_at = view.resolved_at or now + LASTS
    return {
        "labels": labels(message, view.severity),
        "annotations": _annotations(message, acknowledge_url),
        "startsAt": view.opened_at.isoformat(),
        "endsAt": ends_at.isoformat(),
        "generatorURL": message.url,
    }


def labels(message: Message, severity: str) -> dict[str, str]:
    """What tells the alert apart: rule, kind and group, as long as its severity stays."""
    view = message.alert
    group = {_label(name): value for name, value in view.group.items() if value}
    return {**group, "alertname": view.rule, "kind": view.kind, "severity": severity, "job": "milepost"}


def _label(name: str) -> str:
    """A name as Prometheus's data model allows it: letters, digits and underscores, not beginning with a digit."""
    plain = _NO_LABEL.sub("_", name)
    return f"_{plain}" if plain[:1].isdigit() else plain


def _annotations(message: Message, acknowledge_url: str) -> dict[str, str]:
    view = message.alert
    given = {
        "title": view.title,
        "summary": view.summary,
        "items": "\n".join(items(message, ITEMS)),
        "acknowledge_url": acknowledge_url,
        **{_label(name.lower()): value for name, value in facts(message)},
    }
    given["runbook_url"] = given.pop("runbook", "")
    return {name: value for name, value in given.items() if value}
