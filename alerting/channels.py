"""From a channel of the catalog to the notifier that serves it, and how fast it may be sent to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from alerting.notifiers import Notifier, Pace, slack
from alerting.notifiers.alertmanager import Alertmanager
from alerting.notifiers.apprise import Apprise
from alerting.notifiers.email import Email
from alerting.notifiers.pagerduty import PagerDuty
from alerting.notifiers.teams import Teams
from alerting.notifiers.webhook import Webhook
from milepost.catalog.oncall import channel_of
from milepost.catalog.routing import Channel, Routing
from milepost.errors import ConfigurationError
from milepost.settings import Alerting

PACES: Final[Mapping[str, Pace]] = {
    "slack": Pace(timedelta(seconds=1.25), burst=2),  # a message a second; 50 updates a minute
    "teams": Pace(timedelta(seconds=1), burst=3),  # four a second
    "pagerduty": Pace(timedelta(seconds=0.6), burst=20),  # 120 in any minute
    "apprise": Pace(timedelta(seconds=1)),  # whatever is behind it
}
"""What providers allow each channel. The others have no such limit; a Retry-After counts for all."""


def find(name: str, routing: Routing) -> Channel:
    """The channel of a name, with the person's address where it is to reach one. Raises ConfigurationError."""
    channel = channel_of(routing, name)
    if channel is None:
        raise ConfigurationError(f"channel {name} is not in the catalog any more")
    return channel


def pace_of(name: str, routing: Routing) -> Pace | None:
    """How fast a channel may be sent to; None: as fast as it takes."""
    channel = channel_of(routing, name)
    return PACES.get(channel.kind) if channel is not None else None


def make(channel: Channel, settings: Alerting, environ: Mapping[str, str]) -> Notifier:
    """The notifier of a channel; secrets come from `environ`. Raises ConfigurationError."""
    match channel.kind:
        case "webhook":
            return Webhook.make(channel, settings, environ)
        case "email":
            return Email.make(channel, settings)
        case "slack":
            return slack.make(channel, settings, environ)
        case "teams":
            return Teams.make(channel, settings, environ)
        case "pagerduty":
            return PagerDuty.make(channel, settings, environ)
        case "alertmanager":
            return Alertmanager.make(channel, settings, environ)
        case "apprise":
            return Apprise.make(channel, settings, environ)
