"""One line an event to stderr, as text or as JSON."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

from milepost.settings import Log, Settings

_SHORTEST: Final = 4
"""Shorter secrets would blot out half of what is written."""

# They say at `info`, or again and again, what is of use to their developers only.
_QUIET: Final = {
    "apscheduler": logging.ERROR,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "odoorpc": logging.WARNING,  # at debug it writes every call, and the password is an argument of each
    "python_multipart": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "uvicorn": logging.WARNING,
    "werkzeug": logging.WARNING,
}


HIDDEN: Final = "[hidden]"
_SHAPES: Final = (
    re.compile(r"(?<=mp_)[0-9a-f]{16}_[0-9a-f]{16,}"),  # API keys
    re.compile(r"(?<=whsec_)[A-Za-z0-9+/=]{8,}"),
    re.compile(r"(?<=\bxox[abeoprs]-)[\w\-]{8,}"),  # Slack's tokens
    re.compile(r"(?<=/acknowledge/)[\w.\-]+"),
    re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"),  # user and password in an address
    re.compile(r"(?i)(?<=[?&]token=)[^\s&\"']+"),
    re.compile(r"(?i)(?<=\bauthorization: )\S+ \S+"),
)


class Redaction:
    """Takes secrets out of lines: those that it is told, and whatever has the shape of one.

    Nothing writes secrets on purpose; this is for what a library or an error message brings along.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        told = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)
        self._told = re.compile("|".join(map(re.escape, told))) if told else None

    def __call__(self, line: str) -> str:
        if self._told is not None:
            line = self._told.sub(HIDDEN, line)
        for shape in _SHAPES:
            line = shape.sub(HIDDEN, line)
        return line


def secrets_of(settings: Settings) -> list[str]:
    """The secrets in the settings, as they are and as they stand in addresses."""
    urls = (settings.database.database_url, settings.alerting.smtp_url)
    in_urls = [match[1] for url in urls for match in re.finditer(r"://[^/@:]*:(.+)@", url)]
    plain = [settings.web.secret, settings.ingest.privacy_key, settings.odoo.odoo_password]
    return [*plain, *in_urls, *map(unquote, in_urls)]


class _Line(logging.Formatter):
    redact = Redaction()

    def format(self, record: logging.LogRecord) -> str:
        return self.redact(super().format(record))


class TextLine(_Line):
    """2026-11-20T10:02:11.123Z WARNING collector.keys: message; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002
        return _time(record)


class JsonLine(_Line):
    """The same as one JSON object: time, level, logger, message and, where there is one, error."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps({name: self.redact(text) for name, text in line.items()}, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def configure(settings: Log, secrets: Iterable[str] = ()) -> None:
    """Set up logging for this process. `secrets` are never written."""
    handler = logging.StreamHandler(sys.stderr)
    line = JsonLine() if settings.log_format == "json" else TextLine()
    line.redact = Redaction(secrets)
    handler.setFormatter(line)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, root.level))
