"""Many signals, one alert: which signal belongs to which alert, and what a batch of signals does to each. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from alerting.lifecycle import worst
from alerting.signal import Signal
from milepost.catalog.schema import Severity

ItemId = tuple[str, str, str]
"""(kind, rule, item)"""
Rule = tuple[str, str]
"""(kind, rule)"""
TOGETHER: Final = ("sla", "objective", "anomaly")
"""Kinds of alerts of which one cause may open many. What is wrong with Milepost itself is always told apart."""
LATELY: Final = timedelta(seconds=5)
"""Groups that open within this time do so at once."""
WIDENS: Final = timedelta(minutes=10)
"""So long, and while it fires, an alert of several groups takes in each further one."""
LONGEST: Final = 128
"""So much of a value is in an alert's key as it is; of more, its hash is too."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was raised, as the batch leaves it. `ended`: why it was cleared; None while it is wrong."""

    signal: Signal
    ended: str | None = None


@dataclass(slots=True)
class Batch:
    """What a batch of signals does to the alert `key`."""

    key: str
    seed: Signal
    severity: Severity
    added: int = 0
    cleared: Counter[str] = field(default_factory=Counter)
    raised: dict[str, Item] = field(default_factory=dict)
    """By item: raised in this batch, new or again, and perhaps cleared."""
    ended: dict[str, str] = field(default_factory=dict)
    """By item that was open before: why it was cleared."""
    loud: dict[str, Signal] = field(default_factory=dict)
    """By item: raised in this batch, still open, and to be told to people."""
    fresh: set[str] = field(default_factory=set)
    """Items raised in this batch that were not open before."""
    over: set[str] = field(default_factory=set)
    """Items whose end is worth telling."""
    heirs: dict[str, str] = field(default_factory=dict)
    """By item raised in this batch: the one from before that goes on in it, known to people or hidden."""
    passed_on: set[str] = field(default_factory=set)
    """Items that go on in others."""
    groups: set[str] = field(default_factory=set)
    """Keys of the groups of items raised in this batch that the alert takes in, as it is one of several groups."""


def key_of(kind: str, rule: str, group: Mapping[str, str]) -> str:
    """The alert's key: canonical text of kind, rule and the group's values. Longer ones are cut: it is indexed."""
    values = {name: _cut(value) for name, value in sorted(group.items())}
    return json.dumps([kind, rule, values], ensure_ascii=False, separators=(",", ":"))


def _cut(value: str) -> str:
    if len(value) <= LONGEST:
        return value
    return f"{value[:LONGEST]}… {hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()[:16]}"


def identify(signal: Signal) -> ItemId:
    return signal.kind, signal.rule, signal.item


def ancestor(signal: Signal) -> ItemId:
    """The item that goes on in it; none is called so where it is no heir."""
    return signal.kind, signal.rule, signal.heir_of


@dataclass(frozen=True, slots=True)
class Standing:
    """The alerts of a rule as they stand, by their keys.

    `own`: open ones with a group of their own; `lately`: so many of these opened just now. `taken`: the groups in the
    open alert of several groups, None without one; while it `widens`, it takes in any other.
    """

    own: Collection[str] = ()
    lately: int = 0
    taken: Collection[str] | None = None
    widens: bool = False


NOTHING: Final = Standing()


def together(signals: Iterable[Signal], standing: Mapping[Rule, Standing], at_once: int) -> set[str]:
    """Which groups go into the one alert that their policy has for several: the keys that they would have themselves.

    Of one policy at most `at_once` groups open alerts of their own within LATELY. Where there are more, one alert takes
    them all in, and with them each further group for a while; a group that it took in stays there until it is over.
    """
    new: defaultdict[Rule, set[str]] = defaultdict(set)
    for signal in signals:
        if signal.kind in TOGETHER and signal.group and signal.action == "raise":
            new[signal.kind, signal.rule].add(key_of(signal.kind, signal.rule, signal.group))
    return {key for rule, keys in new.items() for key in _taken_in(keys, standing.get(rule, NOTHING), at_once)}


def _taken_in(keys: Collection[str], standing: Standing, at_once: int) -> Collection[str]:
    fresh = {key for key in keys if key not in standing.own}
    joins = set() if standing.taken is None else {key for key in fresh if standing.widens or key in standing.taken}
    return fresh if len(fresh - joins) + standing.lately > at_once else joins


def fold(
    signals: Iterable[Signal], open_items: MutableMapping[ItemId, str], together: Collection[str] = ()
) -> dict[str, Batch]:
    """What the signals do, in their order, by alert key.

    `open_items` gives the key of the alert that holds each open item, and is carried on: an item stays with the alert
    that it opened in, whatever its group says later, and so does its heir. A clear of an item that isn't open does
    nothing. New items of the groups in `together` belong to the alert of all groups of their rule.
    """
    batches: dict[str, Batch] = {}
    for signal in signals:
        known = open_items.get(identify(signal))
        if signal.action == "clear" and known is None:
            continue
        inherited = open_items.get(ancestor(signal)) if known is None else None
        own = key_of(signal.kind, signal.rule, signal.group)
        joins = known is None and inherited is None and own in together
        key = known or inherited or (key_of(signal.kind, signal.rule, {}) if joins else own)
        if key not in batches:
            batches[key] = Batch(key, replace(signal, group={}) if joins else signal, signal.severity)
        batch = batches[key]
        if joins:
            batch.groups.add(own)
        if signal.action == "raise":
            if inherited is None:
                _raise(batch, signal, fresh=known is None)
            else:
                _inherit(batch, signal)
            open_items[identify(signal)] = key
        else:
            _clear(batch, signal)
            del open_items[identify(signal)]
    return batches


def _raise(batch: Batch, signal: Signal, *, fresh: bool) -> None:
    batch.raised[signal.item] = Item(signal)
    batch.added += fresh
    if fresh:
        batch.fresh.add(signal.item)
    batch.severity = worst(batch.severity, signal.severity)
    if signal.notify:
        batch.loud[signal.item] = signal


def _inherit(batch: Batch, signal: Signal) -> None:
    """What nobody could hear of yet, as it was raised in this batch, is told by its heir."""
    if signal.heir_of in batch.fresh:
        _raise(batch, replace(signal, notify=batch.raised[signal.heir_of].signal.notify), fresh=True)
        return
    batch.raised[signal.item] = Item(signal)
    batch.ended.pop(signal.item, None)
    batch.severity = worst(batch.severity, signal.severity)
    batch.heirs[signal.item] = batch.heirs.get(signal.heir_of, signal.heir_of)
    batch.passed_on.add(signal.heir_of)


def _clear(batch: Batch, signal: Signal) -> None:
    batch.cleared[signal.why] += 1
    batch.loud.pop(signal.item, None)
    if signal.notify and signal.item not in batch.passed_on:
        batch.over.add(signal.item)
    raised = batch.raised.get(signal.item)
    if raised is None:
        batch.ended[signal.item] = signal.why
    else:
        batch.raised[signal.item] = Item(raised.signal, signal.why)
