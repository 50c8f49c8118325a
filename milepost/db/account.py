"""The operating system account that the embedded PostgreSQL runs under.

PostgreSQL refuses to run as root. Started by root, it runs as an unprivileged account that stays a member of root's
group; so root's own directories on the way to the data need to be opened for that group only, not for everybody.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from milepost.errors import ConfigurationError

CANDIDATES: Final = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """Who owns and runs the server; without a `uid` it is the present user."""

    uid: int | None = None
    gid: int | None = None
    name: str = ""

    def run(self, command: Sequence[str], *, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run `command` to its end as this account."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            **self._as(),
        )

    def launch(self, command: Sequence[str], *, log: IO[bytes], keep: int) -> subprocess.Popen[bytes]:
        """Start `command` as this account in a session of its own; it inherits the descriptor `keep`."""
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[keep],
            start_new_session=True,  # a Ctrl+C in the terminal is not for the database
            **self._as(),
        )

    def own_directory(self, path: Path) -> None:
        """Make the directory when it isn't there, for us alone. Raises PermissionError if it is another's."""
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), self.uid):
            raise PermissionError(f"{path} is not a directory of our own")
        path.chmod(0o700)
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def write(self, path: Path, text: str) -> None:
        """Replace a file of the account's, whole or not at all."""
        beside = path.with_name(path.name + ".new")
        beside.write_text(text)
        beside.chmod(0o600)
        if self.uid is not None and self.gid is not None:
            os.chown(beside, self.uid, self.gid)
        beside.replace(path)

    def reach(self, path: Path) -> None:
        """Make sure that the account may pass through every directory down to `path`.

        Raises ConfigurationError where that would mean to open a directory that isn't root's own.
        """
        if self.uid is None:
            return
        for directory in [*reversed(path.resolve().parents), path.resolve()]:
            found = directory.stat()
            if self._may_pass(found):
                continue
            if (found.st_uid, found.st_gid) != (0, 0):
                raise ConfigurationError(
                    f"{directory} keeps the account {self.name} out, which PostgreSQL runs as when root starts it:"
                    f" start Milepost as that directory's owner, or put it and its data (MILEPOST_DATA_DIR) elsewhere"
                )
            directory.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXGRP)

    def _may_pass(self, found: os.stat_result) -> bool:
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid in (self.gid, 0):
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)

    def _as(self) -> dict[str, Any]:
        options: dict[str, Any] = {"cwd": "/", "env": _environment(), "umask": 0o077}
        if self.uid is not None:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": [0]}
        return options


def server_account(cluster: Path | None) -> Account:
    """Whom the server runs as: the owner of the existing `cluster`, the present user, or for root another account."""
    if os.geteuid() != 0:
        return Account()
    owner = cluster.stat().st_uid if cluster is not None else 0
    entry = pwd.getpwuid(owner) if owner else _unprivileged()
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def _unprivileged() -> pwd.struct_passwd:
    for name in CANDIDATES:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ConfigurationError(
        "PostgreSQL refuses to run as root, and there is no account 'nobody': start as another user"
    )


def _environment() -> dict[str, str]:
    """Ours without what would change the server's defaults (PGDATA, PGPORT, LC_ALL, …)."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))} | {"LC_ALL": "C"}
