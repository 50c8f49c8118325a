"""What Odoo's rows become. The rows have the shape that Odoo 19 was seen to answer with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collector.odoo import mapping
from collector.odoo.mapping import MANY, Change
from collector.odoo.snapshots import Names, is_channel_order, money
from milepost import contract

ORDER: dict[str, Any] = {
    "id": 25,
    "name": "S00025",
    "state": "sale",
    "create_date": "2026-11-21 02:06:39",
    "write_date": "2026-11-21 02:06:45",
    "date_order": "2026-11-21 02:06:40",
    "client_order_ref": "PO-7788",
    "origin": "#SHOP1001",
    "amount_total": 125.0,
    "currency_id": [1, "USD"],
    "partner_id": [33, "Gemini Furniture, Oscar Morgan"],
    "team_id": [1, "Website"],
    "warehouse_id": [1, "North"],
    "carrier_id": False,
    "commitment_date": "2026-11-24 12:00:00",
    "company_id": [1, "My Company"],
}
PICKING: dict[str, Any] = {
    "id": 54,
    "name": "WH/OUT/00048",
    "state": "done",
    "create_date": "2026-11-21 02:06:43",
    "write_date": "2026-11-21 02:06:50",
    "date_done": "2026-11-21 02:06:44",
    "date_deadline": "2026-11-21 02:06:40",
    "sale_id": [25, "S00025"],
    "picking_type_id": [2, "North: Delivery Orders"],
    "picking_type_code": "outgoing",
    "backorder_id": [53, "WH/OUT/00047"],
    "return_id": False,
    "carrier_id": [2, "The Poste"],
    "carrier_tracking_ref": "1Z999AA10123456784",
    "company_id": [1, "My Company"],
}
INVOICE: dict[str, Any] = {
    "id": 57,
    "name": "INV/2026/00010",
    "state": "posted",
    "payment_state": "paid",
    "create_date": "2026-11-21 02:06:45",
    "write_date": "2026-11-21 02:06:48",
    "move_type": "out_invoice",
    "amount_total": 125.0,
    "currency_id": [1, "USD"],
    "commercial_partner_id": [10, "Gemini Furniture"],
    "invoice_date_due": "2026-12-21",
    "company_id": [1, "My Company"],
}
PURCHASE: dict[str, Any] = {
    "id": 11,
    "name": "P00011",
    "state": "purchase",
    "create_date": "2026-11-21 01:56:52",
    "write_date": "2026-11-21 01:56:53",
    "partner_id": [9, "Azure Interior"],
    "partner_ref": False,
    "amount_total": 4699.200000000001,
    "currency_id": [1, "USD"],
    "date_planned": False,
    "company_id": [1, "My Company"],
}
NAMES = Names(
    partners={33: "Gemini Furniture", 9: "Azure Interior"},
    warehouses={2: "North", 1: "North"},
    purchases={11: "P00011"},
    orders={57: ["S00025"]},
)
AT = "2026-11-21 02:07:00"


def made(model: str, row: dict[str, Any], **states: str | None) -> list[tuple[str, str, str]]:
    """(type, id, time) of what the making of a record tells."""
    return told(mapping.made(model, row, states, NAMES, "odoo"))


def changed(model: str, row: dict[str, Any], field: str, old: str | None, new: str) -> list[tuple[str, str, str]]:
    return told(mapping.changed(model, row, Change(226, field, old, new, AT), NAMES, "odoo"))


def told(events: list[mapping.Event]) -> list[tuple[str, str, str]]:
    for body in mapping.encode(events):
        contract.decode(body)
    return [(event["type"], event["id"], event["time"]) for event in events]


def updated(model: str, row: dict[str, Any], told: str = "", first: bool = True) -> list[mapping.Event]:
    return mapping.updated(model, row, told, first, NAMES, "odoo")[0]


def test_an_order_is_received_when_it_was_made() -> None:
    assert made("sale.order", ORDER, state="draft") == [
        ("order.received", "sale.order/25/created", "2026-11-21T02:06:39Z")
    ]


def test_an_order_that_was_made_confirmed() -> None:
    assert made("sale.order", ORDER, state="sale")[1:] == [
        ("order.confirmed", "sale.order/25/created/confirmed", "2026-11-21T02:06:40Z")
    ]
    old = {**ORDER, "date_order": "2026-11-01 00:00:00"}
    assert made("sale.order", old, state="sale")[1][2] == "2026-11-21T02:06:39Z"


@pytest.mark.parametrize(
    ("model", "row", "field", "old", "new", "type_"),
    [
        ("sale.order", ORDER, "state", "draft", "sent", "order.quoted"),
        ("sale.order", ORDER, "state", "sent", "sale", "order.confirmed"),
        ("sale.order", ORDER, "state", "sale", "cancel", "order.cancelled"),
        ("stock.picking", PICKING, "state", "confirmed", "assigned", "picking.released"),
        ("stock.picking", PICKING, "state", "confirmed", "cancel", "picking.cancelled"),
        ("account.move", INVOICE, "state", "posted", "cancel", "invoice.cancelled"),
        ("account.move", INVOICE, "payment_state", "not_paid", "paid", "invoice.paid"),
        ("account.move", INVOICE, "payment_state", "not_paid", "in_payment", "invoice.payment_registered"),
        ("purchase.order", PURCHASE, "state", "draft", "sent", "purchase_order.sent"),
        ("purchase.order", PURCHASE, "state", "draft", "purchase", "purchase_order.confirmed"),
        ("purchase.order", PURCHASE, "state", "purchase", "cancel", "purchase_order.cancelled"),
    ],
)
def test_a_state_change_is_an_event_at_its_own_time(
    model: str, row: dict[str, Any], field: str, old: str, new: str, type_: str
) -> None:
    assert changed(model, row, field, old, new) == [(type_, "mail.tracking.value/226", "2026-11-21T02:07:00Z")]


@pytest.mark.parametrize(
    ("model", "row", "old", "new"),
    [
        ("sale.order", ORDER, "sale", "draft"),
        ("sale.order", ORDER, "done", "sale"),  # unlocked, up to Odoo 16
        ("stock.picking", PICKING, "assigned", "confirmed"),
        ("account.move", INVOICE, "posted", "draft"),
        ("purchase.order", PURCHASE, "draft", "to approve"),
    ],
)
def test_a_state_that_is_no_step_tells_nothing(model: str, row: dict[str, Any], old: str, new: str) -> None:
    assert changed(model, row, "state", old, new) == []


def test_a_delivery_is_done_at_its_own_date() -> None:
    assert changed("stock.picking", PICKING, "state", "assigned", "done") == [
        ("picking.done", "mail.tracking.value/226", "2026-11-21T02:06:44Z")
    ]


def test_a_delivery_that_was_forced_through_was_released_too() -> None:
    assert changed("stock.picking", PICKING, "state", "confirmed", "done") == [
        ("picking.released", "mail.tracking.value/226/released", "2026-11-21T02:06:44Z"),
        ("picking.done", "mail.tracking.value/226", "2026-11-21T02:06:44Z"),
    ]


def test_a_delivery_that_was_made_with_its_goods_reserved() -> None:
    assert made("stock.picking", PICKING, state="assigned") == [
        ("picking.created", "stock.picking/54/created", "2026-11-21T02:06:43Z"),
        ("picking.released", "stock.picking/54/created/released", "2026-11-21T02:06:43Z"),
    ]


def test_a_backorder_is_linked_to_its_first_delivery() -> None:
    event = mapping.made("stock.picking", PICKING, {}, NAMES, "odoo")[0]
    assert event["data"]["links"] == [
        {
            "parent": {"type": "picking", "key": "WH/OUT/00047"},
            "child": {"type": "picking", "key": "WH/OUT/00048"},
            "rel": "backorder",
        }
    ]
    assert event["data"]["keys"] == {"picking": "WH/OUT/00048", "order": "S00025"}


def test_a_draft_invoice_tells_nothing_until_it_has_its_number() -> None:
    draft = {**INVOICE, "name": False, "state": "draft"}
    assert made("account.move", draft, state="draft") == []
    assert updated("account.move", draft) == []
    assert made("account.move", INVOICE, state="draft", payment_state="not_paid") == []
    assert changed("account.move", INVOICE, "state", "draft", "posted") == [
        ("invoice.created", "account.move/57/created", "2026-11-21T02:06:45Z"),
        ("invoice.posted", "mail.tracking.value/226", "2026-11-21T02:07:00Z"),
    ]


def test_an_invoice_that_was_made_posted() -> None:
    assert [type_ for type_, _, _ in made("account.move", INVOICE, state="posted", payment_state="not_paid")] == [
        "invoice.created",
        "invoice.posted",
    ]


def test_a_collective_invoice_names_its_orders_in_parts() -> None:
    orders = [f"S{number:05}" for number in range(2 * MANY + 1)]
    names = Names(orders={57: orders})
    events, _ = mapping.updated("account.move", INVOICE, "", True, names, "odoo")
    assert [key for event in events for key in event["data"]["keys"]["order"]] == orders
    assert len({event["id"] for event in events}) == 3
    for body in mapping.encode(events):
        contract.decode(body)


def test_what_may_change_goes_in_an_event_of_its_own() -> None:
    (event,) = updated("sale.order", ORDER)
    assert event["type"] == "order.updated"
    assert event["time"] == "2026-11-21T02:06:45Z"
    assert event["data"]["keys"] == {"order": "S00025", "customer_po": "PO-7788", "channel_order": "#SHOP1001"}
    assert event["data"]["attributes"] == {
        "state": "sale",
        "company": "My Company",
        "amount": "125.00",
        "currency": "USD",
        "partner": "Gemini Furniture",
        "channel": "Website",
        "warehouse": "North",
        "promised_date": "2026-11-24T12:00:00Z",
    }


def test_an_update_is_told_once_and_its_id_names_its_content() -> None:
    events, digest = mapping.updated("sale.order", ORDER, "", True, NAMES, "odoo")
    assert mapping.updated("sale.order", ORDER, digest, False, NAMES, "odoo") == ([], digest)
    dearer, _ = mapping.updated("sale.order", {**ORDER, "amount_total": 126}, digest, False, NAMES, "odoo")
    assert dearer[0]["id"] != events[0]["id"]


def test_a_tracking_number_dispatches_what_is_done() -> None:
    update, dispatched, shipped = updated("stock.picking", PICKING)
    assert update["data"]["keys"]["shipment"] == "1Z999AA10123456784"
    assert (dispatched["type"], dispatched["time"]) == ("shipment.dispatched", "2026-11-21T02:06:44Z")
    assert dispatched["id"] == "stock.picking/54/shipment/1Z999AA10123456784"
    assert dispatched["data"]["attributes"] == {"company": "My Company"}
    assert (shipped["type"], shipped["time"]) == ("shipment.updated", "2026-11-21T02:06:50Z")
    assert shipped["data"]["keys"] == {"shipment": "1Z999AA10123456784"}
    assert shipped["data"]["attributes"] == {
        "company": "My Company",
        "warehouse": "North",
        "carrier": "The Poste",
    }
    assert len(updated("stock.picking", {**PICKING, "state": "assigned", "date_done": False})) == 1
    assert len(updated("stock.picking", {**PICKING, "carrier_tracking_ref": False})) == 1


def test_a_touch_long_after_the_delivery_dispatches_nothing() -> None:
    late = {**PICKING, "write_date": "2027-01-21 02:06:50"}
    assert len(updated("stock.picking", late, first=False)) == 1
    assert len(updated("stock.picking", late, first=True)) == 3


def test_a_carrier_that_changes_later_leaves_the_fact_as_it_is() -> None:
    renamed = {**PICKING, "carrier_id": [2, "The Post"], "write_date": "2026-11-22 02:06:50"}
    _, dispatched, shipped = updated("stock.picking", PICKING)
    _, again, changed_to = updated("stock.picking", renamed, first=False)
    assert again == dispatched
    assert changed_to["id"] != shipped["id"]
    assert changed_to["data"]["attributes"]["carrier"] == "The Post"


def test_several_packages_have_their_numbers_in_one_text() -> None:
    events = updated("stock.picking", {**PICKING, "carrier_tracking_ref": "1Z1, 1Z2+1Z3"})
    assert events[1]["data"]["keys"]["shipment"] == ["1Z1", "1Z2", "1Z3"]


def test_a_return_a_receipt_and_what_is_neither() -> None:
    back = {**PICKING, "name": "WH/IN/7", "picking_type_code": "incoming", "return_id": [53, "WH/OUT/00047"]}
    assert [type_ for type_, _, _ in made("stock.picking", back, state="assigned")] == ["return.requested"]
    assert changed("stock.picking", back, "state", "assigned", "done")[0][0] == "return.received"
    receipt = {**PICKING, "picking_type_code": "incoming", "sale_id": False, "purchase_id": [11, "P00011 (ref)"]}
    (event,) = mapping.changed("stock.picking", receipt, Change(1, "state", "assigned", "done", AT), NAMES, "odoo")
    assert event["type"] == "receipt.done"
    assert event["data"]["keys"] == {"receipt": "WH/OUT/00048", "purchase_order": "P00011"}
    for row in ({**receipt, "purchase_id": False}, {**back, "picking_type_code": "outgoing", "sale_id": False}):
        assert made("stock.picking", row, state="assigned") == []
        assert updated("stock.picking", row) == []


def test_fields_that_this_odoo_lacks_are_left_out() -> None:
    bare = {name: ORDER[name] for name in ("id", "name", "state", "create_date", "write_date")}
    (event,) = updated("sale.order", bare)
    assert event["data"] == {"keys": {"order": "S00025"}, "attributes": {"state": "sale"}}


@pytest.mark.parametrize(
    ("value", "text"),
    [(125.0, "125.00"), (0.1, "0.10"), (4699.200000000001, "4699.20"), (1.2345, "1.2345"), (-3, "-3.00"), (False, "")],
)
def test_money_keeps_its_digits(value: float, text: str) -> None:
    assert money(value) == text


@pytest.mark.parametrize("origin", ["#1042", "AMZ-302-77", "SHOP_9912", "100023"])
def test_a_source_document_that_is_a_shops_number(origin: str) -> None:
    assert is_channel_order(origin)


@pytest.mark.parametrize("origin", ["", "S00021", "P00003", "WH/OUT/00047", "Return of 77", "Opportunity", "12"])
def test_a_source_document_that_is_something_else(origin: str) -> None:
    assert not is_channel_order(origin)


PAYMENT: dict[str, Any] = {
    "id": 3,
    "name": "PBNK1/2026/00003",
    "state": "paid",
    "create_date": "2026-11-21 04:34:25",
    "write_date": "2026-11-21 04:34:25",
    "amount": 50.0,
    "currency_id": [1, "USD"],
    "partner_id": [9, "Azure Interior"],
    "memo": "INV/2026/00010",
    "invoice_ids": [57],
    "reconciled_invoice_ids": [57, 58],
    "company_id": [1, "My Company"],
}
INVOICES = Names(partners=NAMES.partners, invoices={57: "INV/2026/00010", 58: "INV/2026/00011"}, orders=NAMES.orders)


def test_a_payment_names_the_invoices_that_it_pays() -> None:
    created, paid = mapping.made("account.payment", PAYMENT, {"state": "paid"}, INVOICES, "odoo")
    assert (created["type"], created["data"]["keys"]) == ("payment.created", {"payment": "PBNK1/2026/00003"})
    assert (paid["type"], paid["id"]) == ("payment.paid", "account.payment/3/created/paid")
    assert paid["data"]["keys"]["invoice"] == ["INV/2026/00010", "INV/2026/00011"]
    (update,) = mapping.updated("account.payment", PAYMENT, "", True, INVOICES, "odoo")[0]
    assert update["data"]["attributes"] == {
        "state": "paid",
        "company": "My Company",
        "amount": "50.00",
        "currency": "USD",
        "partner": "Azure Interior",
        "reference": "INV/2026/00010",
    }


def test_a_draft_payment_tells_nothing_and_then_all() -> None:
    draft = {**PAYMENT, "name": False, "state": "draft"}
    assert made("account.payment", draft, state="draft") == []
    assert [told[0] for told in changed("account.payment", PAYMENT, "state", "draft", "in_process")] == [
        "payment.created",
        "payment.posted",
    ]


def test_a_credit_note_names_its_invoice_and_order() -> None:
    note = {**INVOICE, "id": 57, "name": "RINV/2026/00001", "move_type": "out_refund", "reversed_entry_id": [58, "x"]}
    created, posted = mapping.made("account.move", note, {"state": "posted"}, INVOICES, "odoo")
    assert created["data"]["keys"] == {"credit_note": "RINV/2026/00001"}
    assert posted["type"] == "credit_note.posted"
    keys = {"credit_note": "RINV/2026/00001", "order": "S00025", "invoice": "INV/2026/00011"}
    assert posted["data"]["keys"] == keys
    for returns, named in ((["WH/IN/9"], {"return": "WH/IN/9"}), (["WH/IN/9", "WH/IN/10"], {}), ([], {})):
        names = replace(INVOICES, returns={"S00025": returns})
        (told,), _ = mapping.updated("account.move", note, "", True, names, "odoo")
        assert (told["type"], told["data"]["keys"]) == ("credit_note.updated", keys | named)
    paid = Change(9, "payment_state", "not_paid", "paid", note["write_date"])
    assert [event["type"] for event in mapping.changed("account.move", note, paid, INVOICES, "odoo")] == [
        "credit_note.paid"
    ]


STEP = {**PICKING, "id": 60, "name": "WH/PICK/1", "picking_type_code": "internal", "backorder_id": False}
STEPS = Names(warehouses={2: "North", 7: "North"}, packing={7}, next={60: ["WH/OUT/00048"]})


@pytest.mark.parametrize(("operation", "type_"), [(2, "picking.picked"), (7, "picking.packed")])
def test_the_last_step_before_a_delivery_picks_or_packs_it(operation: int, type_: str) -> None:
    step = {**STEP, "picking_type_id": [operation, "x"]}
    change = Change(9, "state", "assigned", "done", AT)
    done, handed = mapping.changed("stock.picking", step, change, STEPS, "odoo")
    assert (done["type"], done["data"]["keys"]) == ("transfer.done", {"transfer": "WH/PICK/1", "order": "S00025"})
    assert (handed["type"], handed["time"]) == (type_, "2026-11-21T02:06:44Z")
    assert handed["data"]["keys"]["picking"] == ["WH/OUT/00048"]
    nobody = mapping.changed("stock.picking", step, change, Names(), "odoo")
    assert [event["type"] for event in nobody] == ["transfer.done"]


def test_an_internal_transfer_without_an_order_is_nobodys() -> None:
    assert made("stock.picking", {**STEP, "sale_id": False}, state="done") == []


def test_facts_carry_the_company_that_makes_keys_unique() -> None:
    events = mapping.made("account.move", INVOICE, {"state": "posted", "payment_state": "not_paid"}, NAMES, "odoo")
    assert [event["data"]["attributes"] for event in events] == [{"company": "My Company"}] * 2
    (bare,) = mapping.made("sale.order", {**ORDER, "company_id": False}, {"state": "draft"}, NAMES, "odoo")
    assert "attributes" not in bare["data"]


@pytest.mark.parametrize(
    ("model", "row", "subject"),
    [
        ("sale.order", {**ORDER, "state": "draft"}, "order"),
        ("stock.picking", {**PICKING, "state": "assigned"}, "picking"),
        ("account.move", {**INVOICE, "state": "draft"}, "invoice"),
        ("account.payment", {**PAYMENT, "state": "draft"}, "payment"),
    ],
)
def test_what_odoo_may_delete_is_remembered_until_it_is_over(model: str, row: dict[str, Any], subject: str) -> None:
    told = mapping.opened(model, row, NAMES)
    assert told == {"subject": subject, "key": row["name"], "company": "My Company"}
    event = mapping.deleted(model, row["id"], told, AT, "odoo")
    contract.decode(mapping.encode([event])[0])
    assert (event["type"], event["id"]) == (f"{subject}.cancelled", f"{model}/{row['id']}/deleted")
    assert event["data"]["keys"] == {subject: row["name"]}
    assert mapping.opened(model, {**row, "state": "done"}, NAMES) is None


def test_what_can_not_be_deleted_is_not_remembered() -> None:
    assert mapping.opened("purchase.order", {**PURCHASE, "state": "draft"}, NAMES) is None
    assert mapping.opened("account.move", {**INVOICE, "name": False, "state": "draft"}, NAMES) is None
