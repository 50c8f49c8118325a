"""Odoo over JSON-RPC: named fields only, a timeout on every call, and errors that say whether to try again.

Calls run in English, see archived records, and all companies that the user may see. Nothing here writes to Odoo.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, OpenerDirector, Request, build_opener

import odoorpc

from milepost import settings
from milepost.clock import Clock
from milepost.errors import (
    ConfigurationError,
    MilepostError,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Permanent,
    Unavailable,
)

Row = dict[str, Any]
Domain = Sequence[Any]

_CONTEXT: Final[Row] = {"lang": "en_US", "tz": "UTC", "active_test": False}
_VERSION: Final = "19.0"
"""Told to odoorpc so that it doesn't ask: it only wants to know an Odoo before 10."""
_MAX_TEXT: Final = 300
# the class that Odoo names in its answer
_MEANING: Final[dict[str, type[Permanent]]] = {
    "odoo.exceptions.AccessDenied": NotAuthenticated,
    "odoo.exceptions.AccessError": NotAllowed,
    "odoo.exceptions.UserError": NotFound,  # "Object x doesn't exist", for the calls that are made here
    "builtins.KeyError": NotFound,  # the same before Odoo 17
}
_PASSING: Final = ("psycopg2.", "odoo.sql_db.", "builtins.MemoryError", "builtins.TimeoutError")


class _Opener:
    """urllib's opener, which counts the calls, spaces them, and notes how far Odoo's clock is from ours."""

    def __init__(self, options: settings.Odoo, clock: Clock, pause: Callable[[float], None]) -> None:
        self._opener: OpenerDirector = build_opener(HTTPSHandler(context=_trusted(options.odoo_ca)))
        self._clock = clock
        self._pause = pause
        self._spacing = 1 / options.odoo_rate
        self._not_before = 0.0
        self.calls = 0
        self.offset = timedelta()

    def open(self, request: Request, timeout: float) -> Any:
        self._wait()
        self.calls += 1
        response = self._opener.open(request, timeout=timeout)
        stamp = response.headers.get("Date")
        if stamp:
            self.offset = parsedate_to_datetime(stamp) - self._clock()
        return response

    def _wait(self) -> None:
        """Space the calls, however short they are; a second's worth may be made up for."""
        now = time.monotonic()
        self._not_before = max(self._not_before, now - 1.0) + self._spacing
        if self._not_before > now:
            self._pause(self._not_before - now)


