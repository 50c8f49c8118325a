"""A wire between collector and database that can be cut, stopped, or lose the answer to a COMMIT."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import sqlalchemy as sa

COMMIT: Final = b"COMMIT"


class Proxy:
    """Listens on TCP, and passes everything on to the server of `url`, by its Unix socket where it names one."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._flows = threading.Event()
        self._flows.set()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._guard = threading.Lock()
        self._refuses = False
        self._commits_to_lose = 0
        self.lost_commits = 0

    def __enter__(self) -> Proxy:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    @property
    def url(self) -> str:
        """The database, by way of this proxy."""
        host, port = self._listener.getsockname()
        return self._url.set(host=host, port=port, query={}).render_as_string(hide_password=False)

    def cut(self) -> None:
        """Close all connections, and every new one at once."""
        self._refuses = True
        self._flows.set()
        with self._guard:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            _close(*pair)

    def stop(self) -> None:
        """Say nothing more, and close nothing either: a network that swallows packets."""
        self._flows.clear()

    def lose_commits(self, number: int = 1) -> None:
        """Pass the next COMMITs on, and cut their connections in place of the answer."""
        self._commits_to_lose = number

    def mend(self) -> None:
        """Work again."""
        self._refuses = False
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                client.close()
                continue
            try:
                server = self._reach()
            except OSError:
                _close(client)
                continue
            with self._guard:
                self._pairs.add((client, server))
            for work in (self._forward, self._backward):
                threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _reach(self) -> socket.socket:
        folder = self._url.query.get("host")
        if folder is None:
            return socket.create_connection((self._url.host or "127.0.0.1", self._url.port or 5432), timeout=None)
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(Path(str(folder)) / ".s.PGSQL.5432"))
        except OSError:
            server.close()
            raise
        return server

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                self._flows.wait()
                if COMMIT in data and self._commits_to_lose > 0:
                    self._commits_to_lose -= 1
                    self.lost_commits += 1
                    client.shutdown(socket.SHUT_RDWR)
                server.sendall(data)
        self._end(client, server)

    def _backward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                self._flows.wait()
                client.sendall(data)
        self._end(client, server)

    def _end(self, client: socket.socket, server: socket.socket) -> None:
        with self._guard:
            self._pairs.discard((client, server))
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        _close(client)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
