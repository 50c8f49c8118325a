"""The spool: what was acknowledged while the database was away, on the collector's own disk.

A folder of segments, each a sequence of records that were written and flushed before anybody was told. A record carries
its length and a checksum, so that what a crash left half-written is recognised, and damage costs one record only. A
segment is deleted once the database has committed all of it; a crash in between sends it twice, and identities remove
the copies.

Each collector has a folder of its own below the root, held by a lock that the kernel releases however a process ends.
Who takes a folder takes what is in it; the folders of dead collectors are adopted.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import re
import secrets
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from milepost.errors import ConfigurationError, Overloaded, Unavailable

SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""A segment that has become larger is followed by a new one."""
RETRY_SECONDS: Final = 10
_MAGIC: Final = b"MPs1"
_HEAD: Final = struct.Struct("<4scIqI")
"""Magic, kind, number of events, oldest receive time in microseconds since 1970, length of the payload."""
_SUM: Final = struct.Struct("<I")
"""CRC-32 of head and payload."""
_SUFFIX: Final = ".spool"
_ASIDE: Final = ".aside"

Kind = Literal[b"E", b"R"]
"""E: the payload is a batch of the event log. R: refusals for the quarantine."""

_log = logging.getLogger(__name__)


class Record(NamedTuple):
    """One batch. `oldest_us`: its least receive time, in microseconds since 1970."""

    kind: bytes
    events: int
    oldest_us: int
    payload: bytes

    def encoded(self) -> bytes:
        head = _HEAD.pack(_MAGIC, self.kind, self.events, self.oldest_us, len(self.payload))
        return b"".join((head, self.payload, _SUM.pack(zlib.crc32(self.payload, zlib.crc32(head)))))


class Content(NamedTuple):
    """What a segment holds. `damaged`: bytes that are no records, beyond what a crash may leave at the end."""

    records: list[Record]
    damaged: int


@dataclass(slots=True, eq=False)
class Segment:
    """One file. `oldest_us` is None as long as it has no events."""

    path: Path
    size: int = 0
    events: int = 0
    oldest_us: int | None = None

    def note(self, record: Record, size: int) -> None:
        self.size += size
        self.events += record.events
        if record.kind == b"E":
            self.oldest_us = record.oldest_us if self.oldest_us is None else min(self.oldest_us, record.oldest_us)


class Spool:
    """One collector's spool, at most `limit` bytes. One thread appends, one drains."""

    def __init__(self, root: Path, limit: int, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._root = root
        self._limit = limit
        self._segment_bytes = segment_bytes
        self._guard = threading.Lock()
        self._segments: list[Segment] = []
        self._current: int | None = None  # the descriptor of the last segment, while it is written to
        self._lock: int | None = None
        self._folder = root

    @property
    def name(self) -> str:
        """The same for as long as the folder is there."""
        return self._folder.name

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self._segments)

    @property
    def events(self) -> int:
        return sum(segment.events for segment in self._segments)

    @property
    def oldest_us(self) -> int | None:
        """The least receive time of an event in it, None for an empty one."""
        return min((one.oldest_us for one in tuple(self._segments) if one.oldest_us is not None), default=None)

    @property
    def full(self) -> bool:
        return self.size >= self._limit

    def __bool__(self) -> bool:
        """Whether there is something to drain."""
        return bool(self._segments)

    # --- the folder ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take a folder that nobody holds, or a new one. Raises ConfigurationError."""
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in [*sorted(filter(Path.is_dir, self._root.iterdir())), self._root / _new_name()]:
                self._lock = _hold(folder)
                if self._lock is not None:
                    self._folder = folder
                    break
            self._segments = [_scanned(path) for path in sorted(self._folder.glob(f"*{_SUFFIX}"))]
        except OSError as error:
            raise ConfigurationError(f"MILEPOST_SPOOL_DIR: {self._root}: {error.strerror}") from error
        if self._segments:
            _log.info("%d events in the spool of an earlier run", self.events)

    def adopt(self) -> list[str]:
        """Take over what dead collectors left; answers the names of their folders, which are empty."""
        adopted = []
        for folder in sorted(filter(Path.is_dir, self._root.iterdir())):
            lock = None if folder == self._folder else _hold(folder)
            if lock is None:
                continue
            try:
                self._move_in(folder)
                adopted.append(folder.name)
                _remove(folder)
            except OSError as error:
                _log.warning("the spool %s can't be taken over: %s", folder, error.strerror)
            finally:
                os.close(lock)
        return adopted

    def close(self) -> None:
        with self._guard:
            self._seal()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _move_in(self, folder: Path) -> None:
        moved = [
            path.rename(self._folder / f"{path.stem}-{folder.name}{path.suffix}")
            for path in sorted(folder.iterdir())
            if path.suffix in (_SUFFIX, _ASIDE)
        ]
        _flush_folder(self._folder)
        with self._guard:
            # before the last one, which may be the one that is written to
            place = max(0, len(self._segments) - 1)
            self._segments[place:place] = [_scanned(path) for path in moved if path.suffix == _SUFFIX]
        if moved:
            _log.warning("took over %d files of the spool of a collector that is gone: %s", len(moved), folder.name)

    # --- in -----------------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[Record]) -> None:
        """Write records; they are on stable storage when this returns.

        Raises Overloaded when they don't fit within the limit, Unavailable when the disk refuses them: then they may be
        sent again, and nobody must be told that they were taken.
        """
        data = [record.encoded() for record in records]
        wanted = sum(map(len, data))
        with self._guard:
            if self.size + wanted > self._limit:
                raise Overloaded("the database is away and the spool is full", retry_after=RETRY_SECONDS)
            try:
                descriptor, segment = self._writable()
                _write(descriptor, b"".join(data), segment.size)
            except OSError as error:
                # after a failed flush nobody knows what of the file is on disk: it is not written to any more
                self._seal()
                raise Unavailable(f"the spool can't be written: {error.strerror}", RETRY_SECONDS) from error
            for record, encoded in zip(records, data, strict=True):
                segment.note(record, len(encoded))

    def _writable(self) -> tuple[int, Segment]:
        if self._current is not None and self._segments[-1].size >= self._segment_bytes:
            self._seal()
        if self._current is None:
            number = max((int(one.path.name[:12]) for one in self._segments), default=0) + 1
            path = self._folder / f"{number:012d}{_SUFFIX}"
            while path.exists():
                number += 1
                path = self._folder / f"{number:012d}{_SUFFIX}"
            self._current = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._segments.append(Segment(path))
            _flush_folder(self._folder)
        return self._current, self._segments[-1]

    def _seal(self) -> None:
        if self._current is not None:
            os.close(self._current)
            self._current = None
            if not self._segments[-1].size:
                self._segments.pop().path.unlink(missing_ok=True)

    # --- out ----------------------------------------------------------------------------------------------------------

    def first(self) -> Segment | None:
        """The next segment to drain; nothing is written to it any more."""
        with self._guard:
            if len(self._segments) == 1:
                self._seal()
            return self._segments[0] if self._segments else None

    def load(self, segment: Segment) -> Content:
        """All of a segment."""
        return parse(segment.path.read_bytes())

    def done(self, segment: Segment, *, damaged: bool = False) -> None:
        """The database has it: delete it, or keep it aside where some of it could not be read."""
        if damaged:
            segment.path.rename(segment.path.with_suffix(_ASIDE))
        else:
            segment.path.unlink()
        with self._guard:
            self._segments.remove(segment)

    def set_aside(self, record: Record) -> None:
        """Keep what the database refuses for ever. Raises OSError."""
        path = self._folder / f"{secrets.token_hex(6)}{_ASIDE}"
        with path.open("xb") as file:
            file.write(record.encoded())
            file.flush()
            os.fsync(file.fileno())
        _flush_folder(self._folder)


