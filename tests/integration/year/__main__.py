"""A year of the simulated network through the built-in catalog: exits with 1 unless its breaches are the oracle's."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import holidays
import sqlalchemy as sa

from milepost.catalog import loader, overlay
from milepost.clock import from_us, to_us
from milepost.db import schema
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from simulator.network import Size, stream
from simulator.season import Season, season
from sla.backtest.history import Window
from sla.backtest.report import Report
from sla.backtest.run import backtest
from tests.conftest import FAST
from tests.integration.year import compare
from tests.integration.year.oracle import Breach, Key, Rules, breaches
from tests.integration.year.play import World, cases, play, texts, upto

NEVER_CLOSED = {"calendars": {"business": {"zone": "Europe/Berlin"}, "warehouse": {"zone": "Europe/Berlin"}}}
"""What the calendars of the catalog are there for: the same promises, with clocks that run day and night."""


def main() -> int:
    options = _options()
    end = datetime.fromisoformat(options.end).replace(tzinfo=UTC)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="milepost-year-")))
        server = stack.enter_context(EmbeddedPostgres(folder / "postgres", settings=FAST))
        schema.run_migrations(server.url())
        engine = make_engine(server.url(), application_name="year")
        stack.callback(engine.dispose)
        result = run(engine, options, end)
    sys.stdout.write(json.dumps(result) + "\n")
    return 0 if result["equal"] and not result["due_while_closed"] else 1


def run(engine: sa.Engine, options: argparse.Namespace, end: datetime) -> dict[str, Any]:
    """Play it, judge it, and tell."""
    until, tick = to_us(end), options.tick * 60_000_000
    begun, years = end - timedelta(days=options.days), range(end.year - options.days // 365 - 1, end.year + 1)
    closing = frozenset(holidays.country_holidays("DE", years=years))
    script = season(end.timestamp(), options.days, seed=options.seed, holidays=closing)
    size = Size(options.orders * 0.6, options.orders * 0.25, options.orders * 0.15)
    messages = list(upto(stream(script, seed=options.seed, days=options.days, size=size), until))
    _say(f"{len(messages):,} messages of {options.days} days up to {end:%Y-%m-%d %H:%M} UTC")
    world = World(engine, begun)
    started = time.monotonic()
    play(world, messages, tick=tick, until=until, progress=_progress(started))
    played = time.monotonic() - started
    rules = Rules(texts())
    found: dict[Key, Breach] = {}
    for events in cases(messages, rules):
        found.update(breaches(events, rules, tick, until))
    return {"days": options.days, "messages": len(messages), "seconds": round(played, 1)} | _judged(
        engine, world, script, found, rules, Window(begun, end)
    )


def _judged(
    engine: sa.Engine, world: World, script: Season, found: Mapping[Key, Breach], rules: Rules, window: Window
) -> dict[str, Any]:
    recorded, expected = compare.recorded(engine), compare.expected(found)
    _breaches(expected)
    for name, some in (("only the chain has", recorded - expected), ("only the oracle has", expected - recorded)):
        for one in sorted(some, key=str)[:5]:
            _say(f"{name}: {one}")
    _say(f"Breaches: {len(recorded):,} found, {len(expected):,} by the oracle, equal: {recorded == expected}")
    late = compare.closed(found, rules)
    _say(f"Due while their calendar was closed: {len(late)}")
    verdicts = compare.judge(engine, script.incidents, found)
    for verdict in verdicts:
        _say(_told(verdict))
    hurt = [one for one in verdicts if one.hurt]
    share = sum(one.told is not None for one in hurt) / len(hurt) if hurt else 1.0
    _say(
        f"Incidents: {len(verdicts)}, {len(hurt)} of them broke promises while they lasted; {share:.0%} of these found"
    )
    alerts, said = compare.per_day(engine)
    days = (window.until - window.since) / timedelta(days=1)
    _say(
        f"Alerts a day: {alerts.total() / days:.2f} (at most {max(alerts.values(), default=0)});", _spread(alerts, days)
    )
    _say(f"Messages a day: {said.total() / days:.2f} (at most {max(said.values(), default=0)})")
    tried = _tried(engine, world, window)
    now, before = tried.messages.total(), tried.messages_before.total()
    _say(f"The same clocks day and night (backtest): {now / days:.2f} messages a day instead of {before / days:.2f}")
    return {
        "equal": recorded == expected,
        "breaches": len(recorded),
        "due_while_closed": len(late),
        "incidents": len(verdicts),
        "broke_a_promise": len(hurt),
        "found_share": round(share, 4),
        "alerts_a_day": round(alerts.total() / days, 3),
        "messages_a_day": round(said.total() / days, 3),
        "breaches_by_backtest": sum(one.breaches for one in tried.was.values()),
        "false_alarms_without_calendars": sum(one.new for one in tried.policies),
    }


def _tried(engine: sa.Engine, world: World, window: Window) -> Report:
    texts_tried = overlay.lay({"calendars.yaml": NEVER_CLOSED}, texts())
    tried = loader.load(texts_tried)
    return backtest(engine, tried, world.catalog, window, judged_at=window.until, progress=lambda *_: None)


def _breaches(expected: set[compare.Told]) -> None:
    for (policy, end), number in sorted(Counter((key.policy, str(end)) for key, end, _ in expected).items()):
        _say(f"{policy:<26}{'open' if end == 'None' else end:<12}{number:>8,}")


def _told(verdict: compare.Verdict) -> str:
    span, begins = verdict.incident.span, from_us(int(verdict.incident.span.begins * 1_000_000))
    hours = (span.ends - span.begins) / 3600
    what = f"{begins:%Y-%m-%d %a %H:%M} {verdict.incident.kind:<9}{hours:>5.1f} h, {verdict.hurt:>4} promises broken"
    if not verdict.hurt:
        return f"{what}, nobody was to be told"
    return f"{what}, told {verdict.told - begins if verdict.told else 'nobody'}"


def _spread(by_day: Counter[str], days: float) -> str:
    quiet = days - len(by_day)
    return f"{quiet:.0f} of {days:.0f} days without one"


def _progress(started: float) -> Any:
    def tell(now: datetime, events: int) -> None:
        if now.day in (1, 15):
            seconds = time.monotonic() - started
            _say(f"{now:%Y-%m-%d} {events:>9,} messages, {seconds:>6.0f} s")

    return tell


def _say(*words: str) -> None:
    sys.stderr.write(" ".join(words) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.integration.year", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--orders", type=float, default=80, help="a day, on average")
    parser.add_argument("--end", default="2026-01-12T09:00", help="UTC; the trucks leave by its time of day")
    parser.add_argument("--tick", type=int, default=60, help="minutes from one check to the next")
    parser.add_argument("--seed", type=int, default=2026)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
