"""Settings: one class per concern, read once at entry from MILEPOST_… variables.

`Settings.load(environ)` refuses what it can't use, naming the variable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from milepost.errors import ConfigurationError

PREFIX = "MILEPOST_"
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class Database(Struct, frozen=True):
    """Where the data is. Without `database_url` an embedded PostgreSQL runs in `data_dir`."""

    database_url: str = ""
    data_dir: str = ".milepost"
    retention_days: Count = 400
    identity_days: Count = 30
    quarantine_days: Count = 90
    quarantine_events: Count = 1_000_000


class Web(Struct, frozen=True):
    """The HTTP side: collector, read API and pages.

    `trusted_proxies`: addresses whose X-Forwarded-For and X-Forwarded-Proto are believed, separated by commas.
    `otlp_port`: where OpenTelemetry's exporters send unless they are told otherwise; 0 for nowhere.
    `tls_cert` and `tls_key`: files in PEM format; without them Milepost speaks plain HTTP.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8080
    otlp_port: Annotated[int, Meta(ge=0, le=65535)] = 4318
    public_url: str = ""
    secret: str = ""
    session_hours: Count = 12
    secure_cookies: bool = False
    trusted_proxies: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    @property
    def scheme(self) -> str:
        return "https" if self.tls_cert else "http"


class Ingest(Struct, frozen=True):
    """Limits of the collector.

    `rates_of_keys`: others than `rate_per_key`, by the name of the key: "wms north=500, shop=50".
    `spool_dir`: empty for `spool` in the data directory. `spool_bytes`: 0 for no spool.
    """

    max_body_bytes: Count = 16 * 1024 * 1024
    max_event_bytes: Count = 256 * 1024
    max_batch_events: Count = 10_000
    queue_events: Count = 50_000
    commit_events: Count = 5_000
    rate_per_key: Count = 200_000
    rates_of_keys: str = ""
    spool_dir: str = ""
    spool_bytes: Annotated[int, Meta(ge=0)] = 1024 * 1024 * 1024
    max_connections: Count = 2_000
    privacy_key: str = ""


class Odoo(Struct, frozen=True):
    """The Odoo that is read. No `odoo_url`: no poller.

    `odoo_rate`: calls a second, at most. `odoo_backfill_hours`: "20:00-06:00 Europe/Berlin", empty for any time.
    """

    odoo_url: str = ""
    odoo_database: str = ""
    odoo_user: str = ""
    odoo_password: str = ""
    odoo_source: str = "odoo"
    odoo_interval: Seconds = 15.0
    odoo_timeout: Seconds = 30.0
    odoo_page: Count = 500
    odoo_rate: Seconds = 10.0
    odoo_ca: str = ""
    odoo_since: str = ""
    odoo_backfill_hours: str = ""
    odoo_stuck_minutes: Count = 30


class Alerting(Struct, frozen=True):
    """How notifications leave. Channels that need no secret stand in the catalog's routes.yaml.

    `acknowledge_link_days`: for so long the link in a notification acknowledges its alert; 0 for no such links.
    `heartbeat_url`: where a sign of life goes each minute; empty for nowhere.
    """

    smtp_url: str = ""
    mail_from: str = "milepost@localhost"
    notify_timeout: Seconds = 15.0
    allow_private_receivers: bool = False
    acknowledge_link_days: Annotated[int, Meta(ge=0)] = 7
    heartbeat_url: str = ""


class Paths(Struct, frozen=True):
    """Files. `catalog` is a folder whose YAML replaces the built-in files of the same names.

    `folders` is the folder below which the catalog's sources may have files watched.
    """

    catalog: str = ""
    folders: str = ""
    folders_interval: Seconds = 5.0


class Log(Struct, frozen=True):
    """What the processes write to stderr, one line each."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"


class Settings(Struct, frozen=True):
    """All settings, each under its concern."""

    database: Database
    web: Web
    ingest: Ingest
    odoo: Odoo
    alerting: Alerting
    paths: Paths
    log: Log = Log()

    @staticmethod
    def load(environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment. Raises ConfigurationError naming the variable."""
        env = os.environ if environ is None else environ
        classes = (Database, Web, Ingest, Odoo, Alerting, Paths, Log)
        return Settings(*(_read(kind, env) for kind in classes))  # type: ignore[arg-type]

    @property
    def data_dir(self) -> Path:
        return Path(self.database.data_dir)

    @property
    def spool_dir(self) -> Path | None:
        """Where collectors keep their spools, if they do."""
        folder = Path(self.ingest.spool_dir) if self.ingest.spool_dir else self.data_dir / "spool"
        return folder if self.ingest.spool_bytes else None

    @property
    def public_url(self) -> str:
        """The address people use, without a trailing slash."""
        return self.web.public_url.rstrip("/") or f"{self.web.scheme}://{self.web.host}:{self.web.port}"


def variables() -> dict[str, Any]:
    """Every variable with its default: what the reference documents."""
    classes = (Database, Web, Ingest, Odoo, Alerting, Paths, Log)
    fields = (item for kind in classes for item in msgspec.structs.fields(kind))
    return {PREFIX + item.name.upper(): item.default for item in fields}


T = TypeVar("T", bound=Struct)


def _read(kind: type[T], env: Mapping[str, str]) -> T:
    names = [item.name for item in msgspec.structs.fields(kind)]
    values: dict[str, Any] = {name: env[PREFIX + name.upper()] for name in names if env.get(PREFIX + name.upper())}
    for name, value in values.items():
        _convert(kind, {name: value}, name)
    return _convert(kind, values, "")


def _convert(kind: type[T], values: Mapping[str, Any], name: str) -> T:
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        text = str(error).partition(" - at")[0]
        raise ConfigurationError(f"{PREFIX}{name.upper()}: {text} (it is {values[name]!r})") from error
