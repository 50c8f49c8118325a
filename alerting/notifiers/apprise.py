"""Apprise: whatever else its library speaks to, from one of its addresses (github.com/caronc/apprise).

The library runs in a process of its own, for one message: it bounds no exchange as a whole, so that a receiver that
answers byte by byte would hold it for ever, and it loads a hundred services. It says of a failure only what its log
says: a status of HTTP decides whether trying again may help, and what has none is tried again. It has no idempotency
key, and an address that names several recipients reaches the first of them again when the last one failed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from alerting.notifiers import NOTHING, Delivery, Taken, email_body
from alerting.notifiers.apprise_child import Order, Outcome
from alerting.notifiers.facts import cut
from alerting.notifiers.http import AGAIN, secret
from milepost.catalog.routing import Channel
from milepost.errors import ConfigurationError, Permanent, Transient, Unavailable
from milepost.settings import Alerting

CHILD: Final = "alerting.notifiers.apprise_child"
STARTING: Final = 10.0
"""Seconds that the library may take to load, beside the receiver's own time."""
_KINDS: Final = {"info": "info", "warning": "warning", "critical": "failure"}
_STATUS: Final = re.compile(r"error[=: ]+(\d{3})\b")


def in_child(order: Order) -> Outcome:
    """Have a process of its own do it. Raises Unavailable when it takes too long, or ends without a word."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", CHILD],
            input=msgspec.json.encode(order),
            capture_output=True,
            timeout=STARTING + order.timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"Apprise did not finish within {STARTING + order.timeout:g} s") from error
    try:
        return msgspec.json.decode(done.stdout, type=Outcome)
    except msgspec.DecodeError as error:
        raise Unavailable(f"Apprise ended with {done.returncode} and no outcome") from error


@dataclass(frozen=True, slots=True)
class Apprise:
    """One address of Apprise."""

    channel: str
    url: str
    timeout: float
    allow_private: bool
    run: Callable[[Order], Outcome] = in_child

    @staticmethod
    def make(channel: Channel, settings: Alerting, environ: Mapping[str, str]) -> Apprise:
        """From the variable that `url_env` names. Raises ConfigurationError."""
        url = secret(channel, "url_env", environ)
        if len(url.split()) > 1:
            raise ConfigurationError(f"channel {channel.name}: {channel.url_env} holds more than one address")
        return Apprise(channel.name, url, settings.notify_timeout, settings.allow_private_receivers)

    def deliver(self, delivery: Delivery) -> Taken:
        """Have it sent; see alerting.notifiers for the contract."""
        alert = delivery.message.alert
        kind = "success" if alert.state == "resolved" else _KINDS[alert.severity]
        body = email_body.text(delivery).partition("\n")[2].strip()
        order = Order(self.url, delivery.message.headline, body, kind, self.timeout, self.allow_private)
        outcome = self.run(order)
        if outcome.what != "sent":
            raise self._judged(outcome)
        return NOTHING

    def _judged(self, outcome: Outcome) -> Transient | Permanent:
        said = cut(outcome.said.replace(self.url, "…"), 300)
        if outcome.what == "missing":
            return ConfigurationError(
                f"channel {self.channel}: Apprise is not installed: pip install 'milepost[apprise]'"
            )
        if outcome.what == "refused":
            return ConfigurationError(f"channel {self.channel}: Apprise knows no such address: {said}")
        if outcome.what == "private":
            return Permanent(said)
        status = _STATUS.search(outcome.said)
        lasting = status is not None and 300 <= int(status[1]) < 500 and int(status[1]) not in AGAIN
        return Permanent(said) if lasting else Transient(said or "Apprise could not send it")
