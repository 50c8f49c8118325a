"""Page, read API and files of reconciliations, as people and programs see them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import httpx
import pytest

from milepost.clock import to_us, utc_now
from sla.reconciliation import job
from tests.chain import Chain, entry
from tests.dashboard import Dashboard, dashboard
from tests.databases import Databases
from tests.integration.test_pages import show, texts
from tests.integration.test_reconciliation import HOUR, ORDERS, catalog_of, event, received, taken

COUNTED = """
  parcels-a-day:
    compare: count
    left: {title: WMS, sources: [/wms], events: [picking.packed]}
    right: {title: ERP, sources: [erp], events: [picking.done]}
  returns-a-day:
    compare: count
    left: {title: WMS, sources: [/wms], events: [return.received]}
    right: {title: ERP, sources: [erp], events: [return.booked]}
"""
ODD = '=HYPERLINK("x")'


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Dashboard]:
    """Twelve orders of which the ERP lacks eight, one with a key that a spreadsheet would reckon with."""
    catalog, now = catalog_of(ORDERS + COUNTED), utc_now()
    at = now - 5 * HOUR
    with databases.fresh() as url, dashboard(url, catalog=catalog) as made:
        chain = Chain(made.engine, catalog=catalog)
        wires = [received(number, at + timedelta(seconds=number)) for number in range(11)]
        wires.append(event("order.received", "/shop/one", at, {"channel_order": ODD}))
        wires += [taken(number, at) for number in range(4)]
        chain.append([*(entry(wire, to_us(at)) for wire in wires), entry(taken(99, now), to_us(now))])
        chain.settle()
        job.run(made.engine, catalog, "orders", now=now, through=now)
        job.run(made.engine, catalog, "returns-a-day", now=now, through=now)
        chain.settle()
        yield made


def read(served: Dashboard, path: str, **params: Any) -> Any:
    answer = served.get(f"/v1/reconciliations{path}", **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def browser(served: Dashboard) -> Iterator[httpx.Client]:
    with served.session("Vera") as client:
        yield client


def drawn(browser: httpx.Client, address: str) -> str:
    return " | ".join(texts(show(browser, address)["body"]))


def test_the_list_says_how_each_stands(served: Dashboard, browser: httpx.Client) -> None:
    shown = drawn(browser, "/reconciliation")
    assert "Orders are in the ERP" in shown
    assert "Shop against ERP" in shown
    assert "Over tolerance" in shown
    assert "Not run yet" in shown
    first, second, _ = read(served, "")["items"]
    assert (first["state"], first["open"], first["last_run"]["only_left"]) == ("over", 8, 8)
    assert (second["state"], second["match"], second["last_run"]) == ("not_run", "day", None)


def test_what_was_never_compared_is_not_within_tolerance(browser: httpx.Client) -> None:
    for address in ("/reconciliation", "/reconciliation/returns-a-day"):
        shown = drawn(browser, address)
        assert "Nothing compared yet" in shown
        assert "Within tolerance" not in shown


def test_one_has_its_days_and_its_objects_with_their_journeys(browser: httpx.Client) -> None:
    shown = drawn(browser, "/reconciliation/orders")
    assert "8 missing in ERP of 12 (66.7%)" in shown
    assert "Missing in ERP" in shown
    assert ODD in shown
    assert "C10" in shown
    assert "No object differs" in drawn(browser, "/reconciliation/orders?state=gone")
    assert "There is no such reconciliation" in drawn(browser, "/reconciliation/none")
    assert "Nothing was compared yet" in drawn(browser, "/reconciliation/parcels-a-day")


def test_the_api_has_days_and_pages_of_objects(served: Dashboard) -> None:
    (day,) = read(served, "/orders/days")["items"]
    assert (day["left_count"], day["right_count"], day["over"]) == (12, 4, True)
    assert day["amounts"] == [{"currency": "EUR", "left": "110.0000", "right": "40.0000"}]
    first = read(served, "/orders/discrepancies", limit=5, state="open")
    rest = read(served, "/orders/discrepancies", limit=5, state="open", cursor=first["next_cursor"])
    found = first["items"] + rest["items"]
    assert rest["next_cursor"] is None
    assert {item["object"]["key"] for item in found} == {ODD, *(f"C{number}" for number in range(4, 11))}
    one = next(item for item in found if item["object"]["key"] == "C7")
    assert one["journey"] == {"kind": "order", "key": "C7", "namespace": ""}
    assert (one["kind"], one["left"], one["right"]) == ("missing_right", {"amount": "10.00", "currency": "EUR"}, None)
    assert read(served, "/orders/discrepancies", kind="amount")["items"] == []
    assert served.get("/v1/reconciliations/none/days").status_code == 404
    assert served.get("/v1/reconciliations", key="").status_code == 401


def test_files_are_downloaded_and_harmless(served: Dashboard) -> None:
    answer = served.get("/v1/reconciliations/orders/report")
    assert answer.headers["content-disposition"].startswith('attachment; filename="orders-')
    rows = list(csv.DictReader(StringIO(answer.text)))
    assert len(rows) == 8
    assert f"'{ODD}" in {row["key"] for row in rows}
    (day,) = csv.DictReader(StringIO(served.get("/v1/reconciliations/orders/report", format="days").text))
    assert (day["Shop"], day["ERP"], day["not in ERP"]) == ("12", "4", "8")
    page = served.get("/v1/reconciliations/orders/report", format="html")
    assert page.headers["content-type"].startswith("text/html")
    assert "&#34;x&#34;" in page.text
