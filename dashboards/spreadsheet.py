"""Tables as CSV for spreadsheets. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would reckon with; keys come from outside."""


def as_csv(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """RFC 4180; what a spreadsheet would take for a formula is quoted with an apostrophe."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(heads)
    writer.writerows([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row] for row in rows)
    return written.getvalue()
