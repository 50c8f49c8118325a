"""A door between a sender and a server: shut, the server is away; open again, it is back at the same address."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.receivers import closed_port


class Relay:
    """Passes connections on to `url` while it is open.

    `certificate`: it speaks TLS with those who come. `proxy`: it wants a CONNECT first; `asked` is what for.
    """

    def __init__(self, url: str, certificate: Path | None = None, proxy: bool = False) -> None:
        target = urlsplit(url)
        self._target = (target.hostname or "", target.port or 0)
        self._port = closed_port()
        self._listener: socket.socket | None = None
        self._held: list[socket.socket] = []
        self._context = _context(certificate) if certificate else None
        self._proxy = proxy
        self.asked: list[str] = []
        self.url = f"{'https://localhost' if certificate else 'http://127.0.0.1'}:{self._port}"

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Nobody gets in any more, and whoever is in is thrown out."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for one in self._held:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._held.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                here = self._context.wrap_socket(here, server_side=True)
            if self._proxy:
                self.asked.append(here.recv(4096).decode().splitlines()[0])
                here.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            there = socket.create_connection(self._target, timeout=30)
            self._held += [here, there]
            threading.Thread(target=_pass_on, args=(there, here), daemon=True).start()
            _pass_on(here, there)


def _context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(url: str, *, certificate: Path | None = None, proxy: bool = False) -> Iterator[Relay]:
    """A relay, shut at first and at the end."""
    made = Relay(url, certificate, proxy)
    try:
        yield made
    finally:
        made.shut()
