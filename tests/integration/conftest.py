"""What the integration tests share."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from milepost.db.engine import make_engine
from tests.databases import Databases
from tests.integration.erp import Erp


@pytest.fixture(scope="module")
def shared(databases: Databases) -> Iterator[sa.Engine]:
    """One database for a whole module, where a fresh one for each test would take longer than the tests."""
    with databases.fresh() as url:
        made = make_engine(url, application_name="test")
        yield made
        made.dispose()


@pytest.fixture
def erp() -> Iterator[Erp]:
    """The only Odoo there is: one test at a time, in however many processes."""
    with (Path(tempfile.gettempdir()) / f"milepost-odoo-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Erp()
