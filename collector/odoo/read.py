"""What a part of a poll read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from collector.odoo.cursor import Cursor
from collector.odoo.mapping import Event
from collector.odoo.store import Told


@dataclass(frozen=True, slots=True)
class Read:
    """Events, the cursor when they are stored, and what to remember of the records."""

    events: Sequence[Event]
    cursor: Cursor
    told: Told = field(default_factory=dict)
