"""One Odoo as a source of events: what polling and backfill share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collector import ingest
from collector.ingest import Rejection, without_secrets
from collector.masking import Masks
from collector.odoo import cursor as at
from collector.odoo import mapping
from collector.odoo.client import Client, Row
from collector.odoo.cursor import Cursor, Start
from collector.odoo.reader import Reader
from collector.odoo.snapshots import Names
from collector.odoo.store import Batch, Part, Store, Stored, Told
from milepost import settings
from milepost.clock import Clock, to_us
from milepost.errors import ConfigurationError
from milepost.inbox import quarantine


@dataclass(frozen=True, slots=True)
class Sender:
    """The poller's own right: to send anything as one source."""

    default_source: str

    def may_send(self, source: str, event_type: str) -> bool:  # noqa: ARG002 - part of the protocol
        return source == self.default_source


class Source:
    """Keep it between polls: it remembers the connection and what Odoo said of its models."""

    def __init__(
        self,
        engine: sa.Engine,
        options: settings.Odoo,
        clock: Clock,
        masks: Callable[[], Masks | None] = lambda: None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`masks`: what is not to be kept. `pause` waits so many seconds.

        Raises ConfigurationError when the settings can't be used.
        """
        self.engine = engine
        self.options = options
        self.clock = clock
        self.pause = pause
        self._masks = masks
        self.name = options.odoo_source
        self.client = Client(options, clock, pause)
        self.reader = Reader(self.client, options.odoo_page)
        self.store = Store(engine, self.name)
        self._sender = Sender(self.name)

    def cursor(self, stored: Stored, now: datetime) -> Cursor:
        """The cursor as it is stored; at first, that following begins now. Raises ConfigurationError, Conflict."""
        if not stored:
            cursor = at.begun(self.options.odoo_database, Start(*self.reader.start()))
            self.store.write(Batch("cursor", cursor.stored()), stored, now)
            return cursor
        cursor = at.read_stored(stored)
        if cursor.database != self.options.odoo_database:
            raise ConfigurationError(
                f'the source "{self.name}" is that of the database "{cursor.database}"; '
                f'give "{self.options.odoo_database}" a source of its own (MILEPOST_ODOO_SOURCE)'
            )
        return cursor

    def batch(
        self,
        part: Part,
        after: Stored,
        events: Iterable[mapping.Event],
        told: Told,
        now: datetime,
        refused: Sequence[Rejection] = (),
    ) -> Batch:
        """Events, judged like those of any sender, and records that were `refused`."""
        bodies, masks = mapping.encode(events), self._masks()
        judged = ingest.validate(bodies, received_us=to_us(now), sender=self._sender, masks=masks)
        unread = [without_secrets(item, masks, self.name) for item in refused] if masks else refused
        refusals = [
            quarantine.Refusal(now, self.name, item.kind, item.error, item.id, item.body, "odoo poller")
            for item in (*unread, *judged.rejected)
        ]
        return Batch(part, after, judged.entries, refusals, told)

    @staticmethod
    def opened(model: str, rows: Sequence[Row], names: Names) -> dict[tuple[str, int], Mapping[str, Any] | None]:
        """What is to be remembered of records, None for those that can't be deleted any more."""
        return {(model, row["id"]): mapping.opened(model, row, names) for row in rows}
