"""History: what was in Odoo before following began, newest first, page by page, each with its place in one transaction.

It runs beside the poller and tells nothing that the poller tells: the poller has records made since the start and
tracking values above the start's, this has what is older. A record that was written since shows there as it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from collector.odoo import mapping
from collector.odoo.client import Row
from collector.odoo.cursor import Start
from collector.odoo.read import Gathered
from collector.odoo.reader import History
from collector.odoo.snapshots import Names
from collector.odoo.source import Source
from collector.odoo.store import Stored
from milepost.db.engine import leader
from milepost.errors import ConfigurationError, Conflict, NotAllowed, NotFound

_ORDER: Final = ("sale.order", "stock.picking", "account.move", "account.payment", "purchase.order")

_TRIES: Final = 60


class Pass(Struct, frozen=True):
    """How far one model's history was read: down to the id `below`, of what was written since `since`.

    `until`: what was written later was done by an earlier pass (an earlier `since`); empty for the first one.
    """

    since: str
    until: str = ""
    below: int = 0
    total: int = 0
    done: int = 0
    ended: bool = False

    @property
    def domain(self) -> list[Any]:
        since = [("write_date", ">=", self.since)] if self.since else []
        return [*since, *([("write_date", "<", self.until)] if self.until else [])]


class Progress(Struct, frozen=True):
    """What is stored between pages, {model: its pass}."""

    passes: dict[str, Pass] = {}


def read_progress(stored: Stored | None) -> Progress:
    return msgspec.convert(stored or {}, Progress)


class Page(Struct, frozen=True):
    """What was done: how many events came of the last page, and how far all is now."""

    events: int
    progress: Progress


class Backfill:
    """Reads history. Two at once are kept apart by `alone`; a page that both read is stored by one of them."""

    def __init__(self, source: Source) -> None:
        """Raises ConfigurationError when MILEPOST_ODOO_SINCE or MILEPOST_ODOO_BACKFILL_HOURS can't be used."""
        self._source = source
        self._since = parse_since(source.options.odoo_since)
        self._hours = Hours(source.options.odoo_backfill_hours)
        self.ended: frozenset[str] = frozenset()
        """The models whose history is read."""

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether nobody else reads this source's history meanwhile."""
        with leader(self._source.engine, f"milepost.odoo.backfill.{self._source.name}") as alone:
            yield bool(alone)

    def run(
        self, progress: Callable[[str, int, int], None], *, since: str | None = None, models: Sequence[str] = ()
    ) -> int:
        """Read all of it; `progress` is told (model, done, of how many). The number of events taken in.

        Waits for a poller that is at a page. Raises Conflict when it doesn't end, or when another run goes on.
        """
        source, events = self._source, 0
        source.reader.refresh(source.clock())
        start = source.cursor(source.store.row(source.clock()).cursor, source.clock()).start
        with self._waited():
            for page in self.pages(start, since=since, models=models):
                events += page.events
                for model, at in page.progress.passes.items():
                    progress(model, at.done, at.total)
        return events

    @contextmanager
    def _waited(self) -> Iterator[None]:
        for _ in range(_TRIES):
            with self.alone() as alone:
                if alone:
                    yield
                    return
            self._source.pause(1.0)
        raise Conflict(f'another process reads the history of "{self._source.name}"')

    def due(self, now: datetime) -> bool:
        """Whether history may be read at this hour."""
        return self._hours.hold(now)

    def pages(self, start: Start, *, since: str | None = None, models: Sequence[str] = ()) -> Iterator[Page]:
        """Read page by page until nothing is left: what was done after each, beginning with how far it was.

        `since` in Odoo's text, "" for everything, None for the setting; `models`: only these. Raises Conflict.
        """
        stored = self._source.store.row(self._source.clock()).backfill
        progress = read_progress(stored)
        yield Page(0, progress)
        for model in [name for name in _ORDER if not models or name in models]:
            while model in self._source.reader.models:
                following = self._next_pass(model, progress, self._since if since is None else since)
                if following is None:
                    break
                try:
                    read, following = self._page(model, following, start)
                except (NotAllowed, NotFound) as error:
                    self._source.reader.drop(model, error)
                    break
                progress = Progress({**progress.passes, model: following})
                after: Stored = msgspec.to_builtins(progress)
                now = self._source.clock()
                batch = self._source.batch("backfill", after, read.events, read.told, now, read.refused)
                self._source.store.write(batch, stored, now)
                stored = after
                yield Page(len(batch.entries), progress)
        if not models:
            self.ended = frozenset(self._source.reader.models)

    def _next_pass(self, model: str, progress: Progress, since: str) -> Pass | None:
        """The pass to go on with, a new one further back, or None when all since `since` is done."""
        last = progress.passes.get(model)
        if last is None:
            return self._counted(model, Pass(since))
        if not last.ended:
            return last
        if not last.since or (since and since >= last.since):
            return None
        return self._counted(model, Pass(since, until=last.since))

    def _counted(self, model: str, made: Pass) -> Pass:
        return replace(made, total=self._source.reader.count(model, made.domain))

    def _page(self, model: str, at: Pass, start: Start) -> tuple[Gathered, Pass]:
        """What the next page tells: 3 calls, and up to 4 more for what it refers to."""
        reader, found = self._source.reader, Gathered()
        rows = reader.page_below(model, at.domain, at.below)
        old = [row for row in rows if row["create_date"] < start.at]
        names, history = reader.names(model, old), reader.history(model, old)
        for row in old:
            with found.sparing(model, row):
                found.events.extend(self._events(model, row, start, names, history))
                if row["write_date"] < start.at:
                    found.told.update(self._source.opened(model, [row], names))
        ended = len(rows) < self._source.options.odoo_page
        below = rows[-1]["id"] if rows else at.below
        return found, replace(at, below=below, done=at.done + len(rows), ended=ended)

    def _events(self, model: str, row: Row, start: Start, names: Names, history: History) -> list[mapping.Event]:
        """What was before the start; how a record is now only if it was not written since."""
        source = self._source.name
        events = mapping.made(model, row, history.states[row["id"]], names, source)
        for change in reversed(history.changes.get(row["id"], ())):
            if change.id <= start.tracking:
                events += mapping.changed(model, row, change, names, source)
        if row["write_date"] < start.at:
            events += mapping.updated(model, row, "", True, names, source)[0]
        return events


def parse_since(text: str) -> str:
    """Odoo's text of a day like 2026-01-01, "" for none. Raises ConfigurationError."""
    if not text:
        return ""
    try:
        return f"{date.fromisoformat(text)} 00:00:00"
    except ValueError as error:
        raise ConfigurationError(f'since: "{text}" is not a day like 2026-01-01') from error


class Hours:
    """The hours of a day, like "20:00-06:00 Europe/Berlin": from the first to the second, over midnight too."""

    def __init__(self, text: str) -> None:
        """Raises ConfigurationError."""
        span, _, zone = text.partition(" ")
        first, _, last = (span or "00:00-00:00").partition("-")
        try:
            self._first, self._last = time.fromisoformat(first), time.fromisoformat(last)
            self._zone = ZoneInfo(zone.strip()) if zone.strip() else UTC
        except (ValueError, ZoneInfoNotFoundError) as error:
            raise ConfigurationError(
                f'MILEPOST_ODOO_BACKFILL_HOURS: "{text}" is not like "20:00-06:00 Europe/Berlin"'
            ) from error

    def hold(self, now: datetime) -> bool:
        at = now.astimezone(self._zone).time()
        if self._first < self._last:
            return self._first <= at < self._last
        return at >= self._first or at < self._last
