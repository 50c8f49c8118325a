"""What the integration tests share."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.erp import Erp


@pytest.fixture
def erp() -> Iterator[Erp]:
    """The only Odoo there is: one test at a time, in however many processes."""
    with (Path(tempfile.gettempdir()) / f"milepost-odoo-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Erp()
