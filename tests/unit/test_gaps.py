"""Which milestones must have happened, and who should have told them."""

from __future__ import annotations

from typing import Any

import pytest

from milepost.catalog.schema import Milestone, Model
from milepost.gaps import missing
from milepost.inbox.tellers import judge

MODEL = Model(
    milestones=[
        Milestone("received", ["order.received"]),
        Milestone("acknowledged", ["order.acknowledged"], optional=True),
        Milestone("invoiced", ["invoice.posted"], beside=True),
        Milestone("picked", ["picking.picked"], all="picking"),
        Milestone("delivered", ["shipment.delivered"]),
        Milestone("paid", ["invoice.paid"], beside=True),
    ]
)


@pytest.mark.parametrize(
    ("reached", "types", "expected"),
    [
        ([], ["picking"], []),
        (["received"], ["picking"], []),
        (["delivered"], ["picking"], ["received", "picked"]),
        (["delivered"], ["shipment"], ["received"]),
        (["received", "picked"], ["picking"], []),
        (["paid"], ["picking"], []),
        (["acknowledged"], [], ["received"]),
    ],
)
def test_what_comes_before_a_reached_step_must_have_happened(
    reached: list[str], types: list[str], expected: list[str]
) -> None:
    assert [step.name for step in missing(MODEL, reached, types)] == expected


def told(source: str, **values: str | None) -> dict[str, Any]:
    return {"source": source, **dict.fromkeys(("channel", "warehouse", "carrier", "partner")), **values}


def test_the_dimension_that_tells_sources_apart_says_who_tells() -> None:
    rows = [
        told(f"/wms/{site}", warehouse=site, carrier=carrier)
        for site in ("north", "south")
        for carrier in ("dhl", "ups", "gls")
    ]
    teller = judge([*rows, told("/wms/north")])
    assert (teller.dimension, teller.by, teller.mostly) == (
        "warehouse",
        {"north": "/wms/north", "south": "/wms/south"},
        "/wms/north",
    )


def test_one_source_is_one_source() -> None:
    teller = judge([told("/odoo", warehouse="north"), told("/odoo", warehouse="south")])
    assert (teller.dimension, teller.mostly) == (None, "/odoo")
    assert judge([]).mostly is None
