"""A small Odoo on loopback that answers JSON-RPC as the real one was seen to: for tests of outages, races and rights.

Rows are plain dicts per model. What the real one answers is in tests/integration/test_odoo_real.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from operator import eq, ge, gt, lt, ne
from typing import Any

Row = dict[str, Any]
STATES = {
    "sale.order": {
        "state": {"draft": "Quotation", "sent": "Quotation Sent", "sale": "Sales Order", "cancel": "Cancelled"}
    },
    "stock.picking": {"state": {"draft": "Draft", "confirmed": "Waiting", "assigned": "Ready", "done": "Done"}},
    "account.move": {
        "state": {"draft": "Draft", "posted": "Posted"},
        "payment_state": {"not_paid": "Not Paid", "paid": "Paid"},
    },
    "account.payment": {"state": {"draft": "Draft", "in_process": "In Process", "paid": "Paid"}},
    "purchase.order": {"state": {"draft": "RFQ", "purchase": "Purchase Order"}},
}
TEST: dict[str, Callable[[Any, Any], bool]] = {
    "=": eq,
    "!=": ne,
    ">": gt,
    ">=": ge,
    "<": lt,
    "in": lambda a, b: a in b,
    "not in": lambda a, b: a not in b,
}
PASSWORD = "open sesame"


class Fault(Exception):
    """An error of Odoo: (exception class, message)."""


class FakeOdoo:
    """One database. `tables` holds what is committed; `calls` counts requests; `denied` models can't be read.

    As in the real one, whoever may not read a model may still ask for its fields. `hidden` ids are those of records
    that exist and may not be read.
    """

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {model: [] for model in STATES}
        self.tables |= {"mail.tracking.value": [], "mail.message": [], "res.partner": [], "stock.picking.type": []}
        self.tables["res.lang"] = [{"id": 1, "code": "en_US", "active": True}]
        self.tables["res.company"] = [{"id": 1, "name": "My Company"}]
        self.tables["res.users"] = [{"id": 2, "login": "milepost", "company_ids": [1]}]
        self.hidden: set[int] = set()
        self.tables["ir.model.fields"] = [
            {"id": number, "model": model, "name": name}
            for number, (model, name) in enumerate(((m, n) for m, fields in STATES.items() for n in fields), 100)
        ]
        self.languages: dict[str, dict[str, str]] = {}
        self.denied: set[str] = set()
        self.calls: list[str] = []
        self.now = datetime(2026, 11, 20, 10, tzinfo=UTC)
        self._ids = iter(range(1, 1_000_000))

    # --- what people do in Odoo -----------------------------------------------------------------------------------

    def stamp(self) -> str:
        return self.now.strftime("%Y-%m-%d %H:%M:%S")

    def add(self, table: str, /, **values: Any) -> Row:
        """A new record."""
        times = {"create_date": self.stamp(), "write_date": self.stamp()}
        row = {"id": next(self._ids), **times, **values}
        self.tables[table].append(row)
        return row

    def write(self, row: Row, **values: Any) -> None:
        row.update(values, write_date=self.stamp())

    def track(self, model: str, row: Row, name: str, old: str, new: str, **stamps: Any) -> Row:
        """A state change with its message; gives the tracking value."""
        self.write(row, **{name: new})
        labels, field = STATES[model][name], self._field(model, name)
        message = self.add("mail.message", model=model, res_id=row["id"], date=self.stamp())
        return self.add(
            "mail.tracking.value",
            field_id=[field, name],
            mail_message_id=[message["id"], False],
            old_value_char=labels.get(old, old),
            new_value_char=labels.get(new, new),
            **stamps,
        )

    def order(self, name: str, state: str = "draft", **values: Any) -> Row:
        plain = {"date_order": self.stamp(), "origin": False, "client_order_ref": False, "partner_id": False}
        return self.add("sale.order", name=name, state=state, amount_total=10.0, **{**plain, **values})

    def _field(self, model: str, name: str) -> int:
        rows = self.tables["ir.model.fields"]
        return next(int(row["id"]) for row in rows if (row["model"], row["name"]) == (model, name))

    # --- what it answers ------------------------------------------------------------------------------------------

    def answer(self, path: str, params: Any) -> Any:
        assert path == "/jsonrpc"
        service, arguments = params["service"], params["args"]
        if service == "common":
            self.calls.append("login")
            return 2 if arguments[2] == PASSWORD else False
        model, verb, *rest = arguments[3:]
        self.calls.append(f"{model}.{verb}")
        return self.execute(model, verb, *rest)

    def execute(self, model: str, verb: str, arguments: Any = (), options: Any = None) -> Any:
        if verb == "context_get":
            return {"lang": "en_US", "tz": "UTC"}
        if model not in self.tables:
            raise Fault("odoo.exceptions.UserError", f"Object {model} doesn't exist")
        if verb == "fields_get":
            return self._fields_of(model, options["context"]["lang"])
        if model in self.denied:
            raise Fault("odoo.exceptions.AccessError", f"You are not allowed to access '{model}' records.\n\nAsk.")
        if verb == "search_count":
            return len(self._found(model, arguments[0]))
        if verb == "read":
            return self._read(model, *arguments)
        assert verb == "search_read"
        return self._search_read(model, arguments[0], options)

    def _read(self, model: str, ids: list[int], fields: list[str]) -> list[Row]:
        if self.hidden & set(ids):
            raise Fault("odoo.exceptions.AccessError", "Due to security restrictions, you are not allowed to access")
        rows = [row for row in self.tables[model] if row["id"] in ids]
        return [{"id": row["id"], **{name: row.get(name, False) for name in fields}} for row in rows]

    def _fields_of(self, model: str, lang: str) -> Row:
        names = {name for row in self.tables[model] for name in row} | {"name", "create_date", "write_date"}
        words = self.languages.get(lang, {})
        fields: Row = {name: {"type": "char"} for name in names}
        for name, states in STATES.get(model, {}).items():
            selection = [[state, words.get(label, label)] for state, label in states.items()]
            fields[name] = {"type": "selection", "selection": selection}
        return fields

    def _search_read(self, model: str, domain: list[Any], options: Row) -> list[Row]:
        found = self._found(model, domain)
        found.sort(key=lambda row: int(row["id"]), reverse=options["order"] == "id desc")
        return [
            {"id": row["id"], **{n: row.get(n, False) for n in options["fields"]}} for row in found[: options["limit"]]
        ]

    def _found(self, model: str, domain: list[Any]) -> list[Row]:
        return [row for row in self.tables[model] if row["id"] not in self.hidden and self._match(row, domain)]

    def _match(self, row: Row, domain: list[Any]) -> bool:
        """A domain in Odoo's Polish notation; terms without an operator before them are all to hold."""
        stack: list[bool] = []
        for term in reversed(domain):
            if term in ("|", "&"):
                first, second = stack.pop(), stack.pop()
                stack.append(first or second if term == "|" else first and second)
            else:
                stack.append(self._holds(row, *term))
        return all(stack)

    def _holds(self, row: Row, name: str, operator: str, value: Any) -> bool:
        if name == "invoice_ids":
            return bool(set(row.get(name) or ()) & set(value))
        if "." in name:
            owner, name = name.split(".")
            row = next(m for m in self.tables["mail.message"] if m["id"] == row[owner][0])
        held = row.get(name, False)
        if held is False and operator in (">", ">=", "<"):
            return False  # NULL
        return bool(TEST[operator](held[0] if isinstance(held, list) else held, value))


class _Handler(BaseHTTPRequestHandler):
    odoo: FakeOdoo

    def do_POST(self) -> None:
        params = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["params"]
        try:
            answer = {"result": self.odoo.answer(self.path, params)}
        except Fault as fault:
            name, message = fault.args
            answer = {"error": {"message": "Odoo Server Error", "data": {"name": name, "message": message}}}
        body = json.dumps({"jsonrpc": "2.0", **answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return self.odoo.now.strftime("%a, %d %b %Y %H:%M:%S GMT")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(odoo: FakeOdoo, port: int = 0) -> Iterator[str]:
    """Its address while it runs."""
    handler = type("Handler", (_Handler,), {"odoo": odoo})
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
