"""Tries the way out: which routes something with these labels takes, and whether a sample arrives.

A sample goes straight to its channels, not through the outbox: whoever tries wants to see at once what comes of it. It
opens an alert that is none and ends it, so that nothing stays open with a provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, get_args

import msgspec
import sqlalchemy as sa

from alerting import channels, lifecycle, message, overrides, route
from alerting.desk import calendars_of
from alerting.explain import Totals
from alerting.limit import Event
from alerting.message import Message
from alerting.notifiers import Delivery
from alerting.signal import Kind, Signal
from alerting.text import when
from milepost.catalog.routing import Routing
from milepost.catalog.schema import Catalog, Severity
from milepost.decisions import audit
from milepost.errors import Permanent, Transient
from milepost.settings import Alerting, Settings

OWN: Final = {"kind": "sla", "rule": "test-route", "severity": "warning"}
"""What a sample's labels are unless others are given."""
TITLE: Final = "TEST, nothing is wrong: Milepost tries this route"
SUMMARY: Final = "This is a sample that somebody asked for. There is nothing to do."
_NOT_GROUP: Final = frozenset({*OWN, "owner"})


@dataclass(frozen=True, slots=True)
class Plan:
    """Where something with these labels goes now. `waiting`: routes that would be taken from a later time on."""

    labels: Mapping[str, str]
    routes: list[str]
    channels: list[str]
    waiting: Mapping[str, datetime]

    def lines(self) -> list[str]:
        """The plan in words."""
        shown = ", ".join(f"{name}={value}" for name, value in sorted(self.labels.items()))
        routes = ", ".join(self.routes) or "none matches"
        waiting = [f"Route {name} would take it from {when(at)} on" for name, at in self.waiting.items()]
        return [f"Labels: {shown}", f"Routes: {routes}", *waiting]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a sample. `said`: the failure, or what the receiver remarked."""

    channel: str
    arrived: bool
    said: str


def plan(connection: sa.Connection, catalog: Catalog, labels: Mapping[str, str], *, now: datetime) -> Plan:
    """Which routes and channels something with these labels takes, added to those of a sample."""
    routing, labels = catalog.routing, {**OWN, **labels}
    desk = overrides.desk(connection, routing, calendars_of(catalog), now)
    way = route.way(desk, labels)
    routes = [route.title(routing, index) for index in way.taken]
    waiting = {route.title(routing, index): at for index, at in way.waiting.items()}
    return Plan(labels, routes, route.channels(desk, way.taken), waiting)


def send(
    names: Iterable[str],
    labels: Mapping[str, str],
    *,
    routing: Routing,
    settings: Settings,
    environ: Mapping[str, str],
    now: datetime,
) -> list[Outcome]:
    """Send a sample to each of these channels, one after the other."""
    messages = [_sample(event, labels, settings.public_url, now) for event in ("opened", "resolved")]
    return [_try(name, messages, routing, settings.alerting, environ, now) for name in names]


def note(connection: sa.Connection, outcomes: Iterable[Outcome], *, actor: str, now: datetime) -> None:
    """Write down who sent samples where."""
    detail = {one.channel: one.said or "arrived" for one in outcomes}
    audit.record(connection, actor=actor, action="route.tested", target=", ".join(detail), now=now, detail=detail)


def _try(
    name: str,
    messages: Iterable[Message],
    routing: Routing,
    settings: Alerting,
    environ: Mapping[str, str],
    now: datetime,
) -> Outcome:
    receipt: Mapping[str, str] = {}
    remarks: list[str] = []
    try:
        notifier = channels.make(channels.find(name, routing), settings, environ)
        for each in messages:
            own = message.message_id("sample", now.isoformat(), name, each.event)
            thread = message.message_id("sample", now.isoformat(), name, "opened")
            delivery = Delivery(own, msgspec.structs.replace(each, thread=thread), now, receipt=receipt)
            taken = notifier.deliver(delivery)
            receipt = taken.receipt or receipt
            remarks += [taken.remark] if taken.remark else []
    except (Permanent, Transient) as error:
        return Outcome(name, False, str(error))
    return Outcome(name, True, "; ".join(dict.fromkeys(remarks)))


def _sample(event: Event, labels: Mapping[str, str], public_url: str, now: datetime) -> Message:
    """A message that says of itself that it is a test."""
    group = {name: value for name, value in labels.items() if name not in _NOT_GROUP}
    kind, severity = _one_of(labels, "kind", Kind), _one_of(labels, "severity", Severity)
    seed = Signal("raise", kind, labels["rule"], group, "sample", now, title=TITLE, severity=severity)
    over = event == "resolved"
    alert = lifecycle.enter(lifecycle.opened("sample", seed, now), "resolved" if over else "firing", seed.severity, now)
    totals = Totals(0 if over else 1, 1, None if over else now, "a sample")
    made = message.compose(
        event, lifecycle.count(alert, totals, now), totals, [], public_url=public_url, thread="", at=now
    )
    own = msgspec.structs.replace(made.alert, summary=SUMMARY)
    return msgspec.structs.replace(made, alert=own, items_left_out=0, url=f"{public_url}/alerts")


def _one_of(labels: Mapping[str, str], name: str, kinds: Any) -> Any:
    """A label that has only some values. Raises Permanent."""
    try:
        return msgspec.convert(labels[name], kinds)
    except msgspec.ValidationError as error:
        raise Permanent(f"label {name}: {labels[name]!r} is not one of {', '.join(get_args(kinds))}") from error
