"""The demo: weeks of history in seconds, then live traffic, all through the public API with real keys."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from milepost.catalog import loader
from simulator import network, world
from simulator.network import Size
from simulator.receiver import Receiver
from simulator.script import Act, acts, script
from simulator.sender import Sender
from simulator.wire import Message

EVERYONE: Final = "*"
SOURCES: Final = (*world.SOURCES, EVERYONE)
"""Who sends, each with a key of its own; history comes with a key that may speak for all of them."""
DAYS: Final = 24
SEED: Final = 2026
SIZE: Final = Size()
SECRET: Final = "MILEPOST_DEMO_SECRET"
_CATALOG: Final = Path(__file__).parent / "catalog"
BATCH: Final = 2_000
_TICK: Final = 0.2

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Live:
    """History is in: so many events, sent in so many seconds. From now on it is live, with these incidents."""

    events: int
    seconds: float
    acts: list[Act]


def environment(folder: Path, receiver: Receiver) -> dict[str, str]:
    """What the demonstrated Milepost has to have in its environment; writes its catalog into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {path.name: path.read_text("utf-8") for path in _CATALOG.glob("*.yaml")}
    texts["routes.yaml"] = texts["routes.yaml"].replace("http://127.0.0.1:8090/alerts", receiver.url)
    loader.load(loader.default_texts() | texts)  # to be told now
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    return {
        "MILEPOST_CATALOG": str(folder.resolve()),
        "MILEPOST_ALLOW_PRIVATE_RECEIVERS": "true",
        SECRET: receiver.secret,
    }


def run(
    address: str,
    keys: Mapping[str, str],
    *,
    stopped: Callable[[], bool],
    progress: Progress,
    live: Callable[[Live], None],
    days: int = DAYS,
    size: Size = SIZE,
) -> None:
    """Send history, then live traffic until stopped. Raises Permanent when something is refused, Unavailable."""
    now = time.time()
    played = script(now)
    messages = network.stream(played, seed=SEED, days=days, size=size)
    history: list[Message] = []
    for coming in messages:  # it never ends
        if coming.arrives > now:
            break
        history.append(coming)
    with Sender(address, keys, stopped) as sender:
        begun = time.monotonic()
        _backfill(history, sender, stopped, progress)
        live(Live(len(history), time.monotonic() - begun, acts(played)))
        _go_on(chain([coming], messages), sender, stopped)


def _backfill(history: list[Message], sender: Sender, stopped: Callable[[], bool], progress: Progress) -> None:
    """Send history from its end to its beginning: so what ends a clock is known before what starts it.

    The other way round, Milepost would see orders from days ago without the events that follow in the next batch, and
    take them for late.
    """
    history.sort(key=lambda message: message.at, reverse=True)
    for first in range(0, len(history), BATCH):
        if stopped():
            return
        sender.send(EVERYONE, [message.body for message in history[first : first + BATCH]])
        progress(min(first + BATCH, len(history)), len(history))


def _by_source(messages: Iterator[Message]) -> dict[str, list[bytes]]:
    found: defaultdict[str, list[bytes]] = defaultdict(list)
    for message in messages:
        found[message.source].append(message.body)
    return found


def _go_on(messages: Iterator[Message], sender: Sender, stopped: Callable[[], bool]) -> None:
    """Send each message when its time comes."""
    coming = next(messages)
    while not stopped():
        due: list[Message] = []
        while coming.arrives <= time.time():
            due.append(coming)
            coming = next(messages)
        for source, bodies in _by_source(iter(due)).items():
            sender.send(source, bodies)
        time.sleep(_TICK)
