"""One collector for all samples: they don't depend on one another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from milepost import settings
from tests.databases import Databases
from tests.served import Served, collector

LIMITS = settings.Ingest(max_body_bytes=200_000, max_event_bytes=20_000, max_batch_events=50)


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Served]:
    with databases.fresh() as url, collector(url, limits=LIMITS) as running:
        yield running
