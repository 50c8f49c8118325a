"""Which files of a folder are whole, and where they go when they are read."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, Final

from milepost.catalog.folder import FolderSpec
from milepost.errors import ConfigurationError, Unavailable

ERROR_FILE: Final = ".error.txt"
_HALF_WRITTEN: Final = (".part", ".partial", ".tmp", ".filepart", ".crdownload", ".swp", ".lock", "~")
MAX_FILES: Final = 5_000
"""Files of one folder that are looked at in one step, the oldest first."""
_MAX_SEEN: Final = 50_000
"""Entries of a directory that are read; beyond it, order is by chance."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it stands in a folder. Size and times tell a later version apart, and one that was put back."""

    name: str
    size: int
    modified_ns: int
    changed_ns: int
    """When the file system last noted anything of it, its name included."""

    @classmethod
    def of(cls, name: str, status: os.stat_result) -> Found:
        return cls(name, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def folder_of(root: str, spec: FolderSpec) -> Path:
    """The folder, which lies below the root whatever its links say. Raises ConfigurationError, Unavailable."""
    if not root:
        raise ConfigurationError("MILEPOST_FOLDERS is not set: it names the folder below which folders are watched")
    try:
        base = Path(root).resolve(strict=True)
        folder = (base / spec.path).resolve(strict=True)
    except OSError as error:
        raise Unavailable(f"{Path(root) / spec.path}: {error.strerror}") from error
    if not folder.is_relative_to(base):
        raise ConfigurationError(f"{spec.path}: it leads out of {base}")
    return folder


def files_in(folder: Path, spec: FolderSpec, without: Container[Found] = ()) -> list[Found]:
    """The files that match, the oldest first; no links, no hidden ones, nothing half written. Raises Unavailable.

    `without`: files that are read already and could not be moved, so that they don't hide the others.
    """
    try:
        with os.scandir(folder) as entries:
            named = (entry for entry in _some(entries) if _matches(entry.name, spec))
            found = [made for entry in named if (made := _found(entry)) is not None and made not in without]
    except OSError as error:
        raise Unavailable(f"{folder}: {error.strerror}") from error
    return sorted(found, key=lambda one: (one.modified_ns, one.name))[:MAX_FILES]


def _some(entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    for _, entry in zip(range(_MAX_SEEN), entries, strict=False):
        yield entry


def _matches(name: str, spec: FolderSpec) -> bool:
    hidden = name.startswith(".") or name.lower().endswith((*_HALF_WRITTEN, ERROR_FILE))
    return not hidden and name.isprintable() and fnmatchcase(name.lower(), spec.pattern.lower())


def _found(entry: os.DirEntry[str]) -> Found | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # taken away meanwhile
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Found.of(entry.name, status)


class Settled:
    """Remembers since when each file has not changed, by our own clock: those of file servers may differ."""

    def __init__(self) -> None:
        self._since: dict[str, dict[Found, datetime]] = {}

    def of(self, source: str, found: Sequence[Found], now: datetime, settle: float) -> list[Found]:
        """Those that have stood still for so many seconds."""
        before = self._since.get(source, {})
        since = self._since[source] = {one: before.get(one, now) for one in found}
        return [one for one in found if now - since[one] >= timedelta(seconds=settle)]


def opened(folder: Path, found: Found) -> BinaryIO | None:
    """The file, to be read; None when it is another by now, or gone. Raises Unavailable."""
    try:
        descriptor = os.open(folder / found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"{folder / found.name}: {error.strerror}") from error
    file = os.fdopen(descriptor, "rb")
    if not unchanged(file, found):
        file.close()
        return None
    return file


def unchanged(file: BinaryIO, found: Found) -> bool:
    """Whether an open file is still what was found."""
    status = os.fstat(file.fileno())
    return stat.S_ISREG(status.st_mode) and Found.of(found.name, status) == found


def put_away(folder: Path, found: Found, place: str, error: str | None) -> bool:
    """Move a file into `done` or `failed` beside it, with its reasons. False where we may not: it stays.

    A name that is taken there gets the file's time behind it, so that nothing is written over.
    """
    target = folder / place
    try:
        target.mkdir(exist_ok=True)
        name = found.name
        if (target / name).exists():
            name = f"{found.name}.{found.modified_ns}"
        (folder / found.name).rename(target / name)
        if error is not None:
            (target / f"{name}{ERROR_FILE}").write_text(error + "\n", "utf-8")
    except FileNotFoundError:  # taken away meanwhile
        return True
    except OSError:
        return False
    return True
