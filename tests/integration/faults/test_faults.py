"""A short run of several faults; `make faults` runs each for longer."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.docs.pages import DOCS
from tests.integration.faults.arena import HEADER, arena
from tests.integration.faults.faults import FAULTS
from tests.integration.faults.load import Load


def test_nothing_is_lost_and_nothing_doubled(database: str, tmp_path: Path) -> None:
    with arena(database, tmp_path) as ready:
        with Load(ready.collector.url, ready.key, rate=300) as load:
            FAULTS["everything"].work(ready, 1.0)
            time.sleep(0.2)  # some load without a fault
        outcome = ready.outcome("everything", load)
    assert outcome.good, f"{HEADER}\n{outcome.row()}\n{ready.collector.log.read_text()[-5000:]}"
    assert outcome.spooled, "no event took the way through the spool"
    assert outcome.answers["503"] + outcome.answers["ConnectError"], "nobody noticed"


def test_the_page_about_it_names_every_fault() -> None:
    page = (DOCS / "explanation" / "nothing-lost.md").read_text("utf-8")
    named = {
        name
        for cell in re.findall(r"\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|$", page, re.M)
        for name in cell[1:-1].split("`, `")
    }
    assert named == FAULTS.keys() - {"everything"}
