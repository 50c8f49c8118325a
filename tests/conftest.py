"""Every test gets a fresh database, cloned from a migrated template.

One PostgreSQL serves all test processes of this user, and the next session too: it is started by who comes first and
stopped by who leaves last. Its files are in memory where there is room: a fresh database is some hundred files, and a
disk's file system takes ever longer to make them and to drop them. `--database=timescale` runs the same tests on
MILEPOST_TEST_TIMESCALE_URL instead.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from tests.databases import Databases

TIMESCALE = "MILEPOST_TEST_TIMESCALE_URL"
MEMORY = Path("/dev/shm")  # of Linux
ROOM = 4 * 1024**3
# Nothing here has to outlive a power cut.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "checkpoint_timeout": "1h",
    "log_checkpoints": "off",
    "shared_buffers": "128MB",
    "max_connections": "200",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --database."""
    parser.addoption(
        "--database",
        choices=["embedded", "timescale"],
        default="embedded",
        help=f"the server that the databases of the tests are on; timescale is the one of {TIMESCALE}",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse --database=timescale without the server."""
    if config.getoption("--database") == "timescale" and not os.environ.get(TIMESCALE):
        raise pytest.UsageError(f"--database=timescale: {TIMESCALE} must be set (tests/integration/services/up)")


@pytest.fixture(scope="session")
def embedded_url() -> Iterator[str]:
    """The maintenance database of the embedded server that all test processes share."""
    with EmbeddedPostgres(_roomy() / f"milepost-tests-{os.geteuid()}", settings=FAST) as server:
        yield server.url("postgres")


def _roomy() -> Path:
    """A folder for servers: in memory, if there is room, and as much is free."""
    in_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    return MEMORY if in_memory and _free_memory() > ROOM else Path(tempfile.gettempdir())


def _free_memory() -> int:
    """Bytes that can be had without taking any from a process."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


@pytest.fixture
def server_dir() -> Iterator[Path]:
    """A folder for an embedded server of the test's own. (As root, pytest's tmp_path is closed to the server.)"""
    with tempfile.TemporaryDirectory(prefix="milepost-", dir=_roomy()) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Makes fresh databases on the chosen server."""
    if request.config.getoption("--database") == "timescale":
        url = os.environ[TIMESCALE]
    else:
        url = request.getfixturevalue("embedded_url")
    with Databases(url) as made:
        yield made


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """The URL of a fresh, migrated database; it is dropped afterwards."""
    with databases.fresh() as url:
        yield url


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    """An engine on `database`."""
    made = make_engine(database, application_name="test")
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def timescale_databases() -> Iterator[Databases]:
    """Makes fresh databases on TimescaleDB, whatever --database says. For tests marked `timescale`."""
    with Databases(os.environ[TIMESCALE]) as made:
        yield made