class Client:
    """One Odoo database as one user. Connects by itself, and again after an error."""

    def __init__(self, options: settings.Odoo, clock: Clock, pause: Callable[[float], None] = time.sleep) -> None:
        """`pause` waits so many seconds. Raises ConfigurationError when the settings can't be used."""
        self._options = options
        self._protocol, self._host, self._port = _address(options.odoo_url)
        self._opener = _Opener(options, clock, pause)
        self._context = _CONTEXT
        self._clock = clock
        self._odoo: odoorpc.ODOO | None = None
        # odoorpc writes whole requests, password and all, at level DEBUG
        logging.getLogger("odoorpc").setLevel(logging.INFO)

    @property
    def calls(self) -> int:
        """HTTP requests made so far."""
        return self._opener.calls

    def server_time(self) -> datetime:
        """The present by Odoo's clock, to the second, as far as its answers told."""
        return (self._clock() + self._opener.offset).astimezone(UTC)

    def search_read(
        self, model: str, domain: Domain, fields: Sequence[str], *, order: str = "id", limit: int | None = None
    ) -> list[Row]:
        """Rows with `id` and `fields`; times as "YYYY-MM-DD HH:MM:SS" in UTC, empty values as False."""
        options = {"fields": list(fields), "order": order, "limit": limit, "context": self._context}
        rows: list[Row] = self._call(model, "search_read", [list(domain)], options)
        return rows

    def count(self, model: str, domain: Domain) -> int:
        """How many records there are."""
        return int(self._call(model, "search_count", [list(domain)], {"context": self._context}))

    def existing(self, model: str, ids: Sequence[int]) -> set[int]:
        """Those of `ids` that exist. Raises NotAllowed when one of them exists and may not be read."""
        rows: list[Row] = self._call(model, "read", [list(ids), ["create_date"]], {"context": self._context})
        return {row["id"] for row in rows}

    def companies(self) -> dict[int, str]:
        """{id: name} of the companies that this user may see; from now on all of them are asked for."""
        rows = self.search_read("res.users", [("login", "=", self._options.odoo_user)], ["company_ids"])
        ids = sorted(rows[0]["company_ids"]) if rows else []
        self._context = {**_CONTEXT, "allowed_company_ids": ids} if ids else _CONTEXT
        return {row["id"]: row["name"] for row in self.search_read("res.company", [("id", "in", ids)], ["name"])}

    def fields_of(self, model: str, lang: str = "en_US") -> dict[str, Row]:
        """The fields that this user may read, with type and selection. Raises NotFound without the model."""
        options = {"attributes": ["type", "selection"], "context": {**self._context, "lang": lang}}
        fields: dict[str, Row] = self._call(model, "fields_get", [], options)
        return fields

    def _call(self, model: str, method: str, arguments: list[Any], options: Row) -> Any:
        with self._errors(model):
            return self._connected().execute_kw(model, method, arguments, options)

    def _connected(self) -> odoorpc.ODOO:
        if self._odoo is None:
            options = self._options
            address = (self._host, self._protocol, self._port)
            odoo = odoorpc.ODOO(*address, timeout=options.odoo_timeout, version=_VERSION, opener=self._opener)
            odoo.login(options.odoo_database, options.odoo_user, options.odoo_password)
            self._odoo = odoo
        return self._odoo

    @contextmanager
    def _errors(self, model: str) -> Iterator[None]:
        """Raise Milepost's errors in place of the library's; the next call logs in anew unless it was about a model."""
        try:
            yield
        except (odoorpc.error.Error, OSError, http.client.HTTPException, LookupError, ValueError, TypeError) as error:
            meaning = self._meaning(error, model)
            if not isinstance(meaning, NotAllowed | NotFound):
                self._odoo = None
            raise meaning from error

    def _meaning(self, error: Exception, model: str) -> MilepostError:
        where = f"Odoo at {self._options.odoo_url}"
        if isinstance(error, odoorpc.error.RPCError):
            return _rpc_meaning(error, where if self._odoo is None else model)
        if isinstance(error, HTTPError) and error.code < 500 and error.code not in (408, 429):
            return ConfigurationError(f"{where}: HTTP {error.code}; is MILEPOST_ODOO_URL right?")
        if isinstance(error, URLError) and isinstance(error.reason, ssl.SSLCertVerificationError):
            return ConfigurationError(f"{where}: {error.reason.verify_message}")
        if isinstance(error, OSError):
            return Unavailable(f"{where}: {_short(str(error) or type(error).__name__)}")
        return Unavailable(f"{where}: this is not an answer of Odoo ({_short(repr(error))})")


def _rpc_meaning(error: odoorpc.error.RPCError, where: str) -> MilepostError:
    data = (error.info or {}).get("data") or {}
    name, text = str(data.get("name", "")), f"{where}: {_short(str(error))}"
    if not name:  # made by odoorpc: the log-in was answered with False
        return NotAuthenticated(f"{where}: wrong user or password (MILEPOST_ODOO_USER, MILEPOST_ODOO_PASSWORD)")
    if name.startswith(_PASSING):
        return Unavailable(text)
    return _MEANING.get(name, Permanent)(text)


def _short(text: str) -> str:
    """The first line: Odoo goes on with advice on whom to ask."""
    return text.strip().partition("\n")[0][:_MAX_TEXT]


def _trusted(ca: str) -> ssl.SSLContext:
    """Certificates are always verified: by `ca`, a PEM file, or by those that the machine trusts."""
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise ConfigurationError(f"MILEPOST_ODOO_CA: {ca}: {error}") from error


def _address(url: str) -> tuple[str, str, int]:
    """(protocol of odoorpc, host, port) of https://host[:port]. Raises ConfigurationError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ConfigurationError(f'MILEPOST_ODOO_URL: "{url}" is not like https://odoo.example.org')
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"MILEPOST_ODOO_URL: {error}") from error
    if parts.scheme == "https":
        return "jsonrpc+ssl", parts.hostname, port or 443
    return "jsonrpc", parts.hostname, port or 80
