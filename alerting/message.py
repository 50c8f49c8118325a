"""What a notification says, whatever the channel: stored with the outbox row, rendered by notifiers. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from alerting import lifecycle, text
from alerting.explain import Change, Totals
from alerting.lifecycle import Alert, State
from alerting.limit import Event
from milepost.catalog.schema import Severity

ITEMS_SHOWN: Final = 20


class Related(Struct, frozen=True):
    """Another alert that opened about the same time; `shared`: labels and values that it has in common with this."""

    id: int
    title: str
    shared: dict[str, str]
    url: str


class AlertView(Struct, frozen=True):
    """An alert as receivers see it. `money`: {currency: amount}, `oldest_at`: since when the oldest item is wrong.

    `journeys` of kind `model` are in it, of so many `customers`; `journeys_url` lists exactly these. `cause`: what
    explains the wave, in words. `before`: what changed before the trouble began, the latest first.
    """

    id: int
    key: str
    kind: str
    rule: str
    group: dict[str, str]
    state: State
    severity: Severity
    title: str
    summary: str
    opened_at: datetime
    updated_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    items_open: int
    items_total: int
    oldest_at: datetime | None
    money: dict[str, Decimal]
    owner: str | None
    runbook: str | None
    model: str = ""
    journeys: int = 0
    journeys_url: str | None = None
    customers: int = 0
    cause: str | None = None
    before: list[Change] = []
    related: list[Related] = []


class ItemView(Struct, frozen=True):
    """One of the alert's items. `since`: from when it is wrong."""

    item: str
    summary: str
    since: datetime
    cleared_why: str | None
    labels: dict[str, str]
    amount: Decimal | None
    currency: str | None


class Message(Struct, frozen=True):
    """One notification, of what happened at `at`. `items` holds the oldest ITEMS_SHOWN, `items_left_out` counts the
    others. `thread` is the message id of the alert's opening on this channel; `url` the alert's page.
    """

    event: Event
    at: datetime
    headline: str
    alert: AlertView
    items: list[ItemView]
    items_left_out: int
    url: str
    thread: str


# Made here so that msgspec knows these types before the pipeline's thread and the sender's use them: meeting a type for
# the first time in two threads at once crashes the process.
_known: Final = msgspec.json.Decoder(Message)


def compose(
    event: Event,
    alert: Alert,
    totals: Totals,
    items: list[ItemView],
    *,
    public_url: str,
    thread: str,
    at: datetime,
    related: Sequence[Related] = (),
) -> Message:
    """The message of an event. `items`: the oldest ones, ITEMS_SHOWN at most."""
    return Message(
        event=event,
        at=at,
        headline=text.headline(event, alert.severity, alert.title, totals),
        alert=view(alert, public_url=public_url, related=related),
        items=items,
        items_left_out=max(0, totals.items - len(items)),
        url=f"{public_url}/alerts/{alert.alert_id}",
        thread=thread,
    )


def headed(message: Message, event: Event, totals: Totals) -> Message:
    """The message with the headline of another event."""
    line = text.headline(event, message.alert.severity, message.alert.title, totals)
    return msgspec.structs.replace(message, headline=line)


def view(alert: Alert, *, public_url: str = "", related: Sequence[Related] = ()) -> AlertView:
    """What receivers see of an alert."""
    fields = {name: getattr(alert, name) for name in AlertView.__struct_fields__ if hasattr(alert, name)}
    known = lifecycle.known(alert)
    found = {
        "model": known.model,
        "journeys": known.journeys,
        "journeys_url": public_url + journeys_path(alert.alert_id) if known.journeys else None,
        "customers": known.customers,
        "cause": text.because(known.cause, known.model) if known.cause else None,
        "before": msgspec.to_builtins(known.before),
        "related": msgspec.to_builtins(list(related)),
    }
    return msgspec.convert({"id": alert.alert_id, **fields, **found}, AlertView)


def journeys_path(alert_id: int) -> str:
    """The page that lists the journeys of an alert's open items, or of all of them once none is."""
    return f"/journeys?alert={alert_id}&kind=any&state=any"


def message_id(*parts: object) -> str:
    """A message's id, which is its idempotency key at the receiver: the same parts always give the same id."""
    return "msg_" + uuid.uuid5(uuid.NAMESPACE_OID, "|".join(str(part) for part in parts)).hex
