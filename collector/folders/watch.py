"""The step that reads what has appeared in the watched folders.

The events of a part of a file, its refusals and the position after it are one transaction: a crash between loses and
doubles nothing. Only then is the file moved away, which is done again when it was missed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

import sqlalchemy as sa

from alerting import commands
from alerting.signal import Signal
from collector.folders import listing, store
from collector.folders.chunks import Chunk, Chunks, reader_of
from collector.folders.listing import Found, Settled
from collector.folders.store import Progress, State
from collector.ingest import Limits, Rejection, validate, without_secrets
from collector.masking import Masking, Masks, no_key
from milepost.catalog.folder import FolderSpec
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, to_us
from milepost.db.engine import transient
from milepost.errors import CatalogError, ConfigurationError, Conflict, MalformedBody, Unavailable
from milepost.inbox import log, quarantine

RULE: Final = "watched-folder"
PATIENCE: Final = timedelta(minutes=5)
"""A folder that can't be read for longer than this is an alert."""
SENDER: Final = "watched folder"
HOPELESS: Final = 5_000
"""Refusals without any event after which a file is not what its folder says."""
_SHOWN: Final = 20
"""Refusals whose reasons are told beside a file."""
_HEAD: Final = 4096
"""Bytes of a file that can't be read on that go to quarantine; the file itself is kept."""
_LIMITS: Final = Limits()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Sender:
    """Files of a folder are of its source, or of the one that its mapping names."""

    default_source: str

    def may_send(self, source: str, event_type: str) -> bool:  # noqa: ARG002 - part of the protocol
        return source == self.default_source


