"""The writer's groups: what the database refuses for ever is its sender's own trouble."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa

from collector.commit import Writer
from collector.metrics import Metrics
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.errors import MilepostError, Transient
from milepost.inbox import log, quarantine
from milepost.inbox.quarantine import Refusal
from tests.chain import entry

NUL = "a\x00b"


def wire(event_id: str) -> dict[str, Any]:
    return {"id": event_id, "source": "s", "type": "order.received", "data": {"keys": {"order": "S1"}}}


def test_what_can_not_be_stored_fails_alone_and_costs_no_connection(database: str, engine: sa.Engine) -> None:
    async def write() -> tuple[list[BaseException | None], bool]:
        writer = Writer(database, Metrics(), queue_events=10, commit_events=10)
        running = asyncio.create_task(writer.run())
        while writer.away:  # noqa: ASYNC110 nothing tells when it is connected
            await asyncio.sleep(0.01)
        poison = Refusal(utc_now(), "s", "malformed", "no", None, b"{}", sender=NUL)
        first, second = [entry(wire("1"), 1)], [entry(wire("2"), 2)]
        waiting = [writer.submit(first, []), writer.submit([], [poison]), writer.submit(second, [])]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        away = writer.away
        writer.close()
        await running
        return answers, away

    (first, second, third), away = asyncio.run(write())
    assert (first, third, away) == (None, None, False)
    assert isinstance(second, MilepostError)
    assert not isinstance(second, Transient)
    with engine.begin() as connection:
        assert len([one for batch in log.consume(connection, 10) for one in batch.entries]) == 2


def test_context_is_stored_whatever_is_in_it(engine: sa.Engine) -> None:
    context = {"headers": {NUL: "x" * 2000}, "lines": [NUL, 1, None]}
    with engine.begin() as connection:
        quarantine.add(connection, [Refusal(utc_now(), "s", "malformed", "no", None, b"", None, context=context)])
        stored = connection.scalar(sa.select(t.quarantine.c.context))
    assert stored == {"headers": {"a\ufffdb": "x" * 2000}, "lines": ["a\ufffdb", 1, None]}
