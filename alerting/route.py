"""Which channels hear of something with these labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from alerting.signal import Signal
from milepost.catalog.routing import Route, Routing

Labels = Mapping[str, str]


def labels_of(signal: Signal, group: Labels) -> dict[str, str]:
    """What routes match on: the signal's labels, the alert's group values, and kind, rule, severity and owner."""
    owner = {"owner": signal.owner} if signal.owner else {}
    own = {"kind": signal.kind, "rule": signal.rule, "severity": signal.severity}
    return {**signal.labels, **group, **owner, **own}


def channels_for(routing: Routing, labels: Labels) -> list[str]:
    """The channels of the first route that matches, and of further ones while they go on; each once, in order."""
    chosen: dict[str, None] = {}
    for route in routing.routes:
        if matches(route, labels):
            chosen.update(dict.fromkeys(route.channels))
            if not route.goes_on:
                break
    return list(chosen)


def channels_for_any(routing: Routing, all_labels: Iterable[Labels]) -> list[str]:
    """The channels of several things that share one alert: each is routed by itself, so that nobody is left out."""
    different = {tuple(sorted(labels.items())) for labels in all_labels}
    chosen = dict.fromkeys(name for labels in sorted(different) for name in channels_for(routing, dict(labels)))
    return list(chosen)


def matches(route: Route, labels: Labels) -> bool:
    """Every name in `match` is a label with one of the values listed."""
    return all(labels.get(name) in values for name, values in route.match.items())
