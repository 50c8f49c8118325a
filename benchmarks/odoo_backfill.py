"""History of a real Odoo 19 read by `milepost odoo backfill`'s own code, and what that and an idle poll cost Odoo.

Needs the real services (make services; source their env file), and works on a copy of Odoo's database, dropped
afterwards. A hundred orders go through Odoo itself: confirmed, delivered, invoiced, paid. Their rows are multiplied in
SQL, with names, dates and state changes of their own, until there are `--orders`. Prints one JSON object as its last
line:

- orders, records, events; seconds, records_per_s; calls, calls_per_1000_orders
- odoo_cpu_s, odoo_database_cpu_s: processor time of Odoo's process and of its database sessions during the backfill
- odoo_share: both of them over the wall time, in processors
- idle_calls: calls of each of the polls that follow, when nothing happens (promise: less than 5)
- lost, doubled: orders that gave no order.received, and events that were told twice (promise: 0)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import msgspec
import odoorpc
import psycopg
import sqlalchemy as sa

from collector.odoo.backfill import Backfill
from collector.odoo.poll import Poller
from collector.odoo.source import Source
from milepost import settings
from milepost.clock import utc_now
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import libpq_url, make_engine
from milepost.db.schema import run_migrations
from milepost.db.tables import event_log
from milepost.inbox.log import decode_batch

SERVICES: Final = Path(__file__).parents[1] / "tests/integration/services"
DATABASE: Final = "odoo19_bench"
GROWN: Final = 100
"""Orders that go through Odoo itself."""
OFFSET: Final = 10_000_000
"""Between the ids of one copy and the next."""
IDLE_POLLS: Final = 20
_TICKS: Final = os.sysconf("SC_CLK_TCK")

# rows of a copy, and the columns that refer to other rows of it
COPIED: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "sale_order": ("id IN (SELECT unnest(%(orders)s))", ()),
    "stock_picking": ("sale_id IN (SELECT unnest(%(orders)s))", ("sale_id", "backorder_id", "return_id")),
    "account_move": ("id IN (SELECT unnest(%(invoices)s))", ()),
    "sale_order_line": ("order_id IN (SELECT unnest(%(orders)s))", ("order_id",)),
    "account_move_line": ("move_id IN (SELECT unnest(%(invoices)s))", ("move_id",)),
    "account_payment": ("id IN (SELECT unnest(%(payments)s))", ()),
    "mail_message": (
        "(model, res_id) IN (SELECT 'sale.order', unnest(%(orders)s) UNION ALL"
        " SELECT 'stock.picking', unnest(%(pickings)s) UNION ALL SELECT 'account.move', unnest(%(invoices)s))",
        ("res_id",),
    ),
    "mail_tracking_value": ("mail_message_id IN (SELECT unnest(%(messages)s))", ("mail_message_id",)),
    "sale_order_line_invoice_rel": (
        "order_line_id IN (SELECT id FROM sale_order_line WHERE order_id IN (SELECT unnest(%(orders)s)))",
        ("order_line_id", "invoice_line_id"),
    ),
    "account_move__account_payment": ("payment_id IN (SELECT unnest(%(payments)s))", ("payment_id", "invoice_id")),
}
_TIMES: Final = {
    "sale_order": ("create_date", "write_date", "date_order"),
    "stock_picking": ("create_date", "write_date", "date_done"),
    "mail_message": ("create_date", "write_date", "date"),
}
_NAMED: Final = ("sale_order", "stock_picking", "account_move", "account_payment")
_EMPTIED: Final = ("access_token", "parent_id", "message_id", "origin_payment_id", "move_id_of_payment")


class Odoo:
    """The copy, as its administrator."""

    def __init__(self, options: settings.Odoo) -> None:
        host, port = options.odoo_url.removeprefix("http://").split(":")
        self._odoo = odoorpc.ODOO(host, port=int(port), timeout=900)
        self._odoo.login(options.odoo_database, options.odoo_user, options.odoo_password)

    def call(self, model: str, method: str, *arguments: Any, **options: Any) -> Any:
        return self._odoo.execute_kw(model, method, list(arguments), options)

    def grow(self, count: int) -> list[int]:
        """Orders that were confirmed, delivered, invoiced and paid."""
        product = self.call(
            "product.product", "create", [{"name": "Bolt", "is_storable": True, "invoice_policy": "order"}]
        )[0]
        partner = self.call("res.partner", "search", [("is_company", "=", True)], limit=1)[0]
        line = (0, 0, {"product_id": product, "product_uom_qty": 2, "price_unit": 9.5})
        made = [
            {"partner_id": partner, "client_order_ref": f"PO-{number}", "order_line": [line]} for number in range(count)
        ]
        orders: list[int] = self.call("sale.order", "create", made)
        self.call("sale.order", "action_confirm", orders)
        self._deliver(orders)
        self._invoice_and_pay(orders)
        return orders

    def _deliver(self, orders: list[int]) -> None:
        pickings = self.call("stock.picking", "search", [("sale_id", "in", orders)])
        moves = self.call("stock.move", "search", [("picking_id", "in", pickings)])
        self.call("stock.move", "write", moves, {"quantity": 2, "picked": True})
        self.call("stock.picking", "button_validate", pickings, context={"skip_sms": True, "skip_backorder": True})

    def _invoice_and_pay(self, orders: list[int]) -> None:
        context = {"active_model": "sale.order", "active_ids": orders}
        how = {
            "advance_payment_method": "delivered",
            "consolidated_billing": False,
            "sale_order_ids": [(6, 0, orders)],
        }
        wizard = self.call("sale.advance.payment.inv", "create", [how], context=context)
        self.call("sale.advance.payment.inv", "create_invoices", wizard, context=context)
        read = self.call("sale.order", "read", orders, ["invoice_ids"])
        invoices = sorted({invoice for row in read for invoice in row["invoice_ids"]})
        self.call("account.move", "action_post", invoices)
        context = {"active_model": "account.move", "active_ids": invoices}
        wizard = self.call("account.payment.register", "create", [{"group_payment": False}], context=context)
        self.call("account.payment.register", "action_create_payments", wizard, context=context)


def multiply(connection: psycopg.Connection[Any], orders: list[int], copies: int) -> None:
    """Copies of the orders with all that hangs on them, each an hour older than the one before."""

    def ids(query: str) -> list[int]:
        return [row[0] for row in connection.execute(query, which)]

    which: dict[str, Any] = {"orders": orders}
    which["pickings"] = ids("SELECT id FROM stock_picking WHERE sale_id = ANY(%(orders)s)")
    which["invoices"] = ids(
        "SELECT DISTINCT m.move_id FROM account_move_line m"
        " JOIN sale_order_line_invoice_rel r ON r.invoice_line_id = m.id"
        " JOIN sale_order_line l ON l.id = r.order_line_id WHERE l.order_id = ANY(%(orders)s)"
    )
    which["payments"] = ids("SELECT payment_id FROM account_move__account_payment WHERE invoice_id = ANY(%(invoices)s)")
    which["messages"] = ids(f"SELECT id FROM mail_message WHERE {COPIED['mail_message'][0]}")
    connection.execute("SET session_replication_role = replica")  # no foreign keys: what isn't copied stays away
    for table, (condition, references) in COPIED.items():
        columns = [
            row[0]
            for row in connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'",
                [table],
            )
        ]
        values = [_copied(table, column, references) for column in columns]
        names = ", ".join(f'"{column}"' for column in columns)
        connection.execute(
            f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM {table} t, generate_series(1, %(copies)s) k"
            f" WHERE {condition}",
            {**which, "copies": copies},
        )
    connection.execute("ANALYZE")


def _copied(table: str, column: str, references: tuple[str, ...]) -> str:
    """The SQL of a column in the k-th copy."""
    if column == "id" or column in references:
        return f't."{column}" + k * {OFFSET}'
    if column == "name" and table in _NAMED:
        return "t.name || '-' || k"
    if column in _TIMES.get(table, ("create_date", "write_date")):
        return f"t.\"{column}\" - k * interval '1 h'"
    return "NULL" if column in _EMPTIED else f't."{column}"'


@contextmanager
def copy_of_odoo(options: settings.Odoo, orders: int) -> Iterator[tuple[settings.Odoo, psycopg.Connection[Any]]]:
    """A database with so many orders, as settings, and a connection to it."""
    subprocess.run([SERVICES / "clone", options.odoo_database, DATABASE], check=True, timeout=300)
    url = sa.make_url(libpq_url(os.environ["MILEPOST_TEST_TIMESCALE_URL"]))
    copied = msgspec.structs.replace(options, odoo_database=DATABASE)
    with psycopg.connect(
        url.set(database=DATABASE).render_as_string(hide_password=False), autocommit=True
    ) as connection:
        grown = Odoo(copied).grow(min(orders, GROWN))
        multiply(connection, grown, max(0, orders // len(grown) - 1))
        yield copied, connection
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


# --- measuring --------------------------------------------------------------------------------------------------------


def cpu_of(*processes: int) -> float:
    """Seconds of processor time that processes have used."""
    total = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def sessions(connection: psycopg.Connection[Any]) -> list[int]:
    """The processes of Odoo's sessions in its database."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND usename = 'odoo'"
    return [row[0] for row in connection.execute(query, [DATABASE])]


