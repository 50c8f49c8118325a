"""A short run of several faults; `make faults` runs each for longer."""

from __future__ import annotations

import time
from pathlib import Path

from tests.integration.faults.arena import HEADER, arena
from tests.integration.faults.faults import FAULTS
from tests.integration.faults.load import Load


def test_nothing_is_lost_and_nothing_doubled(database: str, tmp_path: Path) -> None:
    with arena(database, tmp_path) as ready:
        with Load(ready.collector.url, ready.key, rate=300) as load:
            FAULTS["everything"].work(ready, 2.0)
            time.sleep(0.2)  # some load without a fault
        outcome = ready.outcome("everything", load)
    assert outcome.good, f"{HEADER}\n{outcome.row()}\n{ready.collector.log.read_text()[-5000:]}"
    assert outcome.spooled, "no event took the way through the spool"
    assert outcome.answers["503"] + outcome.answers["ConnectError"], "nobody noticed"
