"""Steps for the scheduler: look at every flow, open and end breaches, tell alerting. Each is one transaction.

A look costs what sources, types of events and open breaches there are; a backlog, which reads the journeys that are
open, is counted once a minute or, where that takes long, more rarely.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from alerting import commands
from alerting.commands import Signal
from alerting.inhibit import FLOW
from milepost.calendar import Calendar, calendar_of
from milepost.catalog import flow
from milepost.catalog.flow import FlowPolicy, Rate, Silence
from milepost.catalog.schema import Catalog
from milepost.db.engine import transaction_lock
from milepost.inbox import heard
from sla.flow import store
from sla.flow.learn import Learner
from sla.flow.reading import Look, Reading, State, backlogs, cutoff, length, rates, silences
from sla.flow.store import Open

LOCK: Final = "sla.flow"
LONG: Final = timedelta(seconds=60)
"""How often a backlog is counted, which reads all journeys of the model that are open …"""
RESTS: Final = 100
"""… and so many times as long as it takes passes in between at least: a hundredth of the time goes into it, at most."""
_TITLES: Final[Mapping[str, str]] = {
    "silence": "Feed dark",
    "rate": "Too much goes wrong",
    "backlog": "A backlog grows",
}
_ENDS: Final[Mapping[str, str]] = {
    "silence": "it speaks again",
    "rate": "below the limit again",
    "backlog": "below the limit again",
}


def learn_once(engine: sa.Engine, catalog: Catalog, learner: Learner, *, now: datetime) -> bool:
    """Learn anew what is usual, when it is time. Was there something to do?"""
    with engine.begin() as connection:
        return transaction_lock(connection, LOCK) and learner.step(connection, catalog, now)


def judge_once(engine: sa.Engine, catalog: Catalog, *, now: datetime, applied_through: datetime) -> int:
    """Look at all flows; how many breaches opened or ended. Another process at it: none.

    What is wrong is judged at `applied_through`, the receive time up to which all evidence is applied.
    """
    with engine.begin() as connection:
        if not transaction_lock(connection, LOCK):
            return 0
        step = _Step(connection, catalog, now, min(now, applied_through), store.open_breaches(connection))
        signals = [*step.withdraw(), *step.judge()]
        commands.send(connection, signals, now=now)
        return len(signals)


@dataclass(frozen=True, slots=True)
class _Step:
    """One look."""

    connection: sa.Connection
    catalog: Catalog
    now: datetime
    at: datetime
    open: Mapping[tuple[str, str], Open]
    took: dict[str, float] = field(default_factory=dict)
    """Seconds that it took to count each backlog."""

    def withdraw(self) -> Iterator[Signal]:
        """What the catalog no longer asks for, or asks for otherwise: it is judged anew."""
        versions = {policy.name: self.catalog.policy_versions[policy.name] for policy in self.catalog.flows}
        for one in self.open.values():
            if one.policy not in versions:
                yield self._end(one, "withdrawn", None)

    def judge(self) -> Iterator[Signal]:
        states = store.states(self.connection)
        policies = {policy.name: policy for policy in self.catalog.flows}
        changed: list[State] = []
        gone = [key for key in states if key[0] not in policies]
        look = self._look(states)
        for policy in self.catalog.flows:
            readings = self._readings(policy, look)
            if readings is None:
                continue
            changed.append(replace(look.whole(policy), value=self.took.get(policy.name)))
            found: set[str] = set()
            for reading in readings:
                found.add(reading.item)
                if reading.state is not None and reading.state != states.get((policy.name, reading.item)):
                    changed.append(reading.state)
                elif reading.state is None and (policy.name, reading.item) in states:
                    gone.append((policy.name, reading.item))
                yield from self._verdict(policy, reading)
            # of what nobody speaks any more: the source was taken out of the policy
            for (name, item), one in self.open.items():
                if name == policy.name and item not in found:
                    yield self._end(one, "withdrawn", None)
        store.save(self.connection, changed, gone)

    def _look(self, states: Mapping[tuple[str, str], State]) -> Look:
        policies = self.catalog.flows
        whole = [one for one in policies if isinstance(one, Silence) and not (one.events or one.match)]
        counts = [one for one in policies if isinstance(one, Rate) or (isinstance(one, Silence) and one not in whole)]
        dimensions = {name for one in counts if (name := flow.dimension_of(one)) is not None}
        return Look(
            at=self.at,
            calendar=_calendars(self.catalog),
            states=states,
            breached=frozenset(self.open),
            heard=heard.last_heard(self.connection) if whole else {},
            usual=heard.usual_gaps(self.connection, self.at) if whole else {},
            counted=store.counted(self.connection, self.at, dimensions) if counts else [],
        )

    def _readings(self, policy: FlowPolicy, look: Look) -> Iterable[Reading] | None:
        """None: it is not yet time for it."""
        if isinstance(policy, Silence):
            return silences(policy, look)
        if isinstance(policy, Rate):
            return rates(policy, look)
        before = look.states.get((policy.name, ""))
        if before is not None and timedelta(0) <= self.at - before.judged_at < _rest(before.value):
            return None
        since = cutoff(policy, look.calendar(policy), self.at)
        model, begun = self.catalog.models[policy.model], time.monotonic()
        groups = store.backlog(self.connection, policy, model, since)
        self.took[policy.name] = time.monotonic() - begun
        return backlogs(policy, look, groups)

    # --- verdicts -----------------------------------------------------------------------------------------------------

    def _verdict(self, policy: FlowPolicy, reading: Reading) -> Iterator[Signal]:
        one = self.open.get((policy.name, reading.item))
        if one is None and reading.since is not None:
            yield self._raise(policy, reading, reading.since)
        elif one is not None and reading.since is None:
            yield self._end(one, _ENDS[_kind(policy)], reading.measured)

    def _raise(self, policy: FlowPolicy, reading: Reading, since: datetime) -> Signal:
        breach_id = store.open_breach(
            self.connection,
            {
                "policy": policy.name,
                "policy_version": self.catalog.policy_versions[policy.name],
                "kind": _kind(policy),
                "item": reading.item,
                "severity": policy.severity,
                "since": since,
                "judged_at": self.at,
                "opened_at": self.now,
                "dimensions": dict(reading.labels),
                "measured": {**reading.measured, "says": reading.says},
            },
        )
        return Signal(
            action="raise",
            kind="sla",
            rule=policy.name,
            group={name: reading.labels.get(name, "unknown") for name in policy.group_by},
            item=item(breach_id),
            at=since,
            summary=reading.says,
            title=policy.title or _TITLES[_kind(policy)],
            severity=policy.severity,
            labels=reading.labels,
            amount=reading.amount,
            currency=reading.currency,
            owner=policy.owner,
            runbook=policy.runbook,
            notify=policy.notify and self.now - since < length(policy.notify_within),
        )

    def _end(self, one: Open, how: str, measured: Mapping[str, Any] | None) -> Signal:
        store.end(self.connection, one, how, measured, self.now)
        return Signal("clear", "sla", one.policy, {}, item(one.breach_id), self.now, why=how)


def item(breach_id: int) -> str:
    """The alert's item of a flow's breach."""
    return f"{FLOW}{breach_id}"


def _rest(took: float | None) -> timedelta:
    """How long after a look at a backlog, which took so many seconds, the next one is due."""
    return max(LONG, timedelta(seconds=RESTS * (took or 0.0)))


def _kind(policy: FlowPolicy) -> str:
    return type(policy).__name__.lower()


def _calendars(catalog: Catalog) -> Any:
    @cache
    def of(name: str) -> Calendar:
        return calendar_of(name, catalog.calendars[name])

    return lambda policy: of(policy.calendar)
