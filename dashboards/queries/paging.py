"""Keyset paging: a cursor is the sort value and the id of the last row shown."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa

from milepost.clock import from_us, to_us
from milepost.errors import Permanent

T = TypeVar("T")
MAX_LIMIT: Final = 500
DEFAULT_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `next_cursor` is None on the last one, `previous_cursor` on the first."""

    items: list[T]
    next_cursor: str | None
    previous_cursor: str | None = None


@dataclass(frozen=True)
class Order:
    """A sort order: `column` and, among equals, `id_column`. `dump` and `parse` carry a value in a cursor."""

    column: sa.ColumnElement[Any]
    id_column: sa.ColumnElement[Any]
    descending: bool
    dump: Callable[[Any], str]
    parse: Callable[[str], Any]

    def by(self) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        if self.descending:
            return self.column.desc(), self.id_column.desc()
        return self.column.asc(), self.id_column.asc()

    def after(self, cursor: str | None) -> sa.ColumnElement[bool]:
        """What comes after the cursor. Raises Permanent for a cursor that this list did not give out."""
        if cursor is None:
            return sa.true()
        value, row_id = self.decode(cursor)
        here = sa.tuple_(self.column, self.id_column)
        last = sa.tuple_(sa.literal(value, self.column.type), sa.literal(row_id, sa.BigInteger))
        # the plain bound is implied, and lets an index on the column alone find the place
        if self.descending:
            return sa.and_(self.column <= value, here < last)
        return sa.and_(self.column >= value, here > last)

    def encode(self, value: Any, row_id: int) -> str:
        text = json.dumps([self.dump(value), row_id], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def decode(self, cursor: str) -> tuple[Any, int]:
        try:
            value, row_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            return self.parse(value), int(row_id)
        except (ValueError, TypeError, AttributeError, OverflowError, InvalidOperation, binascii.Error) as error:
            raise Permanent("cursor: this list gave out no such cursor; leave it out to start anew") from error

    def turned(self) -> Order:
        """The same order from its end."""
        return replace(self, descending=not self.descending)

    def page(
        self,
        rows: Sequence[T],
        limit: int,
        key: Callable[[T], tuple[Any, int]],
        cursor: str | None = None,
        *,
        backwards: bool = False,
    ) -> Page[T]:
        """A page from up to `limit` + 1 rows that came after `cursor`; `key` gives a row's sort value and id.

        When `backwards`, the rows come in the turned order, and the page has them in the right one.
        """
        more, items = len(rows) > limit, list(rows[:limit])
        if backwards:
            items.reverse()
        if not items:
            return Page([], None)
        before, after = (more, True) if backwards else (cursor is not None, more)
        first, last = self.encode(*key(items[0])), self.encode(*key(items[-1]))
        return Page(items, last if after else None, first if before else None)


def time_order(column: sa.ColumnElement[datetime], id_column: sa.ColumnElement[Any], *, descending: bool) -> Order:
    return Order(column, id_column, descending, lambda at: str(to_us(at)), lambda text: from_us(int(text)))


def amount_order(column: sa.ColumnElement[Any], id_column: sa.ColumnElement[Any]) -> Order:
    return Order(column, id_column, True, str, _finite)


def id_order(id_column: sa.ColumnElement[Any]) -> Order:
    """The newest first, by id alone."""
    return Order(id_column, id_column, True, str, int)


def bounded(limit: int) -> int:
    return max(1, min(limit, MAX_LIMIT))


def _finite(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    return value
