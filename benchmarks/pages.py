"""Renders every page of the dashboards, each at the addresses that people open, and tells what its SQL takes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final
from unittest import mock
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from interleaved import shipment_of
from seeding import CARRIERS, CHANNELS, PARTNERS, SITES, Filled
from sqltime import SqlTime

from dashboards import routing
from dashboards.pages import PAGES
from dashboards.queries import journeys
from dashboards.session import Person
from dashboards.view import View, params_of
from milepost.db.tables import alerts, anomalies, quarantine, quarantine_groups
from milepost.decisions.catalog import CatalogCache
from milepost.settings import Settings
from milepost.wiring import web
from milepost.wiring.resources import Resources

_IDS: Final = {
    "/alerts/{}": alerts.c.alert_id,
    "/anomalies/{}": anomalies.c.anomaly_id,
    "/quarantine/{}": quarantine.c.quarantine_id,
    "/quarantine/groups/{}": quarantine_groups.c.group_id,
}


@dataclass(slots=True)
class Measured:
    """By page: p50, p95 and the greatest in milliseconds, and the number of statements; the pages left out."""

    spent: dict[str, dict[str, float]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


class Pages:
    """The application's own pages, on the database of `engine` as it was when its last event came."""

    def __init__(self, engine: sa.Engine, filled: Filled, chance: random.Random) -> None:
        self._engine, self._filled, self._chance = engine, filled, chance
        settings = Settings.load({"MILEPOST_SECRET": "x" * 32})
        resources = Resources(settings, engine, CatalogCache(clock=lambda: filled.now), lambda: filled.now)
        with mock.patch.object(routing, "register") as register:
            web.dashboards_app(resources)
        _, self._context, self._router = register.call_args.args

    def measure(self, sql: SqlTime, renderings: int) -> Measured:
        result = Measured()
        times: dict[str, list[tuple[float, int]]] = {}
        for address in self._addresses(renderings):
            page, view = self._view(address)
            name = page.name
            with sql.of(name) as spent:
                page.frame(self._context, view)
                page.body(self._context, view)
            times.setdefault(name, []).append((spent.milliseconds, spent.statements))
        for name, pairs in times.items():
            spent_ms = sorted(pair[0] for pair in pairs)
            result.spent[name] = {
                "p50": _at(spent_ms, 0.5),
                "p95": _at(spent_ms, 0.95),
                "max": _at(spent_ms, 1),
                "statements": max(pair[1] for pair in pairs),
                "renderings": len(pairs),
            }
        result.unknown = [page.name for page in PAGES if page.name not in times]
        return result

    def _view(self, address: str) -> tuple[Any, View]:
        parts = urlsplit(address)
        page, named = self._router.find(parts.path)
        person = Person("bench", "admin")
        return page, View(parts.path, params_of(parts.query), person, ZoneInfo("UTC"), self._filled.now, named)

    def _addresses(self, renderings: int) -> Iterator[str]:
        """Addresses of every page, in no order: lists as they are, filtered and sorted; single things at random."""
        plain = [page.pattern.removesuffix("/?") or "/" for page in PAGES if "(" not in page.pattern]
        made = [*plain * max(2, renderings // 2), *self._lists(), *self._orders(renderings)]
        for form, column in _IDS.items():
            with self._engine.connect() as connection:
                ids = connection.scalars(sa.select(column).limit(renderings)).all()
            made += [form.format(number) for number in ids]
        self._chance.shuffle(made)
        return iter(made)

    def _orders(self, renderings: int) -> Iterator[str]:
        for _ in range(renderings):
            number = self._chance.randrange(self._filled.orders)
            yield f"/journeys/order/S{number:07d}"
            yield f"/journeys/shipment/1Z{shipment_of(number):08d}"

    def _lists(self) -> Iterator[str]:
        """Lists of journeys, of alerts and the overview with what their filters offer, and forms."""
        states, kinds = (*journeys.STATES, "any"), ("order", "shipment", "any")
        for kind, state, sort in product(kinds, states, journeys.ORDERS):
            yield f"/journeys?kind={kind}&state={state}&sort={sort}"
        for kind, health, sort in product(kinds, journeys.HEALTHS, journeys.ORDERS):
            yield f"/journeys?kind={kind}&health={health}&sort={sort}"
        for stage, sort in product(("none", "received", "packed", "delivered", "acknowledged"), journeys.ORDERS):
            yield f"/journeys?stage={stage}&sort={sort}"
        for values, state, sort in product(self._filters(), states, ("last_at", "started_at", "due", "amount")):
            query = "&".join(f"{name}={value}" for name, value in values.items())
            yield f"/journeys?{query}&state={state}&sort={sort}"
        for number in range(20):
            yield f"/journeys?kind=any&state=any&q=S{self._chance.randrange(self._filled.orders):07d}"
            yield f"/journeys?q=S{number:04d}"
        for state, severity in product(("open", "firing", "resolved", "any"), ("critical", "warning", "")):
            yield f"/alerts?state={state}&severity={severity}"
        for kind in ("order", "shipment"):
            yield f"/?kind={kind}"
        for act in ("cut", "exclude", "merge", "lift", "split"):
            yield f"/decisions/new/{act}"
        for name in self._context.catalog().reconciliations:
            yield f"/reconciliation/{name}"

    def _filters(self) -> Sequence[Mapping[str, str]]:
        """Values that many have, that few have, that nobody has, and several at once."""
        return [
            {"channel": CHANNELS[0]},
            {"warehouse": SITES[0]},
            {"carrier": CARRIERS[0], "channel": CHANNELS[1]},
            {"partner": PARTNERS[0], "channel": CHANNELS[0], "warehouse": SITES[0], "carrier": CARRIERS[0]},
            {"warehouse": "nowhere"},
        ]


def _at(values: Sequence[float], share: float) -> float:
    return round(values[int(share * (len(values) - 1))], 1)
