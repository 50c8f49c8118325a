"""The catalog in force, as the collector knows it: refreshed in the background, believed while the database is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from milepost.catalog.schema import Catalog
from milepost.errors import MilepostError, Unavailable

_EVERY_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


class CurrentCatalog:
    """`load` is called in a thread and may block; `refresh` runs it until it is cancelled."""

    def __init__(self, load: Callable[[], Catalog]) -> None:
        self._load = load
        self._known: Catalog | None = None
        self._trouble = ""

    def current(self) -> Catalog:
        """Raises Unavailable until it was read once."""
        if self._known is None:
            raise Unavailable("the catalog was not read yet; send the same again", retry_after=2)
        return self._known

    async def known(self) -> Catalog:
        """`current`, read now if it never was."""
        if self._known is None:
            await self._once()
        return self.current()

    async def refresh(self) -> None:
        """Read it again and again."""
        while True:
            await self._once()
            await asyncio.sleep(_EVERY_SECONDS)

    async def _once(self) -> None:
        try:
            self._known = await asyncio.to_thread(self._load)
            self._trouble = ""
        except (MilepostError, sa.exc.SQLAlchemyError) as error:
            if str(error) != self._trouble:
                _log.warning("the catalog in force can't be read: %s", error)
            self._trouble = str(error)