@dataclass(slots=True)
class Looked:
    """What one step did. `problems`: by source, why its folder or a file could not be read."""

    files: int = 0
    accepted: int = 0
    refused: int = 0
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A watched folder, ready to be read."""

    source: str
    path: Path
    read: Chunks
    sender: _Sender


class Watcher:
    """Keep it between steps: it remembers which files stand still, and which can't be moved."""

    def __init__(
        self,
        engine: sa.Engine,
        root: str,
        catalog: Callable[[], Catalog],
        clock: Clock,
        *,
        seconds: float = 5.0,
        limits: Limits = _LIMITS,
        masking: Masking | None = None,
    ) -> None:
        """`root`: the folder below which all others are; `seconds`: how long one step may read."""
        self._engine = engine
        self._root = root
        self._catalog = catalog
        self._clock = clock
        self._budget = timedelta(seconds=seconds)
        self._limits = limits
        self._masking = masking or Masking(no_key)
        self._masks: Masks | None = None
        self._settled = Settled()
        self._stays: dict[str, set[Found]] = {}
        self._told: set[str] = set()
        self._turn = 0

    def step(self) -> Looked:
        """Look at every folder, and read what is whole until the time is up.

        Raises Conflict when another process reads the same file, and what a database raises that is away.
        """
        catalog = self._catalog()
        self._masks = self._masking.of(catalog)
        watched = [(name, spec.folder) for name, spec in catalog.sources.items() if spec.folder is not None]
        looked, deadline = Looked(), self._clock() + self._budget
        self._turn += 1
        first = self._turn % len(watched) if watched else 0  # so that a full folder doesn't starve the others
        for source, spec in watched[first:] + watched[:first]:
            waiting = self._look(source, spec, catalog, deadline, looked)
            self._note(source, waiting, looked.problems.get(source))
        with self._engine.begin() as connection:
            gone = store.drop_others(connection, [source for source, _ in watched])
            commands.send(connection, [_right_again(source, self._clock()) for source in gone], now=self._clock())
        return looked

    def _look(self, source: str, spec: FolderSpec, catalog: Catalog, deadline: datetime, looked: Looked) -> int:
        """Read one folder; returns how many files wait there."""
        try:
            path = listing.folder_of(self._root, spec)
            found = listing.files_in(path, spec, self._stays.get(source, ()))
            read, name = reader_of(source, spec, catalog)
        except (CatalogError, ConfigurationError, Unavailable) as error:
            looked.problems[source] = str(error)
            return 0
        folder = _Folder(source, path, read, _Sender(name))
        with self._engine.connect() as connection:
            known = store.known(connection, source, found) if found else {}
        over = 0
        for one in self._settled.of(source, found, self._clock(), spec.settle):
            if self._clock() >= deadline:
                break
            over += self._guarded(folder, one, known.get(one), deadline, looked)
        return len(found) - over

    def _guarded(
        self, folder: _Folder, found: Found, progress: Progress | None, deadline: datetime, looked: Looked
    ) -> bool:
        """Whether a file is over. What nobody thought of in one file is told, and costs the others nothing."""
        try:
            return self._file(folder, found, progress, deadline, looked)
        except Conflict:
            raise
        except Exception as error:
            if transient(error):
                raise
            _log.exception("%s: %s can't be read", folder.source, found.name)
            first, *_ = str(error).splitlines() or [""]
            looked.problems[folder.source] = f"{found.name}: {type(error).__name__}: {first}"
            return False

    def _file(
        self, folder: _Folder, found: Found, progress: Progress | None, deadline: datetime, looked: Looked
    ) -> bool:
        """Read a file, or go on with it; whether it is over."""
        if progress is None or progress.state == "reading":
            try:
                progress = self._read(folder, found, progress, deadline, looked)
            except (OSError, Unavailable) as error:
                looked.problems[folder.source] = f"{found.name}: {error}"
                return False
        if progress is None or progress.state == "reading":
            return False
        if not listing.put_away(folder.path, found, progress.state, progress.error):
            self._stays.setdefault(folder.source, set()).add(found)
            _log.warning("%s: %s can't be moved to %s/, and stays", folder.source, found.name, progress.state)
        return True

    def _read(
        self, folder: _Folder, found: Found, progress: Progress | None, deadline: datetime, looked: Looked
    ) -> Progress | None:
        """As far as the time allows; None when the file has changed. Raises OSError, Unavailable."""
        file = listing.opened(folder.path, found)
        if file is None:
            return None
        with file:
            if progress is None:
                with self._engine.begin() as connection:
                    progress = store.begin(connection, folder.source, found, self._clock())
            try:
                for chunk in folder.read(file, progress.position, progress.units):
                    progress = self._keep(folder, progress, chunk, looked)
                    if progress.refused >= HOPELESS and not progress.accepted:
                        raise MalformedBody(f"{progress.refused} parts were refused, and none accepted: not read on")
                    if self._clock() >= deadline:
                        return progress
            except MalformedBody as error:
                refused = _unreadable(file, progress, str(error), folder.sender.default_source)
                progress = self._keep(
                    folder, progress, Chunk(progress.position, progress.units, refused=[refused]), looked
                )
                return self._end(progress, "failed", looked)
            if not listing.unchanged(file, found):
                with self._engine.begin() as connection:
                    store.forget(connection, progress.file_id)
                return None
        return self._end(progress, "failed" if progress.refused and not progress.accepted else "done", looked)

    def _keep(self, folder: _Folder, before: Progress, chunk: Chunk, looked: Looked) -> Progress:
        """A part's events, its refusals and the position after it, all or nothing."""
        now, masks, source = self._clock(), self._masks, folder.sender.default_source
        verdict = validate(
            chunk.bodies,
            received_us=to_us(now),
            sender=folder.sender,
            lenient=chunk.lenient,
            limits=self._limits,
            masks=masks,
        )
        unread = [without_secrets(item, masks, source) for item in chunk.refused] if masks else chunk.refused
        refused = [*unread, *(_placed(item, chunk) for item in verdict.rejected)]
        after = changed(
            before,
            position=chunk.position,
            units=chunk.units,
            accepted=before.accepted + len(verdict.entries),
            refused=before.refused + len(refused),
            error=_told(before, refused),
        )
        if after == before:
            return before
        with self._engine.begin() as connection:
            store.move_on(connection, before, after, now)
            log.append(connection, verdict.entries)
            quarantine.add(connection, [_refusal(item, source, before.found.name, now) for item in refused])
        looked.accepted += len(verdict.entries)
        looked.refused += len(refused)
        return after

    def _end(self, progress: Progress, state: State, looked: Looked) -> Progress:
        ended = changed(progress, state=state)
        with self._engine.begin() as connection:
            store.move_on(connection, progress, ended, self._clock())
        looked.files += 1
        return ended

    def _note(self, source: str, waiting: int, problem: str | None) -> None:
        """What is wrong with a folder is seen, and after a while told."""
        now = self._clock()
        with self._engine.begin() as connection:
            health = store.looked(connection, source, waiting, problem, now)
            if health.now is not None and now - health.now >= PATIENCE and source not in self._told:
                commands.send(connection, [_wrong(source, problem or "", health.now)], now=now)
                self._told.add(source)
            elif health.now is None and health.before is not None:
                commands.send(connection, [_right_again(source, now)], now=now)
                self._told.discard(source)


def _wrong(source: str, problem: str, since: datetime) -> Signal:
    return Signal(
        action="raise",
        kind="platform",
        rule=RULE,
        group={"source": source},
        item=source,
        at=since,
        title="A watched folder can't be read",
        summary=f"{source}: {problem}"[:500],
        severity="critical",
    )


def _right_again(source: str, now: datetime) -> Signal:
    return Signal("clear", "platform", RULE, {"source": source}, source, now, why="it can be read again")


def _told(before: Progress, refused: list[Rejection]) -> str | None:
    """The first reasons, one a line."""
    lines = before.error.splitlines() if before.error else []
    lines += [item.error for item in refused[: max(0, _SHOWN - len(lines))]]
    return "\n".join(lines)[: store.MAX_ERROR] or None


def _placed(item: Rejection, chunk: Chunk) -> Rejection:
    """A refused event with the line that it came from."""
    return changed(item, error=f"line {chunk.numbers[item.index]}: {item.error}") if chunk.numbers else item


def _unreadable(file: BinaryIO, progress: Progress, error: str, source: str) -> Rejection:
    file.seek(progress.position)
    return Rejection(progress.units, None, error, file.read(_HEAD), source, "malformed", "file")


def _refusal(item: Rejection, source: str, name: str, now: datetime) -> quarantine.Refusal:
    context: Mapping[str, object] = {**(item.context or {}), "file": name}
    return quarantine.Refusal(
        now, item.source or source, item.kind, item.error, item.id, item.body, SENDER, item.way, context
    )
