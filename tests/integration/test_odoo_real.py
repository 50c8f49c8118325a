"""The poller against a real Odoo 19: what people do there is one journey with every milestone at Odoo's own times."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any
from uuid import uuid4

import msgspec
import odoorpc
import pytest
import sqlalchemy as sa

from collector.odoo.poll import Poller
from milepost import settings
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.db.engine import make_engine
from milepost.inbox.log import decode_batch
from tests.chain import Chain
from tests.databases import Databases

pytestmark = pytest.mark.odoo
SERVICES = Path(__file__).parent / "services"
TRACKING_REF = "1Z999AA1012345{:04}"
Row = dict[str, Any]


class Erp:
    """The real Odoo, as its users use it."""

    def __init__(self) -> None:
        environ = os.environ
        self.options = settings.Odoo(
            odoo_url=environ["MILEPOST_TEST_ODOO_URL"],
            odoo_database=environ["MILEPOST_TEST_ODOO_DB"],
            odoo_user=environ["MILEPOST_TEST_ODOO_USER"],
            odoo_password=environ["MILEPOST_TEST_ODOO_PASSWORD"],
        )
        host, port = self.options.odoo_url.removeprefix("http://").split(":")
        self._odoo = odoorpc.ODOO(host, port=int(port), timeout=60)
        self._odoo.login(self.options.odoo_database, self.options.odoo_user, self.options.odoo_password)

    def call(self, model: str, method: str, *arguments: Any, **options: Any) -> Any:
        return self._odoo.execute_kw(model, method, list(arguments), options)

    def make(self, model: str, **values: Any) -> int:
        context = values.pop("context", {})
        made = self.call(model, "create", values, context=context)
        return int(made[0] if isinstance(made, list) else made)

    def find(self, model: str, *domain: Any, fields: list[str], **options: Any) -> list[Row]:
        rows: list[Row] = self.call(model, "search_read", list(domain), fields=fields, **options)
        return rows

    def record(self, module: str, name: str) -> int:
        rows = self.find("ir.model.data", ("module", "=", module), ("name", "=", name), fields=["res_id"])
        return int(rows[0]["res_id"])

    def stock(self, quantity: int) -> int:
        """A new product with goods on the shelf."""
        product = self.make(
            "product.product", name="Bolt", is_storable=True, list_price=12.5, invoice_policy="delivery"
        )
        shelf = self.find("stock.warehouse", fields=["lot_stock_id"], limit=1)[0]["lot_stock_id"][0]
        context = {"inventory_mode": True}
        goods = {"product_id": product, "location_id": shelf, "inventory_quantity": quantity}
        self.call("stock.quant", "action_apply_inventory", [self.make("stock.quant", **goods, context=context)])
        return product

    def sell(self, quantity: int, **values: Any) -> int:
        """A quotation."""
        line = (0, 0, {"product_id": self.stock(100), "product_uom_qty": quantity})
        partner = self.find("res.partner", ("is_company", "=", True), fields=["name"], limit=1)[0]["id"]
        return self.make("sale.order", partner_id=partner, order_line=[line], **values)

    def pickings(self, order: int) -> list[Row]:
        fields = ["name", "state", "create_date", "date_done", "move_ids", "backorder_id"]
        return self.find("stock.picking", ("sale_id", "=", order), fields=fields, order="id")

    def deliver(self, picking: Row, quantity: int | None = None, tracking_ref: str | None = None) -> None:
        """Hand out the goods; of a part, the rest becomes a backorder."""
        if tracking_ref:
            self.call("stock.picking", "write", [picking["id"]], {"carrier_tracking_ref": tracking_ref})
        change = {"picked": True} if quantity is None else {"picked": True, "quantity": quantity}
        self.call("stock.move", "write", picking["move_ids"], change)
        asked = self.call("stock.picking", "button_validate", [picking["id"]], context={"skip_sms": True})
        if isinstance(asked, dict):
            context = {**asked["context"], "skip_sms": True}
            wizard = self.make(asked["res_model"], pick_ids=[(4, picking["id"])], context=context)
            self.call(asked["res_model"], "process", [wizard], context=context)

    def invoice(self, order: int) -> int:
        """A draft of what was delivered."""
        context = {"active_model": "sale.order", "active_ids": [order], "active_id": order}
        orders = [(6, 0, [order])]
        how = {"advance_payment_method": "delivered", "sale_order_ids": orders, "context": context}
        self.call("sale.advance.payment.inv", "create_invoices", [self.make("sale.advance.payment.inv", **how)])
        return int(self.find("sale.order", ("id", "=", order), fields=["invoice_ids"])[0]["invoice_ids"][-1])

    def pay(self, invoice: int) -> None:
        context = {"active_model": "account.move", "active_ids": [invoice]}
        wizard = self.make("account.payment.register", context=context)
        self.call("account.payment.register", "action_create_payments", [wizard], context=context)

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        subprocess.run([SERVICES / "down", "odoo"], check=True, timeout=60, capture_output=True)

    def start(self) -> None:
        subprocess.run([SERVICES / "up", "odoo"], check=True, timeout=300, capture_output=True)


@pytest.fixture
def erp() -> Iterator[Erp]:
    """The only Odoo there is: one test at a time, in however many processes."""
    with (Path(tempfile.gettempdir()) / f"milepost-odoo-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Erp()


def time(text: str) -> datetime:
    return datetime.fromisoformat(text + "+00:00")


def events(engine: sa.Engine) -> list[Row]:
    """All that is in the log, which nobody has consumed."""
    with engine.connect() as connection:
        payloads = connection.scalars(sa.select(t.event_log.c.payload).order_by(t.event_log.c.seq)).all()
    return [msgspec.json.decode(entry.body) for payload in payloads for entry in decode_batch(payload)]


def facts(engine: sa.Engine) -> set[str]:
    """The ids of all facts; each was told once."""
    found = [event["id"] for event in events(engine)]
    assert len(set(found)) == len(found)
    return {name for name in found if "@" not in name}


def milestones(engine: sa.Engine, journey: int) -> dict[str, datetime]:
    with engine.connect() as connection:
        query = sa.select(t.milestones.c.name, t.milestones.c.reached_at).where(t.milestones.c.journey_id == journey)
        return {name: reached.astimezone(UTC) for name, reached in connection.execute(query)}


def members(engine: sa.Engine, journey: int) -> set[tuple[str, str]]:
    joined = t.members.join(t.objects, t.members.c.object_id == t.objects.c.object_id)
    query = sa.select(t.objects.c.type, t.objects.c.key).select_from(joined).where(t.members.c.journey_id == journey)
    with engine.connect() as connection:
        return {(kind, key) for kind, key in connection.execute(query)}


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
    erp.restart()
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
    }
    assert backorders(engine) >= {(done[0]["name"], done[1]["name"])}


def backorders(engine: sa.Engine) -> set[tuple[str, str]]:
    parent, child = t.objects.alias(), t.objects.alias()
    query = (
        sa.select(parent.c.key, child.c.key)
        .select_from(t.relations)
        .join(parent, parent.c.object_id == t.relations.c.first_id)
        .join(child, child.c.object_id == t.relations.c.second_id)
        .where(t.relations.c.rel == "link:backorder")
    )
    with engine.connect() as connection:
        return {(first, second) for first, second in connection.execute(query)}


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


def test_an_idle_poll_costs_four_calls(erp: Erp, engine: sa.Engine) -> None:
    """Once what was written in the last seconds, by the other tests too, is settled; models take turns, so four polls."""
    poller, deadline = Poller(engine, erp.options, utc_now), utc_now() + timedelta(minutes=2)
    calls: list[int] = []
    while calls[-4:] != [4] * 4 and utc_now() < deadline:
        sleep(0.2)
        calls.append(poller.step().calls)
    assert calls[-4:] == [4] * 4


def test_a_user_who_may_only_read(erp: Erp, engine: sa.Engine, databases: Databases) -> None:
    """The rights that docs/how-to/connect-odoo.md names are enough to see all that an administrator sees."""
    names = [("base", "group_user"), ("sales_team", "group_sale_salesman_all_leads"), ("stock", "group_stock_user")]
    names += [("account", "group_account_readonly"), ("purchase", "group_purchase_user")]
    login = f"milepost-{uuid4()}"
    reading = erp.make("res.groups", name=login)
    for model in ("mail.tracking.value", "ir.model.fields"):
        (row,) = erp.find("ir.model", ("model", "=", model), fields=["model"])
        erp.make("ir.model.access", name=login, model_id=row["id"], group_id=reading, perm_read=True)
    groups = [*(erp.record(*name) for name in names), reading]
    companies = [row["id"] for row in erp.find("res.company", fields=[])]
    rights = {"group_ids": [(6, 0, groups)], "company_ids": [(6, 0, companies)]}
    user = erp.make("res.users", name=login, login=login, password="only reads 1", **rights)
    options = msgspec.structs.replace(erp.options, odoo_user=login, odoo_password="only reads 1")
    result = Poller(engine, options, utc_now).step()
    erp.call("res.users", "write", [user], {"active": False})
    assert (result.error, result.problems) == (None, ())
    with databases.fresh() as url:
        other = make_engine(url)
        Poller(other, erp.options, utc_now).step()
        assert facts(other) == facts(engine)
        other.dispose()
