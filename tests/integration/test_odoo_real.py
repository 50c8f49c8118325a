"""The poller against a real Odoo 19: what people do there is one journey with every milestone at Odoo's own times."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest
import sqlalchemy as sa

from collector.odoo.cursor import odoo_text
from collector.odoo.poll import Poller
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.db.engine import make_engine
from tests.chain import CATALOG, Chain
from tests.databases import Databases
from tests.integration.erp import Erp, events, facts, links, members, milestones, named, time

pytestmark = pytest.mark.odoo
TRACKING_REF = "1Z999AA1012345{:04}"


def test_from_quotation_to_payment(erp: Erp, engine: sa.Engine, databases: Databases) -> None:
    """Polled after every step, with a stop and start of Odoo in between; then the same from one poll at the end."""
    poller, results = Poller(engine, erp.options, utc_now), []

    def poll() -> None:
        results.append(poller.step())
        assert (results[-1].error, results[-1].rejected, results[-1].complete) == (None, 0, True)

    order = erp.sell(10, client_order_ref="PO-7788", origin="#SHOP1001")
    poll()
    erp.call("sale.order", "action_confirm", [order])
    poll()
    (first,) = erp.pickings(order)
    erp.deliver(first, quantity=6)
    erp.stop()
    assert "refused" in (poller.step().error or "")
    erp.start()
    second = erp.pickings(order)[1]
    poll()
    erp.deliver(second, tracking_ref=TRACKING_REF.format(order % 10_000))
    invoice = erp.invoice(order)
    poll()
    erp.call("account.move", "action_post", [invoice])
    posted = erp.find("account.move", ("id", "=", invoice), fields=["name", "create_date", "write_date"])[0]
    poll()
    erp.pay(invoice)
    paid = erp.find("account.move", ("id", "=", invoice), fields=["payment_state", "write_date"])[0]
    assert paid["payment_state"] == "paid"
    poll()

    told = facts(engine)
    with databases.fresh() as url:
        other = make_engine(url)
        Poller(other, erp.options, utc_now).step()
        assert facts(other) == told
        other.dispose()

    row = erp.find("sale.order", ("id", "=", order), fields=["name", "create_date", "date_order", "amount_total"])[0]
    Chain(engine).settle()
    with engine.connect() as connection:
        journeys = connection.execute(sa.select(t.journeys).where(t.journeys.c.key == row["name"])).all()
    (journey,) = journeys
    assert (journey.model, journey.channel, journey.currency) == ("order", "Sales", "USD")
    assert float(journey.amount) == row["amount_total"] > 0
    done = erp.pickings(order)
    reached = milestones(engine, journey.journey_id)
    exact = {
        "received": row["create_date"],
        "allocated": done[0]["create_date"],
        "released": done[1]["create_date"],  # both were reserved when they were made
        "fulfilled": done[1]["date_done"],
        "dispatched": done[1]["date_done"],
    }
    assert {name: reached[name] for name in exact} == {name: time(text) for name, text in exact.items()}
    near = {"confirmed": row["date_order"], "invoiced": posted["write_date"], "paid": paid["write_date"]}
    for name, text in near.items():
        assert abs(reached[name] - time(text)) <= timedelta(seconds=1)
    assert reached.keys() == exact.keys() | near.keys()
    assert members(engine, journey.journey_id) == {
        ("order", row["name"]),
        ("customer_po", "PO-7788"),
        ("channel_order", "#SHOP1001"),
        ("picking", done[0]["name"]),
        ("picking", done[1]["name"]),
        ("shipment", TRACKING_REF.format(order % 10_000)),
        ("invoice", posted["name"]),
        ("payment", erp.payments(invoice)[0]),
    }
    assert links(engine, "backorder") >= {(done[0]["name"], done[1]["name"])}


def test_an_order_without_a_parcel_is_completed(erp: Erp, engine: sa.Engine) -> None:
    order = erp.sell(2)
    erp.call("sale.order", "action_confirm", [order])
    erp.deliver(erp.pickings(order)[0])
    erp.call("account.move", "action_post", [erp.invoice(order)])
    Poller(engine, erp.options, utc_now).step()
    Chain(engine).settle()
    name = erp.find("sale.order", ("id", "=", order), fields=["name"])[0]["name"]
    with engine.connect() as connection:
        journey = connection.execute(sa.select(t.journeys).where(t.journeys.c.key == name)).one()
    assert (journey.state, journey.stage) == ("completed", "fulfilled")


def test_an_order_that_was_cancelled(erp: Erp, engine: sa.Engine) -> None:
    order = erp.sell(1)
    poller = Poller(engine, erp.options, utc_now)
    erp.call("sale.order", "action_confirm", [order])
    poller.step()
    erp.call("sale.order", "action_cancel", [order])
    poller.step()
    Chain(engine).settle()
    row = erp.find("sale.order", ("id", "=", order), fields=["name", "state"])[0]
    assert row["state"] == "cancel"
    with engine.connect() as connection:
        journey = connection.execute(sa.select(t.journeys).where(t.journeys.c.key == row["name"])).one()
    assert journey.state == "cancelled"


def test_a_return_two_payments_and_a_credit_note(erp: Erp, engine: sa.Engine) -> None:
    poller = Poller(engine, erp.options, utc_now)
    order = erp.sell(10)
    erp.call("sale.order", "action_confirm", [order])
    erp.deliver(erp.pickings(order)[0], quantity=6, tracking_ref=f"TA{order}, TB{order}")
    first, rest = erp.pickings(order)
    poller.step()
    back = erp.send_back(first, 2)
    invoice = erp.invoice(order)
    erp.call("account.move", "action_post", [invoice])
    erp.pay(invoice, 5)
    poller.step()
    erp.deliver(back)
    erp.deliver(rest)
    erp.pay(invoice, 10)
    erp.pay(invoice)
    note = erp.credit(invoice)
    poller.step()
    name, number = erp.name("sale.order", order), erp.name("account.move", invoice)
    payments, credited = erp.payments(invoice), erp.name("account.move", note)
    about = {event["type"]: event for event in events(engine) if number in named(event) or name in named(event)}
    assert {"invoice.partially_paid", "invoice.paid", "return.requested", "return.received"} <= about.keys()
    assert about["credit_note.posted"]["data"]["keys"] == {"credit_note": credited, "order": name, "invoice": number}
    assert about["invoice.updated"]["data"]["attributes"]["amount_due"] == "0.00"
    assert len(payments) == 3
    for payment in payments:
        paid = [event for event in events(engine) if event["type"] == "payment.paid" and payment in named(event)]
        assert [event["data"]["keys"]["invoice"] for event in paid] == [number]
    Chain(engine).settle()
    journey = journey_of(engine, name)
    assert {"received", "confirmed", "fulfilled", "dispatched", "invoiced", "paid"} <= milestones(
        engine, journey
    ).keys()
    found = members(engine, journey)
    assert found >= {("return", back["name"]), ("picking", first["name"]), ("picking", rest["name"])}
    assert found >= {("shipment", f"TA{order}"), ("shipment", f"TB{order}"), ("invoice", number)}
    assert found >= {("payment", payment) for payment in payments} | {("credit_note", credited)}
    assert (first["name"], back["name"]) in links(engine, "return")
    returned = journey_of(engine, back["name"], "return")
    assert {"requested", "received", "credited"} <= milestones(engine, returned).keys()
    assert ("credit_note", credited) in members(engine, returned)


@pytest.mark.parametrize(("steps", "verb"), [("pick_ship", "picked"), ("pick_pack_ship", "packed")])
def test_picking_and_packing_ahead_of_the_delivery(erp: Erp, engine: sa.Engine, steps: str, verb: str) -> None:
    warehouse = erp.warehouse(steps)
    order = erp.sell(3, warehouse_id=warehouse)
    erp.call("sale.order", "action_confirm", [order])
    poller = Poller(engine, erp.options, utc_now)
    while undone := [row for row in erp.pickings(order) if row["state"] == "assigned"]:
        poller.step()
        erp.deliver(undone[0])
    poller.step()
    *before, delivery = sorted(erp.pickings(order), key=lambda row: str(row["date_done"]) + str(row["id"]))
    assert delivery["picking_type_code"] == "outgoing"
    told = [
        event for event in events(engine) if event["type"] == f"picking.{verb}" and delivery["name"] in named(event)
    ]
    assert [event["data"]["keys"]["picking"] for event in told] == [[delivery["name"]]]
    name = erp.name("sale.order", order)
    done = [
        event["data"]["keys"] for event in events(engine) if event["type"] == "transfer.done" and name in named(event)
    ]
    assert done == [{"transfer": row["name"], "order": name} for row in before]
    Chain(engine).settle()
    journey = journey_of(engine, name)
    steps_named = {("transfer", row["name"]) for row in before}
    assert members(engine, journey) >= {("picking", delivery["name"]), *steps_named}
    reached = milestones(engine, journey)
    assert reached["allocated"] == time(before[0]["create_date"])
    assert reached[verb] == time(before[-1]["date_done"])
    assert reached["fulfilled"] == time(delivery["date_done"])


def test_a_purchase_is_received_in_two_parts(erp: Erp, engine: sa.Engine) -> None:
    order, pickings = erp.buy(5)
    poller = Poller(engine, erp.options, utc_now)
    poller.step()
    erp.deliver(pickings()[0], quantity=2)
    first, rest = pickings()
    poller.step()
    erp.deliver(rest)
    poller.step()
    Chain(engine).settle()
    rest = pickings()[1]
    journey = journey_of(engine, order, "purchase_order")
    assert milestones(engine, journey)["received"] == time(rest["date_done"])
    receipts = {("receipt", first["name"]), ("receipt", rest["name"])}
    assert members(engine, journey) == {("purchase_order", order), *receipts}
    assert (first["name"], rest["name"]) in links(engine, "backorder")


def test_what_is_deleted_in_odoo_is_cancelled(erp: Erp, engine: sa.Engine) -> None:
    quoted, sold = erp.sell(1), erp.sell(2)
    erp.call("sale.order", "action_confirm", [sold])
    poller = Poller(engine, erp.options, utc_now)
    poller.step()
    (picking,) = erp.pickings(sold)
    names = {("order", erp.name("sale.order", quoted)), ("picking", picking["name"])}
    erp.call("sale.order", "unlink", [quoted])
    erp.call("stock.picking", "unlink", [picking["id"]])
    polls = [poller.step() for _ in range(20)]
    told = [event for event in events(engine) if event["data"].get("reason") == "deleted in Odoo"]
    assert {(kind, key) for event in told for kind, key in event["data"]["keys"].items()} == names
    assert {event["type"] for event in told} == {"order.cancelled", "picking.cancelled"}
    assert {poll.error for poll in polls} == {None}
    Chain(engine).settle()
    (gone,) = (key for kind, key in names if kind == "order")
    with engine.connect() as connection:
        assert connection.scalar(sa.select(t.journeys.c.state).where(t.journeys.c.key == gone)) == "cancelled"


def test_two_companies_with_the_same_invoice_number(erp: Erp, engine: sa.Engine) -> None:
    """`company` is on every fact, so the catalog can tell them apart by it."""
    number = f"INV/2026/{uuid4().int % 9_000_000 + 1_000_000}"
    companies = [erp.company_with_invoice(number), erp.company_with_invoice(number)]
    assert len(set(companies)) == 2
    Poller(engine, erp.options, utc_now).step()
    posted = [event for event in events(engine) if number in named(event) and event["type"] == "invoice.posted"]
    assert {event["data"]["attributes"]["company"] for event in posted} == set(companies)
    rules = {**CATALOG.keys, "invoice": msgspec.structs.replace(CATALOG.keys["invoice"], namespace="company")}
    Chain(engine, catalog=msgspec.structs.replace(CATALOG, keys=rules)).settle()
    with engine.connect() as connection:
        spaces = connection.scalars(sa.select(t.objects.c.namespace).where(t.objects.c.key == number)).all()
    assert len(set(spaces)) == len(spaces) == 2


def test_jobs_and_exchanges_that_fail_or_get_stuck(erp: Erp, engine: sa.Engine) -> None:
    order = erp.sell(1)
    name, tag = erp.name("sale.order", order), uuid4().hex
    now = time(erp.find("sale.order", ("id", "=", order), fields=["create_date"])[0]["create_date"])
    stamps = {f"{minutes}": odoo_text(now - timedelta(minutes=minutes)) for minutes in (1, 45)}
    poller = Poller(engine, erp.options, utc_now)
    poller.step()
    about = {
        "model_name": "sale.order",
        "method_name": "export_to_wms",
        "func_string": f"sale.order({order},).export_to_wms()",
    }
    job = {**about, "date_created": stamps["45"], "date_enqueued": stamps["45"]}
    failed = erp.make(
        "queue.job",
        uuid=f"f-{tag}",
        state="failed",
        exc_name="WmsError",
        exc_message="no such item",
        **job,
        date_started=stamps["1"],
    )
    stuck = erp.make("queue.job", uuid=f"s-{tag}", state="started", **job, date_started=stamps["45"])
    erp.make("queue.job", uuid=f"w-{tag}", state="started", **job, date_started=stamps["1"])
    lost = erp.make("queue.job", uuid=f"l-{tag}", state="enqueued", **job)
    kind = erp.make("edi.exchange.type", name="ORDRSP out")
    edi = {"type_id": kind, "model": "sale.order", "res_id": order}
    sent = erp.make("edi.exchange.record", identifier=f"e-{tag}", edi_exchange_state="output_sent", **edi)
    erp.make(
        "edi.exchange.record",
        identifier=f"x-{tag}",
        edi_exchange_state="output_error_on_send",
        exchange_error="SFTP: permission denied",
        **edi,
    )

    def told() -> set[tuple[str, str, str | None, str | None]]:
        for _ in range(10):  # everything has had its turn
            assert poller.step().error is None
        ours = [event for event in events(engine) if str(event.get("correlationid")).endswith(tag)]
        assert len({event["id"] for event in ours}) == len(ours)
        return {
            (event["correlationid"][0], event["type"], event["data"].get("code"), event["data"].get("reason"))
            for event in ours
        }

    before = told()
    assert before == {
        ("f", "message.failed", "failed", "WmsError: no such item"),
        ("s", "message.failed", "stuck", f"started since {stamps['45']} UTC"),
        ("l", "message.failed", "stuck", f"enqueued since {stamps['45']} UTC"),
        ("e", "message.delivered", None, None),
        ("x", "message.failed", "failed", "SFTP: permission denied"),
    }
    ours = [event for event in events(engine) if str(event.get("correlationid")).endswith(tag)]
    assert {str(event["data"]["keys"]) for event in ours} == {str({"order": name})}
    assert {event["data"]["attributes"]["flow"] for event in ours} == {"sale.order.export_to_wms", "ORDRSP out"}
    erp.write("queue.job", failed, state="pending")
    assert told() - before == {("f", "message.retried", None, None)}
    erp.write("queue.job", failed, state="done", date_done=stamps["1"])
    erp.write("queue.job", stuck, state="cancelled", date_cancelled=stamps["1"])
    erp.call("queue.job", "unlink", [lost])
    erp.write("edi.exchange.record", sent, edi_exchange_state="output_sent_and_processed")
    assert {found[:3] for found in told() - before} == {
        ("f", "message.retried", None),
        ("f", "message.delivered", None),
        ("s", "message.dead_lettered", "cancelled"),
        ("l", "message.dead_lettered", "deleted"),
    }
    delivered = [event for event in events(engine) if event.get("correlationid") == f"e-{tag}"]
    assert len(delivered) == 2


def test_an_electronic_invoice_that_is_refused_and_then_sent(erp: Erp, engine: sa.Engine) -> None:
    """Odoo's own account_edi."""
    number = f"INV/2026/{uuid4().int % 9_000_000 + 1_000_000}"
    erp.company_with_invoice(number)
    (invoice,) = erp.find("account.move", ("name", "=", number), fields=[])
    known = erp.find("account.edi.format", ("code", "=", "milepost"), fields=[])
    form = known[0]["id"] if known else erp.make("account.edi.format", name="Stand-in", code="milepost")
    error = {"error": "<p>No <b>VAT</b> number</p>", "blocking_level": "error"}
    document = erp.make("account.edi.document", move_id=invoice["id"], edi_format_id=form, state="to_send", **error)
    poller = Poller(engine, erp.options, utc_now)
    poller.step()
    erp.write("account.edi.document", document, state="sent", error=False, blocking_level=False)
    for _ in range(10):  # everything has had its turn
        poller.step()
    told = [event for event in events(engine) if event.get("correlationid") == f"account.edi.document/{document}"]
    assert [event["type"] for event in told] == ["message.failed", "message.delivered"]
    assert [event["data"]["keys"] for event in told] == [{"invoice": number}] * 2
    assert " ".join(told[0]["data"]["reason"].split()) == "No VAT number"


def journey_of(engine: sa.Engine, name: str, model: str = "order") -> int:
    mine = (t.journeys.c.key == name) & (t.journeys.c.model == model)
    with engine.connect() as connection:
        return int(connection.scalars(sa.select(t.journeys.c.journey_id).where(mine)).one())
