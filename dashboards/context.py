"""What the pages and the read API need from outside; made once by the app's factory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from dashboards.session import Sessions
from exports.durations import Business
from exports.told import Reader
from milepost.catalog.schema import Catalog
from milepost.clock import Clock
from milepost.explanation import Explanation, Preview, Proposal
from milepost.inbox.quarantine.mend import Report, Verdict, Wanted
from milepost.settings import Settings


class Replays(Protocol):
    """Replays rows of the quarantine: collector.replay, which stands beside this component, not below it."""

    def one(self, quarantine_id: int, *, actor: str, vouch: bool = False, new_id: bool = False) -> Verdict: ...

    def many(
        self, wanted: Wanted, *, actor: str, vouch: bool = False, dry_run: bool = False, limit: int = 20_000
    ) -> Report: ...


@dataclass(frozen=True, slots=True)
class Correlations:
    """What the correlator, which stands beside this component, tells when it is asked. Both raise NotFound.

    `explain` takes a journey's id; `preview` tells what a decision would do, and raises Conflict for what can't be.
    """

    explain: Callable[[sa.Connection, Catalog, int], Explanation]
    preview: Callable[[sa.Connection, Catalog, Proposal], Preview]


@dataclass(frozen=True, slots=True)
class Exports:
    """What an export needs of the correlator, how it reads events, and of the SLA engine, how it measures steps.

    `business` takes the name of a calendar for steps that no policy promises.
    """

    reader: Callable[[Catalog], Reader]
    business: Callable[[Catalog, str | None], Business]


CatalogProvider = Callable[[], Catalog]
"""Gives the active catalog; cheap to call."""


@dataclass(frozen=True, slots=True)
class Context:
    engine: sa.Engine
    settings: Settings
    catalog: CatalogProvider
    clock: Clock
    sessions: Sessions
    replays: Replays
    correlations: Correlations
    exports: Exports
