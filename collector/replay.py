"""Replay from the quarantine: what was refused is judged once more, and goes the way that every event goes.

A replay reads a row's body (the last edit, or what came) by the way it came in, validates it with the rights of its
sender and with its first receive time, and appends it to the event log in the transaction that closes the row. So it
happens once: who comes second finds the row closed, and a crash leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from collector import hooks
from collector.edi import events as edi
from collector.folders import chunks as folders
from collector.formats import epcis
from collector.ingest import CORRELATION, LENIENT, STRICT, Limits, Sender, validate
from collector.masking import Masking, no_key
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, to_us
from milepost.contract import Entry, read
from milepost.decisions import access
from milepost.errors import InvalidEvent, Permanent
from milepost.inbox import identities, log
from milepost.inbox.quarantine import mend
from milepost.inbox.quarantine.mend import Held, Report, Verdict, Wanted

CHUNK: Final = 500
"""Rows in one transaction."""
MAX_NOTES: Final = 20
TOUCH: Final = "touch"
_TOUCH_NOTE: Final = "the event is stored; what failed is putting its journey together, and a rebuild does that again"
_CONFLICT: Final = (
    "another event with this source and id is stored, and the first stands;"
    " give this one an id of its own, or discard it"
)
_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Raw:
    """A body as it came, and what reading it needs. `detail` is what follows the colon of the way."""

    body: bytes
    source: str
    received_at: datetime
    detail: str
    context: Mapping[str, Any]
    catalog: Catalog


Reader = Callable[[Raw], list[bytes]]
"""Makes structured JSON events of a body. Raises Permanent, saying why it can't."""


def _one(raw: Raw) -> list[bytes]:
    return [raw.body]


def _webhook(raw: Raw) -> list[bytes]:
    return hooks.read_again(raw.catalog, raw.detail, raw.body, raw.context)


def _edi(raw: Raw) -> list[bytes]:
    return edi.read_again(raw.catalog.edi, raw.source, raw.body, raw.context)


def _row(raw: Raw) -> list[bytes]:
    return folders.read_again(raw.catalog, raw.detail, raw.source, raw.body)


def _epcis(raw: Raw) -> list[bytes]:
    return epcis.read_again(raw.catalog, raw.source, raw.body)


def _never(_: Raw) -> list[bytes]:
    raise InvalidEvent(_TOUCH_NOTE)


READERS: Final[Mapping[str, Reader]] = {
    STRICT: _one,
    LENIENT: _one,
    TOUCH: _never,
    hooks.WAY: _webhook,
    edi.WAY: _edi,
    folders.ROWS: _row,
    epcis.WAY: _epcis,
}
"""By the part of the way before the colon."""


@dataclass(frozen=True, slots=True)
class _Rights:
    """The rights of whoever sent it first, as they are now: those of the key, whether it still works or not; without
    a key, those of its source. `vouched`: an administrator answers for it, and anything may be sent."""

    source: str
    key: Sender | None
    vouched: bool

    @property
    def default_source(self) -> str | None:
        return self.source or None

    def may_send(self, source: str, event_type: str) -> bool:
        if self.vouched:
            return True
        return self.key.may_send(source, event_type) if self.key is not None else source == self.source


@dataclass(slots=True)
class _Judged:
    """A row, and what it would give."""

    held: Held
    entries: list[Entry] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    problem: str = ""


