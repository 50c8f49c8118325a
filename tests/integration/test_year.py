"""Days of the simulated network through the whole chain: every breach is one by the rules, and none is missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import holidays
import sqlalchemy as sa

from milepost.clock import from_us, to_us
from simulator.network import Size, stream
from simulator.script import Span
from simulator.season import Incident, season
from tests.integration.year.compare import closed, expected, recorded
from tests.integration.year.oracle import Rules, breaches
from tests.integration.year.play import World, cases, play, texts, upto

END = datetime(2026, 1, 8, 9, 0, tzinfo=UTC)
DAYS, SEED = 10, 4
HOUR = 3_600_000_000
TICK = 3 * HOUR
MISHAPS = {"mute": ("2025-12-30T08", 5), "refusing": ("2026-01-05T04", 12), "dark": ("2026-01-05T18", 40)}


def span(begins: str, hours: int) -> Span:
    at = datetime.fromisoformat(begins).replace(tzinfo=UTC).timestamp()
    return Span(at, at + hours * 3600)


def test_ten_days_over_the_holidays(engine: sa.Engine) -> None:
    rules, until = Rules(texts()), to_us(END)
    closing = frozenset(holidays.country_holidays("DE", years=(2025, 2026)))
    incidents = [Incident(kind, span(*when)) for kind, when in MISHAPS.items()]  # type: ignore[arg-type]
    script = replace(season(END.timestamp(), 0, seed=SEED, holidays=closing), incidents=incidents)
    everything = upto(stream(script, seed=SEED, days=DAYS, size=Size(4, 3, 4)), until)
    messages = [message for message in everything if b'"id":"p' not in message.body]
    world = World(engine, from_us(until - DAYS * 24 * HOUR), alerts=False)
    play(world, messages, tick=TICK, until=until, progress=lambda *_: None)
    found = {
        key: breach
        for events in cases(messages, rules).values()
        for key, breach in breaches(events, rules, TICK, until).items()
    }
    assert recorded(engine) == expected(found)
    assert {end for _, end, _ in expected(found)} >= {"late", "retracted", "absorbed"}
    assert closed(found, rules) == []
