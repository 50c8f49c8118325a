"""From a channel of the catalog to the notifier that serves it."""

from __future__ import annotations

from collections.abc import Mapping

from alerting.notifiers import Notifier
from alerting.notifiers.email import Email
from alerting.notifiers.webhook import Webhook
from milepost.catalog.routing import Channel, Routing
from milepost.errors import ConfigurationError
from milepost.settings import Alerting


def notifier(name: str, routing: Routing, settings: Alerting, environ: Mapping[str, str]) -> Notifier:
    """The notifier of the channel of that name; secrets come from `environ`. Raises ConfigurationError."""
    channel = next((channel for channel in routing.channels if channel.name == name), None)
    if channel is None:
        raise ConfigurationError(f"channel {name} is not in the catalog any more")
    return make(channel, settings, environ)


def make(channel: Channel, settings: Alerting, environ: Mapping[str, str]) -> Notifier:
    """The notifier of a channel. Raises ConfigurationError."""
    if channel.kind == "webhook":
        return Webhook.make(channel, settings, environ)
    return Email.make(channel, settings)
