"""The real Odoo as its users use it, and what Milepost made of it: for the tests marked odoo."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import odoorpc
import sqlalchemy as sa

from milepost import settings
from milepost.db import tables as t
from milepost.inbox.log import decode_batch

SERVICES = Path(__file__).parent / "services"
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
            odoo_rate=1000.0,
        )
        host, port = self.options.odoo_url.removeprefix("http://").split(":")
        self._odoo = odoorpc.ODOO(host, port=int(port), timeout=60)
        self._odoo.login(self.options.odoo_database, self.options.odoo_user, self.options.odoo_password)

    def call(self, model: str, method: str, *arguments: Any, **options: Any) -> Any:
        return self._odoo.execute_kw(model, method, list(arguments), options)

    def make(self, model: str, /, **values: Any) -> int:
        context = values.pop("context", {})
        made = self.call(model, "create", values, context=context)
        return int(made[0] if isinstance(made, list) else made)

    def write(self, model: str, record: int, /, **values: Any) -> None:
        self.call(model, "write", [record], values)

    def name(self, model: str, record: int) -> str:
        return str(self.find(model, ("id", "=", record), fields=["name"])[0]["name"])

    def find(self, model: str, *domain: Any, fields: list[str], **options: Any) -> list[Row]:
        rows: list[Row] = self.call(model, "search_read", list(domain), fields=fields, **options)
        return rows

    def record(self, module: str, name: str) -> int:
        rows = self.find("ir.model.data", ("module", "=", module), ("name", "=", name), fields=["res_id"])
        return int(rows[0]["res_id"])

    def stock(self, quantity: int, warehouse: int | None = None) -> int:
        """A new product with goods on the shelf."""
        product = self.make(
            "product.product", name="Bolt", is_storable=True, list_price=12.5, invoice_policy="delivery"
        )
        which = [("id", "=", warehouse)] if warehouse else []
        shelf = self.find("stock.warehouse", *which, fields=["lot_stock_id"], limit=1)[0]["lot_stock_id"][0]
        context = {"inventory_mode": True}
        goods = {"product_id": product, "location_id": shelf, "inventory_quantity": quantity}
        self.call("stock.quant", "action_apply_inventory", [self.make("stock.quant", **goods, context=context)])
        return product

    def sell(self, quantity: int, **values: Any) -> int:
        """A quotation."""
        product = self.stock(100, values.get("warehouse_id"))
        line = (0, 0, {"product_id": product, "product_uom_qty": quantity})
        partner = self.find("res.partner", ("is_company", "=", True), fields=["name"], limit=1)[0]["id"]
        return self.make("sale.order", partner_id=partner, order_line=[line], **values)

    def buy(self, quantity: int) -> tuple[str, Callable[[], list[Row]]]:
        """A confirmed purchase order: its name, and what gives its receipts."""
        partner = self.find("res.partner", ("is_company", "=", True), fields=[], limit=1)[0]["id"]
        line = (0, 0, {"product_id": self.stock(0), "product_qty": quantity, "price_unit": 2.0})
        order = self.make("purchase.order", partner_id=partner, order_line=[line])
        self.call("purchase.order", "button_confirm", [order])
        fields = ["name", "date_done", "move_ids"]
        domain = ("purchase_id", "=", order)
        return self.name("purchase.order", order), lambda: self.find("stock.picking", domain, fields=fields, order="id")

    def pickings(self, order: int) -> list[Row]:
        fields = ["name", "state", "create_date", "date_done", "move_ids", "backorder_id", "picking_type_code"]
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

    def send_back(self, picking: Row, quantity: int) -> Row:
        """The return of some goods of a delivery, ready to be received."""
        context = {"active_model": "stock.picking", "active_ids": [picking["id"]], "active_id": picking["id"]}
        wizard = self.make("stock.return.picking", context=context)
        lines = self.find("stock.return.picking", ("id", "=", wizard), fields=["product_return_moves"])
        self.call("stock.return.picking.line", "write", lines[0]["product_return_moves"], {"quantity": quantity})
        made = self.call("stock.return.picking", "action_create_returns", [wizard], context=context)
        return self.find("stock.picking", ("id", "=", made["res_id"]), fields=["name", "move_ids", "date_done"])[0]

    def credit(self, invoice: int) -> int:
        """A posted credit note over the whole invoice."""
        journal = self.find("account.move", ("id", "=", invoice), fields=["journal_id"])[0]["journal_id"][0]
        context = {"active_model": "account.move", "active_ids": [invoice]}
        wizard = self.make("account.move.reversal", journal_id=journal, context=context)
        self.call("account.move.reversal", "refund_moves", [wizard], context=context)
        note = self.find("account.move", ("reversed_entry_id", "=", invoice), fields=[], order="id desc", limit=1)[0]
        self.call("account.move", "action_post", [note["id"]])
        return int(note["id"])

    def pay(self, invoice: int, amount: float | None = None) -> None:
        context = {"active_model": "account.move", "active_ids": [invoice]}
        part = {} if amount is None else {"amount": amount}
        wizard = self.make("account.payment.register", **part, context=context)
        self.call("account.payment.register", "action_create_payments", [wizard], context=context)

    def warehouse(self, steps: str) -> int:
        """A warehouse that delivers in `steps`, made once."""
        known = self.find("stock.warehouse", ("code", "=", steps[-9:-5]), fields=[])
        return (
            int(known[0]["id"])
            if known
            else self.make("stock.warehouse", name=f"In {steps}", code=steps[-9:-5], delivery_steps=steps)
        )

    def company_with_invoice(self, number: str) -> str:
        """A company that can invoice and hasn't this number yet; its name. Its invoice with the number is posted."""
        taken = {
            row["company_id"][0] for row in self.find("account.move", ("name", "=", number), fields=["company_id"])
        }
        domain = [("type", "=", "sale"), ("company_id", "not in", sorted(taken))]
        journal = self.find("account.journal", *domain, fields=["company_id"], limit=1)[0]
        context = {"allowed_company_ids": [journal["company_id"][0]]}
        partner = self.find("res.partner", ("is_company", "=", True), fields=[], limit=1)[0]["id"]
        line = (0, 0, {"name": "Bolts", "quantity": 1, "price_unit": 5.0})
        invoice = self.make(
            "account.move",
            move_type="out_invoice",
            partner_id=partner,
            journal_id=journal["id"],
            invoice_date="2026-11-20",
            invoice_line_ids=[line],
            context=context,
        )
        self.call("account.move", "write", [invoice], {"name": number}, context=context)
        self.call("account.move", "action_post", [invoice], context=context)
        return str(journal["company_id"][1])

    def payments(self, invoice: int) -> list[str]:
        """Names of an invoice's payments, the oldest first."""
        domain = ("reconciled_invoice_ids", "in", [invoice])
        return [row["name"] for row in self.find("account.payment", domain, fields=["name"], order="id")]

    def stop(self) -> None:
        subprocess.run([SERVICES / "down", "odoo"], check=True, timeout=60, capture_output=True)

    def start(self) -> None:
        subprocess.run([SERVICES / "up", "odoo"], check=True, timeout=300, capture_output=True)


def time(text: str) -> datetime:
    return datetime.fromisoformat(text + "+00:00")


def events(engine: sa.Engine) -> list[Row]:
    """All that is in the log, which nobody has consumed."""
    with engine.connect() as connection:
        payloads = connection.scalars(sa.select(t.event_log.c.payload).order_by(t.event_log.c.seq)).all()
    return [msgspec.json.decode(entry.body) for payload in payloads for entry in decode_batch(payload)]


def named(event: Row) -> set[str]:
    """All keys of an event."""
    values = event["data"].get("keys", {}).values()
    return {key for value in values for key in (value if isinstance(value, list) else [value])}


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


def links(engine: sa.Engine, rel: str) -> set[tuple[str, str]]:
    """Keys of what is linked as `rel`."""
    parent, child = t.objects.alias(), t.objects.alias()
    query = (
        sa.select(parent.c.key, child.c.key)
        .select_from(t.relations)
        .join(parent, parent.c.object_id == t.relations.c.first_id)
        .join(child, child.c.object_id == t.relations.c.second_id)
        .where(t.relations.c.rel == f"link:{rel}")
    )
    with engine.connect() as connection:
        return {(first, second) for first, second in connection.execute(query)}
