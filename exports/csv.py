"""Tables as CSV (RFC 4180) in UTF-8. Times are ISO 8601 in UTC, money has its digits, what is not there is empty."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from typing import Any

from exports.tables import Table
from milepost.ocel import stamp


def chunks(table: Table) -> Iterator[bytes]:
    """The file, some of it at a time."""
    yield _lines([[name for name, _ in table.columns]])
    for rows in table.pieces:
        yield _lines([[_cell(value) for value in row] for row in rows])


def _lines(rows: list[list[Any]]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return stamp(value) if isinstance(value, datetime) else value
