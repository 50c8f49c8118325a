"""The network that is simulated: who takes orders, who fulfils them, who carries them, and how fast each usually is."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from random import Random
from typing import Final

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86_400.0

ODOO: Final = "odoo"
MIDDLEWARE: Final = "/mw"
EDI_GATEWAY: Final = "/edi"


@dataclass(frozen=True, slots=True)
class Spread:
    """A log-normal duration: its median in seconds, and the deviation of its logarithm."""

    median: float
    sigma: float

    def draw(self, rng: Random) -> float:
        return rng.lognormvariate(log(self.median), self.sigma)


@dataclass(frozen=True, slots=True)
class Channel:
    """Where orders come from. `promise`: days from order to promised delivery; `payment`: days from invoice to payment.

    `amount`: an order's usual size, in money.
    """

    name: str
    source: str
    share: float
    amount: Spread
    confirm: Spread
    promise: int
    payment: float


@dataclass(frozen=True, slots=True)
class Partner:
    """A business customer; `first_po` is where its own numbers begin. Partners' numbers overlap, as they do."""

    name: str
    currency: str
    first_po: int


@dataclass(frozen=True, slots=True)
class Warehouse:
    """`skew`: how many seconds its clock is ahead."""

    name: str
    source: str
    share: float
    release: Spread
    pick: Spread
    pack: Spread
    skew: float


@dataclass(frozen=True, slots=True)
class Carrier:
    """`trucks`: when they leave, in hours after the network's daily anchor. `days`: shares of transit in 1, 2, 3 days.

    `feed_every`: its events come in batches, that many seconds apart.
    """

    name: str
    source: str
    share: float
    trucks: tuple[float, ...]
    scan: Spread
    days: tuple[float, float, float]
    feed_every: float
    skew: float
    label: str


SHOPIFY: Final = Channel("shopify", "/shop/shopify", 0.5, Spread(72, 0.7), Spread(12 * MINUTE, 0.9), 4, 4)
MARKETPLACE: Final = Channel("marketplace", "/marketplace", 0.22, Spread(49, 0.6), Spread(20 * MINUTE, 0.9), 5, 6)
EDI: Final = Channel("edi", EDI_GATEWAY, 0.16, Spread(940, 0.8), Spread(35 * MINUTE, 0.85), 6, 11)
PHONE: Final = Channel("phone", ODOO, 0.12, Spread(310, 0.8), Spread(6 * MINUTE, 0.8), 5, 7)
CHANNELS: Final = (SHOPIFY, MARKETPLACE, EDI, PHONE)

PARTNERS: Final = (
    Partner("Kaufring", "EUR", 4_500_310),
    Partner("Baumarkt Nord", "EUR", 4_500_320),
    Partner("Helvetia Handel", "CHF", 88_010),
    Partner("Casa Verde", "EUR", 10_010),
    Partner("Northwind Trading", "USD", 10_020),
)

NORTH: Final = Warehouse(
    "north",
    "/wms/north",
    0.55,
    Spread(16 * MINUTE, 0.8),
    Spread(42 * MINUTE, 0.55),
    Spread(18 * MINUTE, 0.5),
    0.4,
)
SOUTH: Final = Warehouse(
    "south",
    "/wms/south",
    0.45,
    Spread(31 * MINUTE, 0.85),
    Spread(55 * MINUTE, 0.6),
    Spread(24 * MINUTE, 0.5),
    21.0,
)
WAREHOUSES: Final = (NORTH, SOUTH)

DHL: Final = Carrier(
    "dhl",
    "/carrier/dhl",
    0.45,
    (0.8, 4.5, 8.9, 13.1, 17.2, 21.0),
    Spread(3 * HOUR, 0.55),
    (0.72, 0.22, 0.06),
    5 * MINUTE,
    0.0,
    "00340434",
)
UPS: Final = Carrier(
    "ups",
    "/carrier/ups",
    0.3,
    (2.2, 6.9, 11.6, 16.8, 21.3),
    Spread(2.5 * HOUR, 0.6),
    (0.8, 0.17, 0.03),
    10 * MINUTE,
    -14.0,
    "1Z84A1",
)
GLS: Final = Carrier(
    "gls",
    "/carrier/gls",
    0.25,
    (0.025, 2.4, 5.2, 8.6, 12.4, 15.6, 18.3),
    Spread(5 * HOUR, 0.6),
    (0.6, 0.3, 0.1),
    15 * MINUTE,
    0.0,
    "GL7700",
)
CARRIERS: Final = (DHL, UPS, GLS)

SOURCES: Final = tuple(
    dict.fromkeys(
        [ODOO, MIDDLEWARE, *(one.source for group in (CHANNELS, WAREHOUSES, CARRIERS) for one in group)],
    )
)
"""Everybody who sends, each with a key of its own."""
