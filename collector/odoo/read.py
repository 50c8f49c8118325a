"""What a part of a poll read."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from collector.ingest import Rejection
from collector.odoo.client import Row
from collector.odoo.cursor import Cursor
from collector.odoo.mapping import Event
from collector.odoo.store import Told

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Read:
    """Events, the cursor when they are stored, what to remember of the records, and those that nothing came of."""

    events: Sequence[Event]
    cursor: Cursor
    told: Told = field(default_factory=dict)
    refused: Sequence[Rejection] = ()


@dataclass(frozen=True, slots=True)
class Gathered:
    """The same of several records, as they are gone through."""

    events: list[Event] = field(default_factory=list)
    told: dict[tuple[str, int], Mapping[str, Any] | None] = field(default_factory=dict)
    refused: list[Rejection] = field(default_factory=list)

    @contextmanager
    def sparing(self, model: str, row: Row) -> Iterator[None]:
        """What nobody thought of in a record costs that record only: it is refused, as it came."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - Odoo's modules may make anything of a record
            _log.warning("%s %s can't be read", model, row["id"], exc_info=True)
            reason = f"{model}: {type(error).__name__}: {error}"
            self.refused.append(Rejection(0, f"{model}/{row['id']}", reason, msgspec.json.encode(row), None))

    def read(self, cursor: Cursor) -> Read:
        return Read(self.events, cursor, self.told, self.refused)
