"""What alerting is told of budgets that burn. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from alerting.signal import Signal
from alerting.text import length, when
from milepost.catalog.policy import Policy
from sla.objective.budget import burn, tolerated
from sla.objective.burn import LEVELS, Level
from sla.objective.standing import Place, Standing, gravity

KIND: Final = "objective"
Item = tuple[str, str]
"""(rule, item) of an alert."""
Group = Mapping[str, str]


def item_of(place: Place) -> Item:
    """What is wrong, for alerting: one item for a policy and group, such as "carrier dhl"."""
    policy, group = place
    return policy, ", ".join(f"{name} {value}" for name, value in json.loads(group).items()) or "budget"


def signals(
    policies: Mapping[str, Policy],
    found: Iterable[Standing],
    before: Mapping[Place, Mapping[str, datetime]],
    open_items: Collection[Item],
    breaching: Mapping[str, Collection[Group]],
    now: datetime,
) -> list[Signal]:
    """Raise what has begun to burn, or burns more gravely than before; clear what is open and burns no more.

    `before`: what fired when it was judged last. What somebody resolved by hand is raised again only if it gets worse.
    `breaching`: by policy, the groups of the alerts on its breaches that are open and told.
    """
    raised = []
    burning = set()
    for one in found:
        if not one.firing:
            continue
        burning.add(item_of(one.place))
        if gravity(one.firing) < gravity(before.get(one.place, {})):
            raised.append(_raise(policies[one.place[0]], one, breaching.get(one.place[0], ())))
    return raised + [_clear(item, now) for item in sorted(set(open_items) - burning)]


def _raise(policy: Policy, one: Standing, breaching: Collection[Group]) -> Signal:
    level = LEVELS[gravity(one.firing)]
    group = json.loads(one.place[1])
    rule, item = item_of(one.place)
    return Signal(
        action="raise",
        kind=KIND,
        rule=rule,
        group=group,
        item=item,
        at=one.at,
        title=f"Error budget burns: {policy.title or policy.name}",
        summary=_summary(policy, one),
        severity=level.severity,
        labels={**group, "policy": policy.name, "burn": level.name},
        owner=policy.owner,
        runbook=policy.runbook,
        notify=_notifies(policy, level, group, breaching),
    )


def _notifies(policy: Policy, level: Level, group: Group, breaching: Collection[Group]) -> bool:
    """As of breaches, unless the objective says so itself. Nobody is paged twice: an open alert on these breaches has
    told of them already, and a budget that burns fast is the same trouble."""
    if policy.objective.alert is not None:
        return policy.objective.alert
    paged = level.severity == "critical" and any(_overlap(group, other) for other in breaching)
    return policy.notify and not paged


def _overlap(one: Group, other: Group) -> bool:
    """Whether some breach can be in both groups; one without values holds all."""
    return all(other.get(name, value) == value for name, value in one.items())


def _summary(policy: Policy, one: Standing) -> str:
    """ "32 of 150 clocks missed in 1 h, 21.3 times as many as 1 % over 30d allows; 40 % of the budget was left at 20
    Nov 2026 10:02 UTC". With the time, as it isn't told anew until it gets worse."""
    level, (count, _) = one.levels[gravity(one.firing)]
    rate = burn(count, policy.objective.target)
    allows = f"{100 - tolerated(policy.objective.target) * 100:g} % over {_window(policy)}"
    left = f"{one.budget.remaining * 100:.0f} % of the budget was left at {when(one.at)}"
    return (
        f"{count.misses} of {count.clocks} clocks missed in {length(level.long)}, {rate or 0:.1f} times as many as"
        f" {allows} allows; {left}{_forecast(one)}"
    )


def _window(policy: Policy) -> str:
    window = policy.objective.window
    return "the month" if window.length is None else window.text


def _forecast(one: Standing) -> str:
    if one.exhausted_at is None or one.budget.remaining <= 0:
        return ""
    return f", at this rate until {when(one.exhausted_at - timedelta(seconds=one.exhausted_at.second))}"


def _clear(item: Item, now: datetime) -> Signal:
    rule, name = item
    return Signal("clear", KIND, rule, {}, name, now, why="the budget no longer burns")
