"""A database for a benchmark: an embedded PostgreSQL with its usual settings and Milepost's schema, gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from milepost.db.schema import run_migrations


@contextmanager
def database() -> Iterator[sa.Engine]:
    with (
        tempfile.TemporaryDirectory(prefix="milepost-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
    ):
        url = server.url("postgres")
        run_migrations(url)
        engine = make_engine(url)
        yield engine
        engine.dispose()
