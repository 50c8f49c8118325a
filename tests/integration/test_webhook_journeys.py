"""From the samples of webhooks to journeys: the shipped mappings fit the shipped models."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from collector.formats.mapping import Mapping
from milepost.clock import to_us
from milepost.db import tables as t
from tests.chain import CATALOG, Chain

SAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "webhooks"

RECEIVED = to_us(datetime(2026, 11, 22, tzinfo=UTC))  # after all that the samples tell


def made(mapping: str, sample: str, topic: str = "") -> list[dict[str, Any]]:
    payload = json.loads((SAMPLES / f"{sample}.json").read_text())
    headers = {"x-shopify-topic": topic, "x-wc-webhook-topic": topic}
    return Mapping(CATALOG.mappings[mapping]).events(payload, source=mapping, headers=headers)


def test_orders_and_parcels_of_several_senders_become_journeys(engine: sa.Engine) -> None:
    chain = Chain(engine)
    calls = [
        ("aftership", "aftership-tracking", ""),  # a carrier may be quicker than the shop
        ("shopify", "shopify-fulfillment", "fulfillments/update"),
        ("shopify", "shopify-order", "orders/paid"),
        ("shopify", "shopify-order", "orders/create"),
        ("shopify", "shopify-order", "orders/create"),
        ("woocommerce", "woocommerce-order", "order.created"),
        ("easypost", "easypost-tracker", ""),
        ("odoo-webhook", "odoo-order", ""),
        ("alertmanager", "alertmanager", ""),
    ]
    for call in calls:
        chain.send(*made(*call), received_us=RECEIVED)
    chain.settle()
    with engine.connect() as connection:
        rows = connection.execute(sa.select(t.journeys.c.model, t.journeys.c.key, t.journeys.c.stage)).all()
        shop = connection.execute(sa.select(t.journeys).where(t.journeys.c.key == "#1042")).one()
        assert connection.scalar(sa.select(sa.func.count()).select_from(t.quarantine)) == 0
    assert {tuple(row) for row in rows} == {
        ("order", "#1042", "dispatched"),
        ("order", "727", "received"),
        ("order", "S00024", "confirmed"),
        ("shipment", "00340434161094027318", "out_for_delivery"),
        ("shipment", "9400110898825022579493", "out_for_delivery"),
    }
    assert (shop.channel, shop.carrier, str(shop.amount), shop.currency) == (
        "shopify",
        "dhl-germany",
        "129.9000",
        "EUR",
    )