class Replayer:
    """Replays rows of the quarantine. Each call is one transaction, or one for every CHUNK rows."""

    def __init__(
        self,
        engine: sa.Engine,
        catalog_of: Callable[[sa.Connection], Catalog],
        clock: Clock,
        *,
        limits: Limits = _LIMITS,
        readers: Mapping[str, Reader] = READERS,
        privacy_key: Callable[[], bytes] = no_key,
    ) -> None:
        self._masking = Masking(privacy_key)
        self._engine = engine
        self._catalog_of = catalog_of
        self._clock = clock
        self._limits = limits
        self._readers = readers

    def one(self, quarantine_id: int, *, actor: str, vouch: bool = False, new_id: bool = False) -> Verdict:
        """Replay one row. `new_id`: first give the event an id of its own, made from its content.

        Raises NotFound, or Conflict when it is closed.
        """
        now = self._clock()
        wanted = Wanted(ids=[quarantine_id])
        with self._engine.begin() as connection:
            held = mend.take_one(connection, quarantine_id)
            if new_id:
                self._rename(connection, held, actor, now)
                held = mend.take_one(connection, quarantine_id)
            (verdict,) = self._replay(connection, [held], wanted, actor, now, vouch)
        return verdict

    def many(
        self, wanted: Wanted, *, actor: str, vouch: bool = False, dry_run: bool = False, limit: int = 20_000
    ) -> Report:
        """Replay all rows that are wanted, at most `limit`. A dry run tells what would come of it, and writes nothing.

        What was done before an error stays done.
        """
        report = Report()
        last: int | None = 0
        while last is not None and report.outcomes.total() < limit:
            size = min(CHUNK, limit - report.outcomes.total())
            with self._engine.begin() as connection:
                chunk = mend.take(connection, wanted, limit=size, after=last, lock=not dry_run)
                if dry_run:
                    verdicts, _ = self._judge(connection, chunk.rows, vouch)
                else:
                    verdicts = self._replay(connection, chunk.rows, wanted, actor, self._clock(), vouch)
            _add(report, verdicts)
            last = chunk.last
        report.more = last is not None and self._any_after(wanted, last)
        return report

    def _any_after(self, wanted: Wanted, last: int) -> bool:
        with self._engine.begin() as connection:
            return bool(mend.take(connection, wanted, limit=1, after=last, lock=False).rows)

    def _replay(
        self, connection: sa.Connection, found: Sequence[Held], wanted: Wanted, actor: str, now: datetime, vouch: bool
    ) -> list[Verdict]:
        verdicts, entries = self._judge(connection, found, vouch)
        log.append(connection, entries)
        pairs = list(zip(found, verdicts, strict=True))
        mend.settle(connection, pairs, target=wanted.shown(), vouched=vouch, actor=actor, now=now)
        return verdicts

    def _judge(
        self, connection: sa.Connection, found: Sequence[Held], vouch: bool
    ) -> tuple[list[Verdict], list[Entry]]:
        """A verdict on each row, and what is to be appended."""
        catalog = self._catalog_of(connection)
        keys = {key_id: access.find_key(connection, key_id) for key_id in {held.key_id for held in found} if key_id}
        judged = [self._read(held, _Rights(held.source, keys.get(held.key_id or ""), vouch), catalog) for held in found]
        known = dict(identities.look_up(connection, {entry.identity for one in judged for entry in one.entries}))
        verdicts, fresh = [], []
        for one in judged:
            verdict, new = _verdict(one, known)
            known |= {entry.identity: entry.content for entry in new}
            verdicts.append(verdict)
            fresh += new
        return verdicts, fresh

    def _read(self, held: Held, rights: _Rights, catalog: Catalog) -> _Judged:
        """What the row gives, all or nothing."""
        way, _, detail = held.way.partition(":")
        judged = _Judged(held)
        try:
            reader = self._readers.get(way)
            if reader is None:
                raise InvalidEvent(f"nothing here reads what came by {held.way}")
            bodies = reader(Raw(held.body, held.source, held.received_at, detail, held.context, catalog))
            if not bodies:
                raise InvalidEvent("it gives no event")
        except Permanent as error:
            judged.problem = str(error)
            return judged
        received_us = to_us(held.received_at)
        verdict = validate(
            bodies,
            received_us=received_us,
            sender=rights,
            lenient=way == LENIENT,
            limits=self._limits,
            correlation=held.context.get(CORRELATION),
            masks=self._masking.of(catalog),
        )
        if verdict.rejected:
            judged.problem = verdict.rejected[0].error
        else:
            judged.entries = verdict.entries
            judged.ids = [read(entry.body).id for entry in verdict.entries]
        return judged

    def _rename(self, connection: sa.Connection, held: Held, actor: str, now: datetime) -> None:
        """Give an event an id made from its own and its content: the same one whenever it is asked for.

        It sorts behind the one that stands, so that among events of the same time this one's attributes count.
        """
        verdict = validate(
            [held.body], received_us=to_us(held.received_at), sender=_Rights(held.source, None, True), lenient=True
        )
        if verdict.rejected:
            raise InvalidEvent(verdict.rejected[0].error)
        (entry,) = verdict.entries
        fields = msgspec.json.decode(entry.body, type=dict[str, msgspec.Raw])
        before = msgspec.json.decode(fields["id"], type=str)
        name = f"{before[:200]}~{entry.content & 0xFFFFFFFFFFFF:012x}"
        fields["id"] = msgspec.Raw(msgspec.json.encode(name))
        mend.edit(connection, held.quarantine_id, msgspec.json.encode(fields), actor=actor, now=now)


def _verdict(one: _Judged, known: Mapping[bytes, int]) -> tuple[Verdict, list[Entry]]:
    """`known`: the content of what is stored, and of what goes with it."""
    number = one.held.quarantine_id
    if one.problem:
        return Verdict(number, "refused", one.problem), []
    if any(known.get(entry.identity, entry.content) != entry.content for entry in one.entries):
        return Verdict(number, "conflict", _CONFLICT, one.ids), []
    new = [entry for entry in one.entries if entry.identity not in known]
    return Verdict(number, "accepted" if new else "duplicate", "", one.ids), new


def _add(report: Report, verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        report.outcomes[verdict.outcome] += 1
        if verdict.note and (verdict.note in report.notes or len(report.notes) < MAX_NOTES):
            report.notes[verdict.note] += 1