def told(engine: sa.Engine) -> Counter[str]:
    """How often each event stands in the log, by id."""
    with engine.connect() as connection:
        payloads = connection.scalars(sa.select(event_log.c.payload))
        return Counter(msgspec.json.decode(entry.body)["id"] for payload in payloads for entry in decode_batch(payload))


def measure(engine: sa.Engine, options: settings.Odoo, connection: psycopg.Connection[Any]) -> dict[str, Any]:
    cache = Path(os.environ.get("MILEPOST_SERVICES", Path.home() / ".cache/milepost-services"))
    server = int((cache / "run/odoo.pid").read_text())
    source = Source(engine, options, utc_now)
    done: dict[str, int] = {}
    source.client.companies()  # its sessions exist from here on
    before, database_before, began = cpu_of(server), cpu_of(*sessions(connection)), perf_counter()
    events = Backfill(source).run(lambda model, at, _: done.update({model: at}))
    seconds = perf_counter() - began
    odoo, database = cpu_of(server) - before, cpu_of(*sessions(connection)) - database_before
    calls = source.client.calls
    poller = Poller(engine, options, utc_now)
    polls = [poller.step() for _ in range(IDLE_POLLS)]
    ids, records = told(engine), sum(done.values())
    found = [row[0] for row in connection.execute("SELECT id FROM sale_order")]
    return {
        "orders": done["sale.order"],
        "records": records,
        "events": events,
        "seconds": round(seconds, 1),
        "records_per_s": round(records / seconds),
        "calls": calls,
        "calls_per_1000_orders": round(calls / done["sale.order"] * 1000, 1),
        "odoo_cpu_s": round(odoo, 1),
        "odoo_database_cpu_s": round(database, 1),
        "odoo_share": round((odoo + database) / seconds, 2),
        "idle_calls": [poll.calls for poll in polls[len(polls) // 2 :]],
        "lost": sum(1 for order in found if f"sale.order/{order}/created" not in ids),
        "doubled": sum(1 for count in ids.values() if count > 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--orders", type=int, default=10_000, help="how many orders there are")
    parser.add_argument("--rate", type=float, default=settings.Odoo().odoo_rate, help="calls a second at most")
    parser.add_argument("--small", action="store_true", help="200 orders: does it run at all")
    arguments = parser.parse_args()
    if "MILEPOST_TEST_ODOO_URL" not in os.environ:
        print(json.dumps({"skipped": "needs the real Odoo: make services, and source the env file that it names"}))
        return
    names = {"odoo_url": "URL", "odoo_database": "DB", "odoo_user": "USER", "odoo_password": "PASSWORD"}
    given: dict[str, Any] = {name: os.environ[f"MILEPOST_TEST_ODOO_{short}"] for name, short in names.items()}
    options = settings.Odoo(**given, odoo_rate=arguments.rate)
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder)) as server,
        copy_of_odoo(options, 200 if arguments.small else arguments.orders) as (copied, connection),
    ):
        run_migrations(server.url())
        engine = make_engine(server.url(), application_name="benchmark")
        print(json.dumps(measure(engine, copied, connection)))
        engine.dispose()


if __name__ == "__main__":
    main()
