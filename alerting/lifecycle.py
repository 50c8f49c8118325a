"""An alert, and what becomes of it: firing, acknowledged, resolved, firing again. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from alerting import text
from alerting.explain import Findings, Totals
from alerting.signal import Act, Signal
from milepost.catalog.schema import Severity

State = Literal["firing", "acknowledged", "resolved"]
What = Literal["opened", "reopened", "updated", "routed", "escalated", "acknowledged", "retracted", "resolved"]

GROUPS: Final = 1_000
"""So many of the groups that it took in an alert remembers."""
RANK: Final[Mapping[str, int]] = {"info": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of record.alerts. `alert_id` is 0 until it is stored; `money` is {currency: amount as text};
    `told_severity` is the highest that anybody was told of since it last fired; `findings` are explain.Findings as
    they are stored. `folded`: the keys of the groups that an alert took in, which has no group itself.
    """

    alert_id: int
    key: str
    kind: str
    rule: str
    group: Mapping[str, str]
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
    money: Mapping[str, str]
    labels: Mapping[str, str]
    owner: str | None
    runbook: str | None
    next_update_at: datetime | None
    escalation: Mapping[str, Any] | None
    escalate_at: datetime | None
    told_severity: Severity | None = None
    findings: Mapping[str, Any] = field(default_factory=dict)
    folded: Sequence[str] | None = None


def opened(key: str, seed: Signal, now: datetime) -> Alert:
    """A new alert, before anything is counted: its group, title, owner and runbook are those of its first signal."""
    return Alert(
        alert_id=0,
        key=key,
        kind=seed.kind,
        rule=seed.rule,
        group=dict(seed.group),
        state="firing",
        severity=seed.severity,
        title=text.title(seed.title or seed.rule, seed.group),
        summary="",
        opened_at=now,
        updated_at=now,
        acknowledged_at=None,
        acknowledged_by=None,
        resolved_at=None,
        resolved_by=None,
        items_open=0,
        items_total=0,
        oldest_at=None,
        money={},
        labels={},
        owner=seed.owner,
        runbook=seed.runbook,
        next_update_at=None,
        escalation=None,
        escalate_at=None,
    )


def worst(one: Severity, other: Severity) -> Severity:
    """The higher of two severities."""
    return max(one, other, key=RANK.__getitem__)


def follow(state: State | None, *, added: int, items_open: int, wider: bool = False) -> tuple[State, tuple[What, ...]]:
    """The next state after signals, and what happened. `state` None: the alert is new.

    `wider`: it took in further groups. Whoever acknowledged it did not know of these, so it fires again.
    """
    if state is None or (state == "resolved" and added):
        began: What = "opened" if state is None else "reopened"
        return ("firing", (began,)) if items_open else ("resolved", (began, "resolved"))
    if not items_open:
        return "resolved", ("resolved",)
    if state == "acknowledged" and wider:
        return "firing", ("reopened",)
    return state, ("updated",)


def take_in(alert: Alert, groups: Collection[str]) -> Alert:
    """The alert with the groups, given by their keys, that it stands for from now on."""
    if not groups:
        return alert
    return replace(alert, folded=sorted({*(alert.folded or ()), *groups})[:GROUPS])


def enter(alert: Alert, state: State, severity: Severity, now: datetime) -> Alert:
    """The alert in a state that signals brought it to. One that fires again wants attention anew."""
    if alert.state != "firing" and state == "firing":
        again = replace(alert, acknowledged_at=None, acknowledged_by=None, resolved_at=None, resolved_by=None)
        return replace(again, state=state, severity=severity, told_severity=None, updated_at=now)
    ended = now if state == "resolved" else None
    return replace(alert, state=state, severity=worst(alert.severity, severity), resolved_at=ended, updated_at=now)


def obey(alert: Alert, act: Act, now: datetime) -> tuple[Alert, tuple[What, ...]]:
    """What a person's act makes of it. An act that comes too late (resolved, or acknowledged already) does nothing."""
    if act.action == "acknowledge" and alert.state == "firing":
        known = replace(alert, state="acknowledged", acknowledged_at=now, acknowledged_by=act.actor)
        return replace(known, updated_at=now), ("acknowledged",)
    if act.action == "resolve" and alert.state != "resolved":
        return replace(alert, state="resolved", resolved_at=now, resolved_by=act.actor, updated_at=now), ("resolved",)
    return alert, ()


def know(alert: Alert, findings: Findings) -> Alert:
    """The alert with what was found out about it."""
    return replace(alert, findings=msgspec.to_builtins(findings))


def known(alert: Alert) -> Findings:
    """What was found out about it."""
    return msgspec.convert(alert.findings, Findings)


def count(alert: Alert, totals: Totals, now: datetime) -> Alert:
    """The alert with its figures and its words."""
    lasted = (alert.resolved_at or now) - alert.opened_at
    own = {"kind": alert.kind, "rule": alert.rule, "severity": alert.severity}
    return replace(
        alert,
        summary=text.summary(alert.kind, totals, known(alert), lasted=lasted, groups=len(alert.folded or ())),
        items_open=totals.items_open,
        items_total=totals.items_total,
        oldest_at=totals.oldest_at,
        money={currency: str(amount) for currency, amount in totals.money.items()},
        labels={**alert.group, **own},
    )
