"""Days of the simulated network through the whole chain: every breach is one by the rules, and none is missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import holidays
import sqlalchemy as sa

from milepost.catalog import loader, overlay
from milepost.clock import from_us, to_us
from simulator.network import Size, stream
from simulator.script import Span
from simulator.season import Incident, season
from sla.backtest.history import Window
from sla.backtest.run import backtest
from tests.integration.year.compare import closed, expected, recorded
from tests.integration.year.oracle import Rules, breaches
from tests.integration.year.play import World, cases, play, texts, upto

END = datetime(2026, 1, 8, 9, 0, tzinfo=UTC)
DAYS, SEED = 8, 4
HOUR = 3_600_000_000
TICK = 4 * HOUR
FASTER = {
    "name": "order-confirmation", "kind": "between", "model": "order", "start": "received", "end": "confirmed",
    "within": "20m", "calendar": "business",
}  # fmt: skip
MISHAPS = {"mute": ("2026-01-02T08", 6), "refusing": ("2026-01-05T04", 12), "dark": ("2026-01-05T18", 40)}


def span(begins: str, hours: int) -> Span:
    at = datetime.fromisoformat(begins).replace(tzinfo=UTC).timestamp()
    return Span(at, at + hours * 3600)


def test_eight_days_over_the_holidays(engine: sa.Engine) -> None:
    rules, until = Rules(texts()), to_us(END)
    closing = frozenset(holidays.country_holidays("DE", years=(2025, 2026)))
    incidents = [Incident(kind, span(*when)) for kind, when in MISHAPS.items()]  # type: ignore[arg-type]
    script = replace(season(END.timestamp(), 0, seed=SEED, holidays=closing), incidents=incidents)
    everything = upto(stream(script, seed=SEED, days=DAYS, size=Size(4, 3, 4)), until)
    messages = [message for message in everything if b'"id":"p' not in message.body]
    world = World(engine, from_us(until - DAYS * 24 * HOUR), alerts=False)
    play(world, messages, tick=TICK, until=until, progress=lambda *_: None)
    found = {
        key: breach for events in cases(messages, rules) for key, breach in breaches(events, rules, TICK, until).items()
    }
    assert recorded(engine) == expected(found)
    assert {end for _, end, _ in expected(found)} >= {"late", "retracted", "absorbed"}
    assert closed(found, rules) == []
    _tried(engine, world, Window(from_us(until - DAYS * 24 * HOUR), END))


def _tried(engine: sa.Engine, world: World, window: Window) -> None:
    """A backtest of the catalog in force finds what was found; it has no ticks to wait for, so it takes back more."""
    today, faster = world.catalog, loader.load(overlay.lay({"try.yaml": {"policies": [FASTER]}}, texts()))
    by_chain = {
        (key.policy, key.root[2], key.due, end)
        for key, end, _ in recorded(engine)
        if end not in ("absorbed", "retracted")
    }
    report = backtest(engine, today, today, window, judged_at=END, progress=lambda *_: None)
    ends = {"open": None, "late": "late", "stopped": "cancelled", "retracted": "retracted"}
    by_backtest = {(one.policy, one.key, one.due_us, ends[one.end]) for one, _ in report.breaches}
    assert {one for one in by_backtest if one[3] != "retracted"} == by_chain
    tried = backtest(engine, faster, today, window, judged_at=END, progress=lambda *_: None)
    (mine,) = (one for one in tried.policies if one.policy == FASTER["name"])
    assert mine.new > 0
    assert mine.new == mine.breaches - tried.was[mine.policy].breaches
    assert {change for one, change in tried.breaches if one.policy != mine.policy} == {"same"}
    sample = tried.samples["new"][0]
    assert sample.instead.endswith("in time")