# --- files ------------------------------------------------------------------------------------------------------------


def parse(data: bytes) -> Content:
    """The records in a segment's bytes. Damage costs the record that it is in."""
    records, damaged, at = [], 0, 0
    while at < len(data):
        found = _record_at(data, at)
        if found is not None:
            records.append(found)
            at += _length(found)
            continue
        following = _next_record(data, at + 1)
        if following is None:
            return Content(records, damaged + (0 if _is_torn(data, at) else len(data) - at))
        damaged, at = damaged + following - at, following
    return Content(records, damaged)


def _record_at(data: bytes, at: int) -> Record | None:
    if len(data) - at < _HEAD.size + _SUM.size or not data.startswith(_MAGIC, at):
        return None
    _, kind, events, oldest_us, length = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    if end + _SUM.size > len(data) or _SUM.unpack_from(data, end)[0] != zlib.crc32(data[at:end]):
        return None
    return Record(kind, events, oldest_us, data[at + _HEAD.size : end])


def _next_record(data: bytes, at: int) -> int | None:
    """Where the next whole record begins."""
    while (at := data.find(_MAGIC, at)) >= 0:
        if _record_at(data, at) is not None:
            return at
        at += 1
    return None


def _is_torn(data: bytes, at: int) -> bool:
    """Whether the end is what a crash leaves of a record that was being written: cut short, or nothing but zeros."""
    if len(data) - at < _HEAD.size + _SUM.size:
        return True
    magic, _, _, _, length = _HEAD.unpack_from(data, at)
    if magic == _MAGIC and at + _HEAD.size + length + _SUM.size > len(data):
        return True
    return not data[at:].strip(b"\x00")


def _length(record: Record) -> int:
    return _HEAD.size + len(record.payload) + _SUM.size


def _scanned(path: Path) -> Segment:
    segment = Segment(path)
    for record in parse(path.read_bytes()).records:
        segment.note(record, _length(record))
    segment.size = path.stat().st_size
    return segment


def _write(descriptor: int, data: bytes, at: int) -> None:
    """All of it at this place, and flushed; or, with an OSError, nothing."""
    try:
        view = memoryview(data)
        done = 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], at + done)
        os.fdatasync(descriptor)
    except OSError:
        os.ftruncate(descriptor, at)
        raise


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_name() -> str:
    """Told in alerts, and the same after a move to another host."""
    host = re.sub(r"[^A-Za-z0-9.-]", "", platform.node())[:40]
    return f"{host}-{secrets.token_hex(4)}"


def _hold(folder: Path) -> int | None:
    """The folder's lock, which is made where it is missing, or None where it is somebody else's."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:  # lost+found of a volume, another account's
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # who adopts a folder removes it: then this is the lock of a folder that is gone
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _remove(folder: Path) -> None:
    """What is in it beside segments is not ours; its lock stays too then, and the folder."""
    if [path.name for path in folder.iterdir()] == ["lock"]:
        (folder / "lock").unlink()
        folder.rmdir()


def bounded(records: Iterable[Record], events: int, size: int) -> Iterator[list[Record]]:
    """Records in groups of at most so many events and bytes, or of one."""
    group: list[Record] = []
    has_events = has_size = 0
    for record in records:
        if group and (has_events + record.events > events or has_size + len(record.payload) > size):
            yield group
            group, has_events, has_size = [], 0, 0
        group.append(record)
        has_events += record.events
        has_size += len(record.payload)
    if group:
        yield group
