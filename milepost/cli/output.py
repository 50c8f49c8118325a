"""Where commands print: results to stdout, which may be piped on; everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.table import Table

WIDE = 1_000_000
"""Columns where stdout is no terminal: tables are not to be cut or broken into lines for a pipe."""

out = Console(width=None if sys.stdout.isatty() else WIDE)
notes = Console(stderr=True)


def table(*columns: str, rows: Iterable[Iterable[object]], empty: str) -> None:
    """Print a table, or the sentence `empty`."""
    made = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    if made.row_count:
        out.print(made, markup=False, highlight=False)
    else:
        notes.print(empty, highlight=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    return str(value)
