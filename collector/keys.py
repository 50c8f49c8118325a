"""Who sends: API keys looked up in the background and remembered for a few seconds.

A revoked key stops working once its entry is `ttl` seconds old; while the database is away, entries are believed on.
Unknown keys are remembered too, in bounded number, only so many of them are looked up at the same time, and after too
many failures none: guessing keys costs the guesser, not the database. The ids of all keys are read now and then, so
that a real one always comes through.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from collector.store import Store
from milepost import auth
from milepost.auth import ApiKey
from milepost.errors import NotAuthenticated, Overloaded, RateLimited, Transient
from milepost.guard import Guard

BELIEVED: Final = timedelta(hours=24)
"""How long a key is still believed that can't be looked up: the longest outage that senders don't notice."""
_MAX_ID: Final = 64
_PATIENCE_SECONDS: Final = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    key: ApiKey | None
    at: datetime


class KeyRing:
    """Authenticates requests. `remember` bounds the entries, `strangers` the unknown keys looked up at once."""

    def __init__(
        self,
        store: Store,
        *,
        ttl: timedelta = timedelta(seconds=5),
        remember: int = 10_000,
        strangers: int = 8,
        guard: Guard | None = None,
        away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._guard = guard or Guard()
        self._away = away
        self._threads = ThreadPoolExecutor(4, "keys")  # look-ups that hang must not keep others from their threads
        self._ttl = ttl
        self._remember = remember
        self._strangers = strangers
        self._known: dict[str, _Known] = {}
        self._lookups: dict[str, asyncio.Future[ApiKey | None]] = {}
        self._used: dict[str, datetime] = {}
        self._learned: datetime | None = None

    async def authenticate(self, presented: str, now: datetime, client: str | None = None) -> ApiKey:
        """The usable key that was presented. `client`: the address that it came from.

        Raises NotAuthenticated, RateLimited after too many of those, or Transient when it can't be told now.
        """
        await self._admit(client, auth.id_of(presented), now)
        try:
            return await self._authenticate(presented, now)
        except NotAuthenticated:
            self._guard.failed(client, now)
            raise

    async def _admit(self, client: str | None, key_id: str, now: datetime) -> None:
        """Raises RateLimited for an id that isn't real; one that is as new as `ttl` may not be known yet."""
        try:
            self._guard.admit(client, key_id, now)
        except RateLimited:
            if self._learned is not None and timedelta(0) <= now - self._learned < self._ttl:
                raise
            self._learned = now
            await self.learn()
            self._guard.admit(client, key_id, now)

    async def _authenticate(self, presented: str, now: datetime) -> ApiKey:
        key_id, secret = auth.split_key(presented)
        if len(key_id) > _MAX_ID or not (key_id.isascii() and key_id.isalnum()):
            raise NotAuthenticated(auth.REFUSED)
        key = await self._find(key_id, now)
        # an unknown key takes the same work as a wrong secret
        matches = auth.verify_secret(secret, key.secret_hash if key is not None else auth.NO_SECRET)
        if key is None or not matches or not key.usable(now):
            raise NotAuthenticated(auth.REFUSED)
        self._used[key_id] = now
        return key

    async def flush(self) -> None:
        """Write down when keys were last used; what fails is tried again with the next flush."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await asyncio.to_thread(self._store.touch_keys, used)
        except Transient as error:
            _log.info("last use of %d keys not written yet: %s", len(used), error)
            self._used = {**used, **self._used}

    async def learn(self) -> None:
        """Read which ids are real; what fails is tried again the next time."""
        try:
            self._guard.know(await asyncio.to_thread(self._store.key_ids))
        except Transient as error:
            _log.info("the ids of keys are not known yet: %s", error)

    async def _find(self, key_id: str, now: datetime) -> ApiKey | None:
        """What is remembered while it is fresh, or while the database does not answer; else what is stored."""
        known = self._known.get(key_id)
        # abs: after the clock was set back it is not fresh
        if known is not None and abs(now - known.at) < self._ttl:
            return known.key
        believed = known.key if known is not None and now < known.at + self._ttl + BELIEVED else None
        if believed is None:
            return await self._look_up(key_id, now)
        if not self._away():
            with suppress(Transient, TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    return await self._look_up(key_id, now)
        return believed

    async def _look_up(self, key_id: str, now: datetime) -> ApiKey | None:
        """One look-up a key, whoever else waits for it."""
        task = self._lookups.get(key_id)
        if task is None:
            stranger = key_id not in self._known and not self._guard.knows(key_id)
            if stranger and len(self._lookups) >= self._strangers:
                raise Overloaded("too many unknown keys at once", retry_after=1)
            looking = asyncio.get_running_loop().run_in_executor(self._threads, self._store.find_key, key_id)
            task = self._lookups[key_id] = asyncio.ensure_future(looking)
            task.add_done_callback(self._noter(key_id, now))
        return await asyncio.shield(task)

    def _noter(self, key_id: str, at: datetime) -> Callable[[asyncio.Future[ApiKey | None]], None]:
        def note(task: asyncio.Future[ApiKey | None]) -> None:
            self._lookups.pop(key_id, None)
            if not task.cancelled() and task.exception() is None:
                self._known.pop(key_id, None)
                self._known[key_id] = _Known(task.result(), at)
                self._trim()

        return note

    def _trim(self) -> None:
        """Forget the oldest strangers first, then the oldest keys."""
        if len(self._known) <= self._remember:
            return
        strangers = (key_id for key_id, known in self._known.items() if known.key is None)
        del self._known[next(strangers, next(iter(self._known)))]
