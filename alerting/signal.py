"""What alerting is told: that something is wrong or right again, and what people do to alerts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from milepost.catalog.schema import Severity

Kind = Literal["sla", "objective", "anomaly", "reconciliation", "platform"]


@dataclass(frozen=True, slots=True)
class Signal:
    """Something is wrong (raise), or right again (clear).

    `kind`, `rule` and the values of `group` name the alert that it belongs to; `item` names what is wrong, unique
    within (kind, rule), such as "breach:17". Raising an open item again refreshes it. Clearing needs only kind,
    rule and item; an item that isn't open is cleared without effect. `at` is since when it is wrong, or when it was
    put right. `title` names the rule for people, `summary` is one line about this item. `labels` (warehouse, carrier,
    …) choose the route, and the value that most items share explains the wave. `amount` is the money at risk; items
    of one journey count once. With `notify` false the alert is made or extended without telling anybody. `why` says
    for a clear how it ended: late, retracted, cancelled, absorbed, withdrawn, or any other words. `heir_of`: the open
    item of the rule that goes on in this one, and is cleared next: this one takes its place in the alert, told or
    hidden as that was.
    """

    action: Literal["raise", "clear"]
    kind: Kind
    rule: str
    group: Mapping[str, str]
    item: str
    at: datetime
    summary: str = ""
    title: str = ""
    severity: Severity = "warning"
    labels: Mapping[str, str] = field(default_factory=dict)
    amount: Decimal | None = None
    currency: str | None = None
    journey_id: int | None = None
    owner: str | None = None
    runbook: str | None = None
    notify: bool = True
    why: str = ""
    heir_of: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """What a person does to an alert."""

    action: Literal["acknowledge", "resolve"]
    alert_id: int
    actor: str
    at: datetime
    reason: str = ""
