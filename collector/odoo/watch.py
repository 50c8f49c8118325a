"""What takes turns with the models that rest: probes for deleted records, and exchanges that fail or get stuck."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from collector.odoo import exchanges, mapping
from collector.odoo.client import Row
from collector.odoo.cursor import Cursor, odoo_text
from collector.odoo.exchanges import EXCHANGES, Message
from collector.odoo.read import Read
from collector.odoo.snapshots import MODELS, Keys
from collector.odoo.source import Source
from collector.odoo.store import Stored
from milepost.errors import NotAllowed, NotFound

PROBE: Final = 2_000
"""Open records that one probe asks for."""
REMEMBERED: Final = 2_000
"""Exchanges of one model that one turn follows; the next one follows those after them."""
_DELETED: Final = "deleted"


class Watch:
    """One `reads` costs one call while there is nothing to tell."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._probed: dict[str, int] = {}
        self._next = 0

    @property
    def names(self) -> list[str]:
        """What takes turns."""
        return [_DELETED, *self._source.reader.exchanges]

    def reads(self, name: str, cursor: Cursor) -> Iterator[Read]:
        if name == _DELETED:
            yield from self._deleted(cursor)
        elif name in self._source.reader.exchanges:
            try:
                yield from self._exchanged(name, cursor)
            except (NotAllowed, NotFound) as error:
                self._source.reader.drop(name, error)

    # --- deleted records ------------------------------------------------------------------------------------------

    def _deleted(self, cursor: Cursor) -> Iterator[Read]:
        """Ask whether the next open records of the next model are still there."""
        model, open_now = self._next_open()
        now = odoo_text(self._source.client.server_time())
        gone = self._gone(model, open_now) if model else set()
        if gone:
            events = [mapping.deleted(model, key, open_now[key], now, self._source.name) for key in sorted(gone)]
            yield Read(events, cursor, {(model, key): None for key in gone})

    def _gone(self, model: str, open_now: Collection[int]) -> set[int]:
        """What isn't there any more; what could not be asked for in one turn is asked for in the next."""
        try:
            gone, last = self._source.reader.missing(model, open_now)
        except (NotAllowed, NotFound) as error:
            self._source.reader.drop(model, error)
            return set()
        if last < max(open_now):
            self._probed[model] = last
        return gone

    def _next_open(self) -> tuple[str, dict[int, dict[str, str]]]:
        """The next model that has open records, and a page of them: by id, in a circle."""
        models = [model for model in MODELS if model in self._source.reader.models]
        for turn in range(len(models)):
            model = models[(self._next + turn) % len(models)]
            found = self._next_page(model, PROBE)
            if found:
                self._next = (self._next + turn + (len(found) < PROBE)) % len(models)
                return model, found
        return "", {}

    def _next_page(self, model: str, limit: int) -> dict[int, Stored]:
        """What is remembered of a model, by id, in a circle."""
        found = self._source.store.open_after(model, self._probed.get(model, 0), limit)
        self._probed[model] = max(found) if len(found) == limit else 0
        return found

    # --- exchanges ------------------------------------------------------------------------------------------------

    def _exchanged(self, model: str, cursor: Cursor) -> Iterator[Read]:
        """News of one model's exchanges, page by page."""
        exchange, limit = EXCHANGES[model], timedelta(minutes=self._source.options.odoo_stuck_minutes)
        now = self._source.client.server_time()
        told = self._next_page(model, REMEMBERED)
        followed = [key for key, value in told.items() if value["standing"] not in exchanges.OVER]
        since = cursor.exchanges.get(model) or exchanges.floor(now, limit)
        domain = exchanges.domain(exchange, now, since, limit, followed)
        last, seen = 0, set[int]()
        while True:
            rows = self._source.reader.watched(model, domain, last)
            seen |= {row["id"] for row in rows}
            known = self._source.store.told_of(model, [row["id"] for row in rows])
            read = self._messages(model, rows, known, cursor, now, limit)
            if read.events or read.told:
                yield read
            if len(rows) < self._source.options.odoo_page:
                break
            last = rows[-1]["id"]
        yield from self._ended(model, cursor, told, set(followed) - seen, exchanges.floor(now, limit), now)

    def _messages(
        self,
        model: str,
        rows: list[Row],
        told: Mapping[int, Mapping[str, Any]],
        cursor: Cursor,
        now: datetime,
        limit: timedelta,
    ) -> Read:
        exchange = EXCHANGES[model]
        found = {row["id"]: exchanges.judge(exchange, row, now, limit, told.get(row["id"])) for row in rows}
        news = [row for row in rows if exchanges.is_news(model, found[row["id"]], told.get(row["id"]))]
        keys = self._keys([found[row["id"]] for row in news])
        events = [
            exchanges.event(model, row, found[row["id"]], keys.get(found[row["id"]].about, {}), self._source.name)
            for row in news
        ]
        return Read(events, cursor, {(model, row["id"]): exchanges.remembered(found[row["id"]]) for row in news})

    def _keys(self, messages: list[Message]) -> dict[tuple[str, int] | None, Keys]:
        """The keys of the business records that messages are about: up to 4 calls for each model."""
        about = {message.about for message in messages if message.about}
        found: dict[tuple[str, int] | None, Keys] = {}
        for model in {model for model, _ in about if model in self._source.reader.models}:
            rows = self._source.reader.records(model, {key for name, key in about if name == model})
            names = self._source.reader.names(model, rows)
            for row in rows:
                snapshot = MODELS[model].snapshot(row, names)
                if snapshot is not None:
                    found[model, row["id"]] = {snapshot.subject: snapshot.key}
        return found

    def _ended(
        self,
        model: str,
        cursor: Cursor,
        told: Mapping[int, Mapping[str, Any]],
        gone: set[int],
        floor: str,
        now: datetime,
    ) -> Iterator[Read]:
        """After a whole pass: what was followed and is gone, and what need not be remembered any more."""
        at, source = odoo_text(now), self._source.name
        events = [exchanges.deleted(model, key, told[key], at, source) for key in sorted(gone)]
        past = {key for key, value in told.items() if exchanges.is_past(value, floor, now)}
        after = cursor.with_exchange(model, floor)
        if events or past or after != cursor:
            yield Read(events, after, {(model, key): None for key in gone | past})
