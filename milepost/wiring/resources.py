"""What every process needs: the database, the catalog in force, the secret, the clock."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
import sqlalchemy as sa

from milepost.catalog import loader
from milepost.catalog.loader import Texts
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, utc_now
from milepost.db import schema, timescale
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from milepost.decisions import catalog as decided
from milepost.decisions.catalog import CatalogCache
from milepost.errors import ConfigurationError
from milepost.inbox import identities
from milepost.settings import Settings

POOL: Final = 8


@dataclass(frozen=True, slots=True)
class Resources:
    """Open for as long as the block of `opened` lasts."""

    settings: Settings
    engine: sa.Engine
    cache: CatalogCache
    clock: Clock

    def catalog(self) -> Catalog:
        """The catalog in force. Raises Transient while the database is away."""
        with self.engine.connect() as connection:
            return self.cache.active(connection)

    def privacy_key(self) -> bytes:
        """What fields are hashed with where the catalog asks for it. Raises ConfigurationError."""
        given = self.settings.ingest.privacy_key or with_secret(self.settings).web.secret
        return hmac.digest(given.encode(), b"milepost privacy", "sha256")

    def prepare(self) -> None:
        """Bring the database to this version's schema, with a catalog in force. Safe at any time, in any process."""
        schema.migrate(self.engine)
        now = self.clock()
        with self.engine.begin() as connection:
            decided.ensure(connection, catalog_texts(self.settings), now=now)
            identities.roll_over(connection, now, timedelta(days=self.settings.database.identity_days))
        with self.engine.begin() as connection:
            timescale.ensure_partitions(connection, now, now + timedelta(days=1))


@contextmanager
def opened(settings: Settings, process: str, clock: Clock = utc_now) -> Iterator[Resources]:
    """The resources of a process, which `process` names in the database's lists.

    Without a database URL the embedded PostgreSQL of the data directory is joined, or started for the time being.
    """
    with ExitStack() as stack:
        url = settings.database.database_url
        if not url:
            url = stack.enter_context(embedded(settings)).url()
        engine = make_engine(url, pool_size=POOL, application_name=f"milepost {process}")
        stack.callback(engine.dispose)
        yield Resources(settings, engine, CatalogCache(lambda: catalog_texts(settings), clock), clock)


@contextmanager
def prepared(settings: Settings, process: str) -> Iterator[Resources]:
    """`opened`, with the schema and a catalog in place: for commands."""
    with opened(settings, process) as resources:
        resources.prepare()
        yield resources


def embedded(settings: Settings) -> EmbeddedPostgres:
    """The PostgreSQL of the data directory, not yet started."""
    make_data_dir(settings)
    return EmbeddedPostgres(settings.data_dir / "postgres")


def on_database(settings: Settings, url: str) -> Settings:
    """The settings with this database in them."""
    return msgspec.structs.replace(settings, database=msgspec.structs.replace(settings.database, database_url=url))


def make_data_dir(settings: Settings) -> Path:
    """The data directory, ours alone. Raises ConfigurationError."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"MILEPOST_DATA_DIR: {settings.data_dir}: {error.strerror}") from error
    return settings.data_dir


def catalog_texts(settings: Settings) -> Texts:
    """The catalog to start with: the built-in one, with the files of the folder in the settings over it."""
    folder = settings.paths.catalog
    return loader.read_texts(Path(folder) if folder else None)


def with_secret(settings: Settings) -> Settings:
    """The settings with a secret in them: the one given, or that of the data directory, which is made once."""
    if settings.web.secret:
        return settings
    path = make_data_dir(settings) / "secret"
    try:
        if not path.exists():
            _make_secret(path)
        secret = path.read_text("ascii").strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; or set MILEPOST_SECRET") from error
    return msgspec.structs.replace(settings, web=msgspec.structs.replace(settings.web, secret=secret))


def _make_secret(path: Path) -> None:
    """Whole or not at all; who comes second keeps the first one's."""
    beside = path.with_name(f"secret.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(32).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        pass
    finally:
        beside.unlink()


def login_address(settings: Settings, token: str) -> str:
    """The address that lets in whoever follows it first."""
    return f"{settings.public_url}/login?token={quote(token)}"
