"""Many signals, one alert: which signal belongs to which alert, and what a batch of signals does to each. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field

from alerting.lifecycle import worst
from alerting.signal import Signal
from milepost.catalog.schema import Severity

ItemId = tuple[str, str, str]
"""(kind, rule, item)"""


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


def key_of(kind: str, rule: str, group: Mapping[str, str]) -> str:
    """The alert's key: canonical text of kind, rule and the group's values."""
    return json.dumps([kind, rule, dict(sorted(group.items()))], ensure_ascii=False, separators=(",", ":"))


def identify(signal: Signal) -> ItemId:
    return signal.kind, signal.rule, signal.item


def fold(signals: Iterable[Signal], open_items: MutableMapping[ItemId, str]) -> dict[str, Batch]:
    """What the signals do, in their order, by alert key.

    `open_items` gives the key of the alert that holds each open item, and is carried on: an item stays with the alert
    that it opened in, whatever its group says later. A clear of an item that isn't open does nothing.
    """
    batches: dict[str, Batch] = {}
    for signal in signals:
        known = open_items.get(identify(signal))
        if signal.action == "clear" and known is None:
            continue
        key = known or key_of(signal.kind, signal.rule, signal.group)
        batch = batches.setdefault(key, Batch(key, signal, signal.severity))
        if signal.action == "raise":
            _raise(batch, signal, fresh=known is None)
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


def _clear(batch: Batch, signal: Signal) -> None:
    batch.cleared[signal.why] += 1
    batch.loud.pop(signal.item, None)
    if signal.notify:
        batch.over.add(signal.item)
    raised = batch.raised.get(signal.item)
    if raised is None:
        batch.ended[signal.item] = signal.why
    else:
        batch.raised[signal.item] = Item(raised.signal, signal.why)
