"""Which refused events are kept, so that a broken sender can't fill the disk.

Two bounds. The same event from the same key, refused for the same reason, is kept once an hour: what a broken sender
sends is mostly its own retries. And each key has an allowance in bytes, a burst and a trickle; what goes beyond it is
refused all the same, but not kept. The sender was told in either case, and both are counted by group in the database,
so that the pages show what is missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

import msgspec

from collector.ingest import CORRELATION, Principal, Rejection
from collector.metrics import Metrics
from collector.rates import Buckets
from milepost.errors import Overloaded, Transient
from milepost.inbox.quarantine import Group, Refusal, Tallies, Tally, merge, tally

BURST_BYTES: Final = 32 * 1024 * 1024
BYTES_PER_SECOND: Final = 16 * 1024
ROW_BYTES: Final = 256
"""What a row costs besides its body."""
REPEAT_AFTER: Final = timedelta(hours=1)
_REMEMBERED: Final = 20_000
_WARN_EVERY: Final = timedelta(minutes=1)
_TALLIES: Final = 2_000
"""Groups and hours that are counted one by one between two flushes; what goes beyond is counted together."""

_log = logging.getLogger(__name__)


class Gate:
    """Decides what goes to quarantine. `admit` before the commit, `remember` after it."""

    def __init__(self, metrics: Metrics, *, burst: int = BURST_BYTES, per_second: int = BYTES_PER_SECOND) -> None:
        self._metrics = metrics
        self._allowance = Buckets(per_second, burst)
        self._seen: OrderedDict[bytes, datetime] = OrderedDict()
        self._warned: dict[str, datetime] = {}
        self._tallies: Tallies = {}

    def admit(self, key: Principal, rejected: Sequence[Rejection], now: datetime, *, unread: int = 0) -> list[Refusal]:
        """What is kept of it. The first `unread` have no allowance: their sender is told that they were taken."""
        kept: dict[bytes, Refusal] = {}
        for place, item in enumerate(rejected):
            refusal = _refusal(key, item, now)
            digest = _digest(refusal)
            if digest in kept or self._repeats(digest, now):
                self._metrics.repeated.inc()
                self._tally(key, refusal).repeated += 1
            elif place < unread or self._allows(key, refusal):
                self._allowance.take(key.key_id, len(refusal.body) + ROW_BYTES, now)
                kept[digest] = refusal
        return list(kept.values())

    def check(self, key: Principal, now: datetime) -> None:
        """Raises Overloaded when `admit` would keep nothing more of this sender."""
        wait = self._allowance.wait(key.key_id, now)
        if wait:
            self._metrics.over_allowance.inc()
            raise Overloaded("more was refused than quarantine keeps; it is taken again when there is room", wait)

    def remember(self, refusals: Sequence[Refusal]) -> None:
        """They are committed: the retry is a repetition."""
        for refusal in refusals:
            digest = _digest(refusal)
            self._seen[digest] = refusal.received_at
            self._seen.move_to_end(digest)
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)

    async def flush(self, write: Callable[[Tallies], None]) -> None:
        """Write down what was not kept since the last time; what fails is tried again with the next flush."""
        tallies, self._tallies = self._tallies, {}
        if not tallies:
            return
        try:
            await asyncio.to_thread(write, tallies)
        except Transient as error:
            _log.info("the counts of what was not kept are not written yet: %s", error)
            merge(self._tallies, tallies)

    def _tally(self, key: Principal, refusal: Refusal) -> Tally:
        group = refusal.group
        if len(self._tallies) >= _TALLIES:
            group = Group(key.default_source or "", refusal.kind, "other reasons")
        return tally(self._tallies, group, refusal.received_at)

    def _repeats(self, digest: bytes, now: datetime) -> bool:
        before = self._seen.get(digest)
        return before is not None and abs(now - before) < REPEAT_AFTER

    def _allows(self, key: Principal, refusal: Refusal) -> bool:
        if not self._allowance.wait(key.key_id, refusal.received_at):
            return True
        self._metrics.over_allowance.inc()
        self._tally(key, refusal).unkept += 1
        self._warn(key, refusal.received_at)
        return False

    def _warn(self, key: Principal, now: datetime) -> None:
        before = self._warned.get(key.key_id)
        if before is None or now - before >= _WARN_EVERY:
            self._warned[key.key_id] = now
            _log.warning("key %s (%s) sends more refused events than quarantine keeps", key.key_id, key.name)


def _digest(refusal: Refusal) -> bytes:
    """Of all that tells it from others; who sends again has another trace."""
    context = {name: value for name, value in (refusal.context or {}).items() if name != CORRELATION}
    about = (refusal.key_id, refusal.reason, refusal.way, refusal.event_id, context)
    return blake2b(msgspec.json.encode(about) + refusal.body, digest_size=16).digest()


def _refusal(key: Principal, item: Rejection, now: datetime) -> Refusal:
    source = item.source or key.default_source or ""
    return Refusal(now, source, item.kind, item.error, item.id, item.body, key.name, item.way, item.context, key.key_id)
