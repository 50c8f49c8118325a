"""E-mail over SMTP: text and HTML, one thread an alert.

smtps:// speaks TLS from the start. smtp:// changes to TLS (STARTTLS) where the server offers it; a password never goes
over a connection without TLS. Retries carry the same Message-ID.
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx

from alerting.notifiers import Delivery, Taken, email_body
from milepost.catalog.routing import Channel
from milepost.errors import ConfigurationError, Permanent, Transient, Unavailable
from milepost.settings import Alerting

_PORTS: Final = {"smtp": 25, "smtps": 465}
_TIMEOUTS: Final = 2
"""A mail takes many turns with the server: each may take the timeout, all of them together so many."""


@dataclass(frozen=True, slots=True)
class Server:
    """The mail server. `password` is None where it wants none."""

    host: str
    port: int
    tls: bool
    user: str = ""
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Email:
    """A list of recipients."""

    server: Server
    sender: str
    to: Sequence[str]
    timeout: float

    @staticmethod
    def make(channel: Channel, settings: Alerting) -> Email:
        """From the catalog and the settings. Raises ConfigurationError."""
        for address in (settings.mail_from, *channel.to):
            _check_address(address, channel.name)
        return Email(parse(settings.smtp_url), settings.mail_from, tuple(channel.to), settings.notify_timeout)

    def deliver(self, delivery: Delivery) -> Taken:
        """Send it; see alerting.notifiers for the contract. Recipients that alone were refused are the remark."""
        mail = compose(delivery, sender=self.sender, to=self.to)
        limit = _TIMEOUTS * self.timeout
        end = time.monotonic() + limit
        try:
            with self._session(end) as session:
                refused = session.send_message(mail, from_addr=self.sender, to_addrs=list(self.to))
        except smtplib.SMTPException as error:
            if time.monotonic() >= end:  # half a line isn't judged
                raise Unavailable(f"{self.server.host}:{self.server.port} was not done within {limit:g} s") from error
            raise _judged(error) from error
        except ssl.SSLCertVerificationError as error:
            raise Permanent(f"{self.server.host}: certificate: {error.verify_message}") from error
        except OSError as error:
            raise Unavailable(f"{self.server.host}:{self.server.port}: {error}") from error
        return Taken("; ".join(f"{address} was refused: {_said(*answer)}" for address, answer in refused.items()))

    def _session(self, end: float) -> smtplib.SMTP:
        server, context = self.server, httpx.create_ssl_context()
        name = self.sender.rpartition("@")[2]  # else smtplib asks the DNS for our own, which may take long
        session = _Session(server, name, self.timeout, end, context if server.tls else None)
        try:
            _secure(session, server, context)
        except (smtplib.SMTPException, OSError, Permanent):
            session.close()
            raise
        return session


class _Session(smtplib.SMTP):
    """Cuts its connection at `end` (on time.monotonic): smtplib's timeout holds for each read alone."""

    def __init__(self, server: Server, name: str, timeout: float, end: float, tls: ssl.SSLContext | None) -> None:
        self._end = end
        self._tls = tls
        self._cut = contextlib.ExitStack()
        super().__init__(server.host, server.port, name, timeout=timeout)

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        """Connect, with TLS from the start where that is wanted, and take the greeting."""
        self.sock = socket.create_connection((host, port), self.timeout, source_address)
        line = self._cut.enter_context(self.sock.dup())  # stays the connection when TLS takes the socket over
        timer = threading.Timer(self._end - time.monotonic(), _hang_up, [line])
        timer.daemon = True
        timer.start()
        self._cut.callback(timer.cancel)
        try:
            if self._tls is not None:
                self.sock = self._tls.wrap_socket(self.sock, server_hostname=host)
        except OSError:
            self.close()
            raise
        return self.getreply()

    def close(self) -> None:
        self._cut.close()
        super().close()

    def __exit__(self, *error: Any) -> None:
        with contextlib.suppress(smtplib.SMTPException):  # what it says to the farewell changes nothing about the mail
            super().__exit__(*error)


def _hang_up(line: socket.socket) -> None:
    """Whoever reads from the connection sees its end."""
    with contextlib.suppress(OSError):  # it is closed already
        line.shutdown(socket.SHUT_RDWR)


def parse(url: str) -> Server:
    """Take smtp[s]://[user:password@]host[:port] apart. Raises ConfigurationError."""
    if not url:
        raise ConfigurationError("MILEPOST_SMTP_URL is not set: there is no mail server")
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        port = None
    if port is None or not parts.hostname:
        # never with what it is: a password that isn't percent-encoded may stand anywhere in it
        raise ConfigurationError(
            "MILEPOST_SMTP_URL is not like smtp://host:port or smtps://user:password@host"
        ) from None
    user, password = unquote(parts.username or ""), unquote(parts.password) if parts.password is not None else None
    if not f"{user}{password}".isascii():
        raise ConfigurationError("MILEPOST_SMTP_URL: user and password can have ASCII characters only")
    return Server(parts.hostname, port, parts.scheme == "smtps", user, password)


def compose(delivery: Delivery, *, sender: str, to: Sequence[str]) -> EmailMessage:
    """The mail. Whatever an alert's texts hold, headers stay one line each."""
    message = delivery.message
    domain = sender.rpartition("@")[2]
    mail = EmailMessage()
    mail["From"] = Address("Milepost", addr_spec=sender)
    mail["To"] = ", ".join(to)
    mail["Subject"] = _one_line(message.headline)
    mail["Date"] = format_datetime(delivery.at)
    mail["Message-ID"] = f"<{delivery.message_id}@{domain}>"
    if message.thread != delivery.message_id:
        mail["In-Reply-To"] = mail["References"] = f"<{message.thread}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: holiday notices leave it alone
    mail["X-Milepost-Alert"] = str(message.alert.id)
    mail.set_content(email_body.text(delivery))
    mail.add_alternative(email_body.html(delivery), subtype="html")
    return mail


def _secure(session: smtplib.SMTP, server: Server, context: ssl.SSLContext) -> None:
    session.ehlo()
    if not server.tls and session.has_extn("starttls"):
        session.starttls(context=context)
        session.ehlo()
    elif not server.tls and server.password is not None:
        raise Permanent(f"{server.host} offers no TLS: the password is not sent in the clear; use smtps://")
    if server.password is not None:
        session.login(server.user, server.password)


def _judged(error: smtplib.SMTPException) -> Transient | Permanent:
    """What an SMTP error means: 4xx replies and lost connections may pass, 5xx replies will not (RFC 5321, 4.2.1)."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        said = "; ".join(f"{address}: {_said(*answer)}" for address, answer in error.recipients.items())
        return Permanent(said) if all(code >= 500 for code in codes) else Transient(said)
    if isinstance(error, smtplib.SMTPResponseException):
        said = _said(error.smtp_code, error.smtp_error)
        return Permanent(said) if error.smtp_code >= 500 else Transient(said)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Permanent(str(error))
    return Unavailable(str(error) or type(error).__name__)


def _said(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"SMTP {code} {_one_line(words)}"


def _one_line(text: str) -> str:
    printable = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(printable.split())


def _check_address(address: str, channel: str) -> None:
    try:
        parsed = Address(addr_spec=address)
    except (ValueError, IndexError, HeaderParseError) as error:
        raise ConfigurationError(f'channel {channel}: "{address}" is not an e-mail address') from error
    if not parsed.username or not parsed.domain:
        raise ConfigurationError(f'channel {channel}: "{address}" is not an e-mail address')
