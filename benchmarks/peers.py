"""Milepost beside what an analyst would reach for: a finished log of a million events, stitched into journeys.

The same events for all, in the same run: pandas, polars and DuckDB read them from a file and answer from memory
(benchmarks/analysts.py); Milepost has them in its event log and ends with durable, queryable journeys with clocks, with
recorder and assembler in one process. Each is alone in a process of its own. Members and milestones of every journey
are compared: a difference ends the run.

Prints one JSON object as its last line: for each of them seconds, events_per_s and max_rss_mb. For Milepost
postgres_cpu_s, too: the others have no database.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import sqlalchemy as sa
from analysts import TOOLS, Rule, Stitched
from inprocess import append, entry, settle
from interleaved import bodies
from running import postgres_cpu

from milepost.catalog import loader
from milepost.clock import to_us, utc_now
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from milepost.db.schema import run_migrations

MODELS: Final = ("order", "shipment")
SHOWN: Final = 3
_spawn: Final = multiprocessing.get_context("spawn")
_MEMBERS: Final = sa.text(
    "SELECT j.model, j.key, coalesce(o.type, 'correlation'), coalesce(o.key, c.key) FROM derived.journeys AS j"
    " JOIN derived.members AS m USING (journey_id) LEFT JOIN input.objects AS o USING (object_id)"
    " LEFT JOIN input.correlations AS c USING (object_id)"
)
_REACHED: Final = sa.text(
    "SELECT j.model, j.key, m.name, (extract(epoch FROM m.reached_at) * 1000000)::bigint FROM derived.journeys AS j"
    " JOIN derived.milestones AS m USING (journey_id)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--small", action="store_true", help="12,000 events: does it run at all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="milepost-bench-") as name:
        folder = Path(name)
        log = folder / "log.ndjson"
        events = write(log, 12_000 if options.small else options.events)
        figures: dict[str, Any] = {}
        with _spawn.Pool(1, maxtasksperchild=1) as pool:
            with EmbeddedPostgres(folder / "postgres") as server:
                run_migrations(server.url())
                ours, figures["milepost"] = pool.apply(milepost, (server.url(), log))
            for tool in TOOLS:
                theirs, figures[tool] = pool.apply(stitch, (tool, log, rules()))
                compare(tool, ours, theirs)
    for each in figures.values():
        each["events_per_s"] = round(events / each["seconds"])
    print(json.dumps({"events": events, "journeys": len(ours), **figures}))


def write(log: Path, events: int) -> int:
    """The stream of the pipeline, repeats and late events included, one event a line."""
    written = 0
    with log.open("wb") as file:
        for body in bodies(events):
            file.write(body + b"\n")
            written += 1
    return written


def rules() -> list[Rule]:
    """What the catalog says of the milestones of these models."""
    models = loader.load(loader.default_texts()).models
    return [
        Rule(name, step.name, event, event.partition(".")[0], step.all or "")
        for name in MODELS
        for step in models[name].milestones
        for event in step.events
    ]


Journeys = dict[tuple[str, str], tuple[frozenset[tuple[str, str]], frozenset[tuple[str, int]]]]
"""(model, key of the root) → its members as (type, key), and its milestones with their times."""


def milepost(url: str, log: Path) -> tuple[Journeys, dict[str, float]]:
    engine = make_engine(url)
    now = to_us(utc_now())
    with log.open("rb") as lines:
        append(engine, (entry(line.rstrip(b"\n"), now) for line in lines))
    postgres = postgres_cpu(url)
    started = perf_counter()
    settle(engine)
    figures = _spent(started) | {"postgres_cpu_s": round(postgres_cpu(url) - postgres, 1)}
    with engine.connect() as connection:
        members: list[Any] = [tuple(row) for row in connection.execute(_MEMBERS)]
        reached: list[Any] = [tuple(row) for row in connection.execute(_REACHED)]
    engine.dispose()
    return gather((members, reached)), figures


def stitch(tool: str, log: Path, made: Sequence[Rule]) -> tuple[Journeys, dict[str, float]]:
    started = perf_counter()
    stitched = TOOLS[tool](log, made)
    figures = _spent(started)
    return gather(stitched), figures


def _spent(started: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
    return {"seconds": round(perf_counter() - started, 2), "max_rss_mb": peak}


def gather(stitched: Stitched) -> Journeys:
    members: dict[tuple[str, str], set[tuple[str, str]]] = {}
    reached: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for model, root, kind, key in stitched[0]:
        members.setdefault((model, root), set()).add((kind, key))
    for model, root, name, at in stitched[1]:
        reached.setdefault((model, root), set()).add((name, at))
    return {root: (frozenset(found), frozenset(reached.get(root, ()))) for root, found in members.items()}


def compare(tool: str, ours: Journeys, theirs: Journeys) -> None:
    """Raises ValueError where two results differ."""
    odd = [root for root in ours.keys() | theirs.keys() if ours.get(root) != theirs.get(root)]
    if odd:
        shown = "\n".join(f"{root}\n  ours {ours.get(root)}\n  {tool} {theirs.get(root)}" for root in odd[:SHOWN])
        raise ValueError(f"{tool}: {len(odd)} of {len(ours)} journeys differ:\n{shown}")


if __name__ == "__main__":
    main()
