"""The demo: weeks of history in seconds, then live traffic, all through the public API with real keys."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import chain, groupby
from pathlib import Path
from typing import Final

from milepost.catalog import loader
from simulator import network, world
from simulator.network import Size
from simulator.receiver import Receiver
from simulator.script import script
from simulator.sender import Sender
from simulator.wire import Message

SOURCES: Final = world.SOURCES
DAYS: Final = 24
SEED: Final = 2026
SIZE: Final = Size()
SECRET: Final = "MILEPOST_DEMO_SECRET"
_CATALOG: Final = Path(__file__).parent / "catalog"
_SLICE: Final = 12 * world.HOUR
"""History that goes out at once, one request a source."""
_SENDERS: Final = 3
_AT_ONCE: Final = 24
_TICK: Final = 0.2

Progress = Callable[[int, int], None]


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
    days: int = DAYS,
    size: Size = SIZE,
) -> None:
    """Send history, then live traffic until stopped. Raises Permanent when something is refused, Unavailable."""
    now = time.time()
    messages = network.stream(script(now), seed=SEED, days=days, size=size)
    with Sender(address, keys, stopped) as sender:
        rest = _backfill(messages, sender, now, days, stopped, progress)
        _go_on(rest, sender, stopped)


def _backfill(
    messages: Iterator[Message], sender: Sender, now: float, days: int, stopped: Callable[[], bool], progress: Progress
) -> Iterator[Message]:
    """Send what has arrived before `now`; answers what is left."""
    total = round(days * world.DAY / _SLICE)
    sending: set[Future[None]] = set()
    with ThreadPoolExecutor(_SENDERS, "history") as pool:
        for number, part in groupby(messages, lambda message: min((message.arrives - now) // _SLICE, 0)):
            if number >= 0 or stopped():
                messages = chain(part, messages)
                break
            for source, bodies in _by_source(part).items():
                sending.add(pool.submit(sender.send, source, bodies))
            sending = _settle(sending, _AT_ONCE)
            progress(total + round(number), total)
        _settle(sending, 0)
    progress(total, total)
    return messages


def _settle(sending: set[Future[None]], left: int) -> set[Future[None]]:
    """Wait until at most `left` are under way. Raises what one of them raised."""
    while len(sending) > left:
        done, sending = wait(sending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
    return sending


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
