"""The real Odoo sends by itself: its action "Send Webhook Notification", as an automation rule runs it."""

from __future__ import annotations

import json

import odoorpc
import pytest

from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.contract import Entry
from milepost.decisions import catalog
from tests.integration.erp import Erp
from tests.served import collector, wait_until

pytestmark = pytest.mark.odoo
SOURCES = """
sources:
  erp:
    hook: {mapping: odoo-webhook, scheme: token, query: token, secret_env: ERP_TOKEN}
"""
FIELDS = ("name", "state", "write_date", "client_order_ref", "amount_total")


def test_an_order_is_told_by_odoos_own_action(database: str, erp: Erp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERP_TOKEN", "the-token-of-the-erp")
    order = erp.sell(1, client_order_ref="PO-WEBHOOK")
    erp.call("sale.order", "action_confirm", [order])
    with collector(database) as served:
        with served.engine.begin() as connection:
            texts = {**loader.default_texts(), "sources.yaml": SOURCES}
            catalog.apply(connection, texts, actor="test", now=utc_now())
        wait_until(lambda: served.client.options("/v1/hooks/erp").status_code == 200)
        action = erp.make(
            "ir.actions.server",
            name="Tell Milepost",
            model_id=model_of(erp),
            state="webhook",
            webhook_url=f"{served.url}/v1/hooks/erp?token=the-token-of-the-erp",
            webhook_field_ids=[(6, 0, field_ids(erp))],
        )
        try:
            context = {"active_model": "sale.order", "active_id": order, "active_ids": [order]}
            erp.call("ir.actions.server", "run", [action], context=context)
            found: list[Entry] = []

            def look() -> int:
                found.extend(served.taken())
                return len(found)

            wait_until(look)
        finally:
            erp.call("ir.actions.server", "unlink", [action])
    (event,) = [json.loads(entry.body) for entry in found]
    assert event["type"] == "order.confirmed"
    assert event["source"] == "erp"
    assert erp.name("sale.order", order) in json.dumps(event["data"]["keys"])


def test_a_server_actions_code_cannot_send(erp: Erp) -> None:
    """As the guide says: it may import nothing."""
    order = erp.sell(1)
    context = {"active_model": "sale.order", "active_id": order, "active_ids": [order]}
    try:
        with pytest.raises(odoorpc.error.RPCError, match=r"(?i)forbidden|IMPORT_NAME"):
            make_and_run(erp, context)
    finally:
        left = erp.find("ir.actions.server", ("name", "=", "Import it"), fields=[])
        erp.call("ir.actions.server", "unlink", [row["id"] for row in left])


def make_and_run(erp: Erp, context: dict[str, object]) -> None:
    code = {"state": "code", "code": "import urllib"}
    action = erp.make("ir.actions.server", name="Import it", model_id=model_of(erp), **code)
    erp.call("ir.actions.server", "run", [action], context=context)


def model_of(erp: Erp) -> int:
    return int(erp.find("ir.model", ("model", "=", "sale.order"), fields=[])[0]["id"])


def field_ids(erp: Erp) -> list[int]:
    rows = erp.find("ir.model.fields", ("model", "=", "sale.order"), ("name", "in", FIELDS), fields=["name"])
    return [int(row["id"]) for row in rows]
