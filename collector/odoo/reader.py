"""What is asked of Odoo: which rows are new, what they say, and the names that they refer to.

Each method says how many calls it makes; none reads more rows than it is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from collector.odoo.client import Client, Row
from collector.odoo.cursor import OVERLAP, floor_at
from collector.odoo.exchanges import EXCHANGES
from collector.odoo.mapping import Change
from collector.odoo.snapshots import MODELS, Names, invoices_of, is_step
from milepost.errors import NotAllowed, NotFound

REFRESH: Final = timedelta(minutes=10)
"""How long is believed what Odoo said of its models, rights and names."""
HALVINGS: Final = 50
"""Calls of one probe at most to find which records may not be read; eleven find one among 2,000."""
_NEEDED: Final = frozenset({"name", "state", "create_date", "write_date"})
_INDEX_FACTOR: Final = 10
_TRACKING_FIELDS: Final = ("field_id", "old_value_char", "new_value_char", "mail_message_id", "create_date")


@dataclass(frozen=True, slots=True)
class History:
    """{record: {field: first state}} and {record: changes, the latest first}."""

    states: dict[int, dict[str, str | None]]
    changes: dict[int, list[Change]] = field(default_factory=dict)


class HistoryHidden(NotAllowed):
    """The user may not read the history of states. Without it there are no milestones to tell: all work waits."""


class Reader:
    """Reads one Odoo. `problems` says what can't be read, {what: why}; the rest is read all the same."""

    def __init__(self, client: Client, page: int) -> None:
        self._client = client
        self._page = page
        self._hidden: set[tuple[str, int]] = set()
        self._forget()

    def _forget(self) -> None:
        self._asked_at: datetime | None = None
        self.problems: dict[str, str] = {}
        self._fields: dict[str, list[str]] = {}
        self._labels: dict[tuple[str, str], dict[str, set[str]]] = {}
        self._languages: list[str] | None = None
        self._tracked: dict[int, tuple[str, str]] = {}
        self._partners: dict[int, str] = {}
        self._warehouses: dict[int, str] = {}
        self._packing: set[int] | None = None
        self.exchanges: dict[str, list[str]] = {}
        self.companies: dict[int, str] = {}

    # --- what there is --------------------------------------------------------------------------------------------

    @property
    def models(self) -> list[str]:
        """The models that can be read."""
        return list(self._fields)

    def refresh(self, now: datetime) -> None:
        """Ask which companies, models and fields there are: 11 calls, every ten minutes."""
        if self._asked_at is not None and now - self._asked_at < REFRESH:
            return
        self._forget()
        self.companies = self._client.companies()
        for model in MODELS:
            try:
                self._describe(model)
            except (NotAllowed, NotFound) as error:
                self.problems[model] = str(error)
        self._describe_exchanges()
        self._find_tracked()
        self._asked_at = now

    def drop(self, model: str, error: NotAllowed | NotFound) -> None:
        """Read `model` no more until the next refresh, and say why."""
        self._fields.pop(model, None)
        self.exchanges.pop(model, None)
        self.problems[model] = str(error)

    def _describe_exchanges(self) -> None:
        """Queues and exchanges come with modules that most have not: without them nothing is missing."""
        for model, exchange in EXCHANGES.items():
            with suppress(NotFound, NotAllowed):
                there = self._client.fields_of(model)
                self.exchanges[model] = [name for name in exchange.fields if name in there]

    def _describe(self, model: str) -> None:
        there = self._client.fields_of(model)
        missing = _NEEDED - there.keys()
        if missing:
            raise NotAllowed(f"{model}: this user may not read {', '.join(sorted(missing))}")
        self._fields[model] = [name for name in MODELS[model].fields if name in there]
        for name in MODELS[model].states:
            if name in there:
                self._learn(model, name, there[name])

    def _learn(self, model: str, name: str, description: Row) -> None:
        labels = self._labels.setdefault((model, name), {})
        for state, label in description.get("selection") or ():
            labels.setdefault(label, set()).add(state)

    def _find_tracked(self) -> None:
        wanted = {(model, name) for model in self._fields for name in MODELS[model].states}
        domain = [("model", "in", sorted(self._fields)), ("name", "in", sorted({name for _, name in wanted}))]
        rows = self._history("ir.model.fields", domain, ["model", "name"])
        pairs = {row["id"]: (row["model"], row["name"]) for row in rows}
        self._tracked = {key: pair for key, pair in pairs.items() if pair in wanted}

    # --- records --------------------------------------------------------------------------------------------------

    def page_below(self, model: str, domain: list[Any], below: int) -> list[Row]:
        """A page of records, by id down from `below` (0: from the newest on): 1 call."""
        domain = [*MODELS[model].domain, *domain, *([("id", "<", below)] if below else [])]
        rows = self._client.search_read(model, domain, self._fields[model], order="id desc", limit=self._page)
        return [_stamped(row) for row in rows]

    def count(self, model: str, domain: list[Any]) -> int:
        """1 call."""
        return self._client.count(model, [*MODELS[model].domain, *domain])

    def written_since(self, model: str, floor: str) -> dict[int, str]:
        """{id: write date} of what was written since `floor`: 1 call for ten pages."""
        found: dict[int, str] = {}
        limit, last = self._page * _INDEX_FACTOR, 0
        while True:
            domain = [*MODELS[model].domain, ("write_date", ">=", floor), ("id", ">", last)]
            rows = self._client.search_read(model, domain, ["write_date"], limit=limit)
            found.update((row["id"], row["write_date"]) for row in rows)
            if len(rows) < limit:
                return found
            last = rows[-1]["id"]

    def records(self, model: str, ids: Collection[int]) -> list[Row]:
        """Records by id, without those that are gone or not of our kind: 1 call."""
        domain = [*MODELS[model].domain, ("id", "in", sorted(ids))]
        return [_stamped(row) for row in self._client.search_read(model, domain, self._fields[model])]

    def history(self, model: str, rows: Sequence[Row]) -> History:
        """The states in which records were when the transaction that made them ended, and all changes since: 2 calls.

        The first state is the old value of a record's first tracking value, or its present state if it has none.
        """
        fields = {key: name for key, (owner, name) in self._tracked.items() if owner == model}
        found = History({row["id"]: {name: row.get(name) or None for name in fields.values()} for row in rows})
        if not rows or not fields:
            return found
        domain = [
            ("field_id", "in", sorted(fields)),
            ("mail_message_id.model", "=", model),
            ("mail_message_id.res_id", "in", sorted(found.states)),
        ]
        for record, change in reversed(self.explained(self._tracking(domain, order="id")).get(model, [])):
            if record in found.states:
                found.states[record][change.field] = change.old  # the oldest comes last, and stays
                found.changes.setdefault(record, []).append(change)
        return found

    def watched(self, model: str, domain: list[Any], after: int) -> list[Row]:
        """A page of exchanges, by id up from `after`: 1 call."""
        return self._client.search_read(
            model, [*domain, ("id", ">", after)], self.exchanges[model], order="id", limit=self._page
        )

    def missing(self, model: str, ids: Collection[int]) -> tuple[set[int], int]:
        """Those of `ids` that are gone from Odoo, and up to which id that is known: 1 call.

        What exists and may not be read costs up to HALVINGS calls more, until each such record is known.
        """
        if self._hidden.isdisjoint((model, key) for key in ids):
            with suppress(NotAllowed):
                return set(ids) - self._client.existing(model, sorted(ids)), max(ids)
        rows = self._client.search_read(model, [("id", "in", sorted(ids))], ["id"])
        visible = {(model, row["id"]) for row in rows}
        self._hidden -= visible
        unseen = sorted(key for key in ids if (model, key) not in visible | self._hidden)
        return self._halved(model, unseen, max(ids))

    def _halved(self, model: str, unseen: list[int], last: int) -> tuple[set[int], int]:
        """What of `unseen` is gone, lowest first; the rest is remembered as hidden."""
        gone, waiting = set[int](), [unseen] if unseen else []
        for _ in range(HALVINGS):
            if not waiting:
                break
            part = waiting.pop()
            middle = len(part) // 2
            try:
                gone |= set(part) - self._client.existing(model, part)
            except NotAllowed:
                if middle:
                    waiting += [part[middle:], part[:middle]]
                else:
                    self._hidden.add((model, part[0]))
        return gone, waiting[-1][0] - 1 if waiting else last

    def start(self) -> tuple[str, int]:
        """Where following begins: half an hour ago, and at the tracking value of half an hour before: 1 call.

        Those with lower ids are all there by then (cursor.tracked).
        """
        now = self._client.server_time()
        rows = self._tracking([("create_date", "<", floor_at(now - OVERLAP))], order="id desc", limit=1)
        return floor_at(now), rows[0]["id"] if rows else 0

    # --- state changes --------------------------------------------------------------------------------------------

    def changes(self, floor: int, seen: Collection[int]) -> list[Row]:
        """A page of tracking values of states, by id up from `floor`, without `seen`: 1 call."""
        if not self._tracked:
            return []
        domain: list[Any] = [("id", ">", floor), ("field_id", "in", sorted(self._tracked))]
        if seen:
            domain.append(("id", "not in", sorted(seen)))
        return self._tracking(domain, order="id", limit=self._page)

    def explained(self, tracking: Sequence[Row]) -> dict[str, list[tuple[int, Change]]]:
        """Tracking values as changes, {model: [(record id, change)]}: 1 call."""
        messages = self._messages(tracking)
        found: dict[str, list[tuple[int, Change]]] = {}
        for value in tracking:
            message = messages.get(_ref(value, "mail_message_id"))
            model, name = self._tracked[_ref(value, "field_id")]
            new = self._state(model, name, value["new_value_char"])
            if message is None or new is None:
                continue
            old = self._state(model, name, value["old_value_char"])
            found.setdefault(model, []).append(
                (message["res_id"], Change(value["id"], name, old, new, message["date"]))
            )
        return found

    def _tracking(self, domain: list[Any], order: str, limit: int | None = None) -> list[Row]:
        return self._history("mail.tracking.value", domain, _TRACKING_FIELDS, order=order, limit=limit)

    def _history(self, model: str, domain: list[Any], fields: Sequence[str], **options: Any) -> list[Row]:
        """Raises HistoryHidden."""
        try:
            return self._client.search_read(model, domain, fields, **options)
        except NotAllowed as error:
            raise HistoryHidden(f"{error} Milepost reads the state history there (how-to: Connect Odoo)") from error

    def _messages(self, tracking: Iterable[Row]) -> dict[int, Row]:
        ids = sorted({_ref(value, "mail_message_id") for value in tracking})
        if not ids:
            return {}
        rows = self._client.search_read("mail.message", [("id", "in", ids)], ["model", "res_id", "date"])
        return {row["id"]: row for row in rows}

    def _state(self, model: str, name: str, label: str | bool) -> str | None:
        """The technical name of a state from its label, in whatever language it was written; None when nobody knows."""
        if not label:
            return None
        known = self._labels[model, name]
        if label not in known:
            self._learn_languages()
        states = known.get(str(label), set())
        if len(states) == 1:
            return next(iter(states))
        self.problems[f"{model} {name}"] = f'{model}: "{label}" is no {name} in any active language; left out'
        return None

    def _learn_languages(self) -> None:
        """The labels in the other languages, once: 1 call, and 4 more for each language."""
        if self._languages is not None:
            return
        rows = self._client.search_read("res.lang", [("active", "=", True), ("code", "!=", "en_US")], ["code"])
        self._languages = [row["code"] for row in rows]
        for language in self._languages:
            for model in self._fields:
                there = self._client.fields_of(model, language)
                for name in MODELS[model].states:
                    self._learn(model, name, there.get(name, {}))

    # --- names ----------------------------------------------------------------------------------------------------

    def names(self, model: str, rows: Sequence[Row]) -> Names:
        """What rows refer to: no call for what is known, else 1 each for partners, operation types and documents."""
        if model == "stock.picking":
            self._know_warehouses(_refs(rows, "picking_type_id"))
            purchases = self._named("purchase.order", _refs(rows, "purchase_id"))
            following = self._next([row["id"] for row in rows if is_step(row)])
            return Names(warehouses=self._warehouses, purchases=purchases, packing=self._packing or (), next=following)
        if model == "account.move":
            reversed_entries = self._named("account.move", _refs(rows, "reversed_entry_id"))
            orders = self._orders_of([row["id"] for row in rows])
            returns = self._returns_of(orders, rows)
            return Names(orders=orders, invoices=reversed_entries, returns=returns)
        self._know_partners(_refs(rows, "partner_id"))
        if model == "account.payment":
            paid = (invoices_of(row) for row in rows)
            return Names(partners=self._partners, invoices=self._named("account.move", set().union(*paid)))
        return Names(partners=self._partners)

    def _next(self, steps: list[int]) -> Mapping[int, Sequence[str]]:
        """{step: names of the deliveries that its goods go to}: no call without steps, else 2, the first time 3."""
        if not steps:
            return {}
        if self._packing is None:
            packing = self._referred_by("stock.warehouse", [], ["pack_type_id"])
            self._packing = {_ref(row, "pack_type_id") for row in packing} - {0}
        moves = self._referred_by(
            "stock.move", [("picking_id", "in", steps), ("move_dest_ids", "!=", False)], ["picking_id", "move_dest_ids"]
        )
        after = {key for row in moves for key in row["move_dest_ids"]}
        if not after:
            return {}
        domain = [("id", "in", sorted(after)), ("picking_id.picking_type_code", "=", "outgoing")]
        delivered = self._referred_by("stock.move", domain, ["picking_id"])
        deliveries = {row["id"]: _label(row, "picking_id") for row in delivered}
        found: dict[int, list[str]] = {}
        for row in moves:
            names = {deliveries[key] for key in row["move_dest_ids"] if key in deliveries}
            known = found.setdefault(_ref(row, "picking_id"), [])
            known += sorted(names - set(known))
        return found

    def _know_partners(self, ids: set[int]) -> None:
        unknown = {one for one in ids if one not in self._partners}
        for row in self._referred("res.partner", unknown, "commercial_partner_id"):
            self._partners[row["id"]] = _label(row, "commercial_partner_id")

    def _know_warehouses(self, ids: set[int]) -> None:
        unknown = {one for one in ids if one not in self._warehouses}
        for row in self._referred("stock.picking.type", unknown, "warehouse_id"):
            self._warehouses[row["id"]] = _label(row, "warehouse_id")

    def _named(self, model: str, ids: set[int]) -> Mapping[int, str]:
        return {row["id"]: row["name"] for row in self._referred(model, ids, "name") if row["name"]}

    def _orders_of(self, invoices: list[int]) -> Mapping[int, Sequence[str]]:
        """{invoice: names of the orders that it invoices}, from the orders: Odoo gives the other side as text only."""
        found: dict[int, list[str]] = {}
        if "sale.order" in self._fields and invoices:
            domain = [("invoice_ids", "in", invoices)]
            for row in self._client.search_read("sale.order", domain, ["name", "invoice_ids"]):
                for invoice in row["invoice_ids"]:
                    found.setdefault(invoice, []).append(row["name"])
        return found

    def _returns_of(self, orders: Mapping[int, Sequence[str]], rows: Sequence[Row]) -> Mapping[str, Sequence[str]]:
        """{order: names of its done returns} of the orders that are credited: no call without credit notes, else 1."""
        wanted = {name for row in rows if row.get("move_type") == "out_refund" for name in orders.get(row["id"], ())}
        found: dict[str, list[str]] = {}
        if "stock.picking" in self._fields and wanted:
            domain = [
                *(("sale_id.name", "in", sorted(wanted)), ("return_id", "!=", False)),
                *(("picking_type_code", "=", "incoming"), ("state", "=", "done")),
            ]
            for row in self._referred_by("stock.picking", domain, ["name", "sale_id"]):
                found.setdefault(_label(row, "sale_id"), []).append(row["name"])
        return found

    def _referred(self, model: str, ids: set[int], name: str) -> list[Row]:
        return self._referred_by(model, [("id", "in", sorted(ids))], [name]) if ids else []

    def _referred_by(self, model: str, domain: list[Any], fields: list[str]) -> list[Row]:
        try:
            return self._client.search_read(model, domain, fields)
        except (NotAllowed, NotFound) as error:
            self.problems[model] = str(error)
            return []


def _stamped(row: Row) -> Row:
    """What was put in by SQL may lack its stamps. Without a date of its own either, its events are refused."""
    if row["create_date"] and row["write_date"]:
        return row
    made = row["create_date"] or row.get("date_order") or row.get("date_done") or ""
    return {**row, "create_date": made, "write_date": row["write_date"] or made}


def _ref(row: Row, name: str) -> int:
    """The id that a many2one field refers to, 0 for none."""
    value = row.get(name)
    return int(value[0]) if value else 0


def _refs(rows: Iterable[Row], name: str) -> set[int]:
    return {_ref(row, name) for row in rows} - {0}


def _label(row: Row, name: str) -> str:
    value = row.get(name)
    return str(value[1]) if value else ""
