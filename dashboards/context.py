"""What the pages and the read API need from outside; made once by the app's factory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from dashboards.session import Sessions
from milepost.catalog.schema import Catalog
from milepost.clock import Clock
from milepost.settings import Settings

CatalogProvider = Callable[[], Catalog]
"""Gives the active catalog; cheap to call."""


@dataclass(frozen=True, slots=True)
class Context:
    engine: sa.Engine
    settings: Settings
    catalog: CatalogProvider
    clock: Clock
    sessions: Sessions
