"""Events on disk while the collector is away.

A folder of segments, which several processes may share. A segment is written by one process, and read by one, which
holds a lock on it (flock, so that it ends with the process). A record is a line: checksum and event. A segment is
removed once all of it was taken by the collector; a process that dies before leaves it to the next one, which sends it
again: the ids are the same. A line that doesn't match its checksum, torn by a crash, is passed over.
"""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

SEGMENT_BYTES = 1024 * 1024
_SUFFIX = ".spool"


class Full(Exception):
    """There is no room for more."""


class _Segment:
    """An open, locked file."""

    def __init__(self, path: Path, flags: int) -> None:
        self.path = path
        self.descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self.descriptor)
            raise

    def release(self) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # a child that was forked may still have it open
        os.close(self.descriptor)


class Spool:
    """At most `limit` bytes in `folder`, all processes together (each may go over by one batch).

    For one thread. Everything may raise OSError.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._writing: _Segment | None = None
        self._written = 0
        self._reading: _Segment | None = None
        self._left: list[bytes] = []

    def size(self) -> int:
        """Bytes in the folder."""
        return sum(map(_size, self._segments()))

    def put(self, events: Sequence[bytes]) -> None:
        """Append; they are on stable storage when it returns. Raises Full."""
        lines = b"".join(b"%08x %s\n" % (zlib.crc32(event), event) for event in events)
        if self.size() + len(lines) > self._limit:
            raise Full
        segment = self._writing or self._begin()
        # what an earlier failure left behind must not swallow the first line
        os.write(segment.descriptor, b"\n")
        _write(segment.descriptor, lines)
        os.fsync(segment.descriptor)
        self._written += len(lines)
        if self._written >= SEGMENT_BYTES:
            self.seal()

    def peek(self, most: int, most_bytes: int) -> list[bytes]:
        """The oldest events that no other process is at; they stay until `drop`. Empty when there are none."""
        while not self._left:
            if not self._next_segment():
                return []
        chosen, size = 0, 0
        while chosen < min(most, len(self._left)) and (not chosen or size + len(self._left[chosen]) <= most_bytes):
            size += len(self._left[chosen])
            chosen += 1
        return self._left[:chosen]

    def drop(self, count: int) -> None:
        """The first ones of `peek` were taken."""
        del self._left[:count]
        if not self._left:
            self._remove()

    def close(self) -> None:
        """Let go of everything. What remains is for whoever comes next."""
        self.seal()
        if self._reading is not None:
            self._reading.release()
            self._reading, self._left = None, []

    def seal(self) -> None:
        """Let others send what was written."""
        if self._writing is not None:
            self._writing.release()
            self._writing, self._written = None, 0

    def forget(self) -> None:
        """In a forked child: the files are the parent's, and so are the locks."""
        for segment in (self._writing, self._reading):
            if segment is not None:
                os.close(segment.descriptor)
        self._writing = self._reading = None
        self._written, self._left = 0, []

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}")) if self._folder.is_dir() else []

    def _begin(self) -> _Segment:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{os.getpid()}-{os.urandom(4).hex()}"
        segment = _Segment(self._folder / f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        # readers see it once it is locked
        segment.path = segment.path.rename(self._folder / f"{name}{_SUFFIX}")
        _sync_folder(self._folder)
        self._writing = segment
        return segment

    def _next_segment(self) -> bool:
        """Lock and read the oldest one that has something. False when there is none."""
        for path in self._segments():
            if self._writing is not None and path == self._writing.path:
                self.seal()
            try:
                segment = _Segment(path, os.O_RDONLY)
            except (BlockingIOError, FileNotFoundError, PermissionError):  # at work, gone, or another account's
                continue
            found = os.fstat(segment.descriptor)
            if found.st_nlink == 0:  # whoever had it has just removed it
                segment.release()
                continue
            self._reading, self._left = segment, list(_records(os.pread(segment.descriptor, found.st_size, 0)))
            if self._left:
                return True
            self._remove()
        return False

    def _remove(self) -> None:
        assert self._reading is not None, "something was read"
        self._reading.path.unlink(missing_ok=True)
        self._reading.release()
        self._reading = None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # just removed
        return 0


def _records(data: bytes) -> Iterator[bytes]:
    for line in data.split(b"\n"):
        checksum, _, event = line.partition(b" ")
        if event and checksum == b"%08x" % zlib.crc32(event):
            yield event


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    """Without it a power cut may take the name of a new file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
