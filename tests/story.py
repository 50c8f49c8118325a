"""Scenario files: a day of a business as its systems tell it, and the journeys that must come of it.

tests/scenarios/README.md says how a file is written. Here it is read, and played through the real chain.
"""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import to_us, utc_now
from milepost.decisions import correlation
from tests.chain import CATALOG, Chain, Wire, entry

FOLDER: Final = Path(__file__).parent / "scenarios"
FEW: Final = 12
"""So many of a range are played where the order is shuffled and the oracle, which is slow, has its say."""
_DEFAULT: Final = yaml.safe_load(loader.default_texts()["journeys.yaml"])
_SPECIAL: Final = ("id", "correlation", "outcome", "arrives", "link", "code", "reason")
_RANGE: Final = re.compile(r"\{(\d+)\.\.(\d+)\}")
_DECISION: Final = re.compile(
    r"(cut|exclude|merge|lift|split) (\w+) (\S+)(?: (?:from|and|as) (\w+) (\S+)| from (\d{4}-\d\d-\d\d))?"
)
Sent = tuple[Wire, int]


@dataclass(frozen=True)
class Chapter:
    """What happens, and what is true afterwards."""

    title: str
    events: list[Sent]
    decisions: list[str]
    expect: Mapping[str, Any]


class Story:
    """One scenario file. `few`: of long ranges only the first FEW."""

    def __init__(self, path: Path, *, few: bool = False) -> None:
        text = path.read_text("utf-8")
        plain = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - it makes only texts: 10:00 is no number here
        self.few, self.day = few, plain.get("day", "2026-11-20")
        self.journeys, self.catalog = _catalog(text.partition("chapters:")[0])
        self._count = 0
        self.chapters = [self._chapter(item) for item in plain["chapters"]]

    @property
    def sent(self) -> list[Sent]:
        """All that is sent, of all chapters."""
        return [sent for chapter in self.chapters for sent in chapter.events]

    @property
    def decisions(self) -> list[str]:
        return [decision for chapter in self.chapters for decision in chapter.decisions]

    def spelled(self, text: str) -> Iterator[str]:
        """A text for each number of the range in it; the text itself where there is none."""
        found = _RANGE.search(text)
        if found is None:
            yield text
            return
        first, last = int(found[1]), int(found[2])
        for number in range(first, min(last, first + FEW - 1) + 1 if self.few else last + 1):
            yield text[: found.start()] + str(number) + _RANGE.sub(str(number), text[found.end() :])

    def _chapter(self, item: Mapping[str, Any]) -> Chapter:
        events = [self._event(line) for text in item.get("events", []) for line in self.spelled(text)]
        return Chapter(item["title"], events, item.get("decide", []), item["expect"])

    def _event(self, line: str) -> Sent:
        self._count += 1
        words = shlex.split(line)
        date = words.pop(0) if re.match(r"\d{4}-", words[0]) else self.day
        clock, who, what, *rest = words
        given = dict(word.split("=", 1) for word in rest)
        claimed = f"{date}T{clock}:00Z"
        wire = {"specversion": "1.0", "id": given.get("id", f"{self._count}"), "source": f"/{who}", "type": what}
        wire |= {"correlationid": given["correlation"]} if "correlation" in given else {}
        return {**wire, "time": claimed, "data": _data(given)}, _us(given.get("arrives", claimed), date)


def _data(given: Mapping[str, str]) -> dict[str, Any]:
    keys = {name: key.split(",") for name, key in given.items() if name not in _SPECIAL and name[0] != "@"}
    data: dict[str, Any] = {"keys": keys, "outcome": given.get("outcome", "ok")}
    data |= {name: given[name] for name in ("code", "reason") if name in given}
    data["attributes"] = {name[1:]: value for name, value in given.items() if name[0] == "@"}
    if "link" in given:
        ends = [dict(zip(("type", "key"), end.split(":", 1), strict=True)) for end in given["link"].split(">")]
        data["links"] = [{"parent": ends[0], "child": ends[1], "rel": "next"}]
    return data


def _us(written: str, date: str) -> int:
    full = written if "T" in written else f"{date}T{written}"
    return to_us(datetime.fromisoformat(full if full.endswith("Z") else f"{full}:00Z"))


@cache
def _catalog(head: str) -> tuple[dict[str, Any], Catalog]:
    """The catalog of a file that begins so: journeys.yaml as parsed, with the aliases, and the checked whole."""
    own = yaml.safe_load(head).get("catalog", {})
    if not own:
        return _DEFAULT, CATALOG
    texts = loader.default_texts()
    aliases = own.pop("aliases", {})
    journeys = _merged(deepcopy(_DEFAULT), own)
    written = {"journeys.yaml": yaml.safe_dump(journeys), "partners.yaml": yaml.safe_dump({"aliases": aliases})}
    return journeys | {"aliases": aliases}, loader.load(texts | written)


def _merged(whole: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in other.items():
        deeper = isinstance(value, dict) and isinstance(whole.get(name), dict)
        whole[name] = _merged(whole[name], value) if deeper else value
    return whole


# --- playing ----------------------------------------------------------------------------------------------------------


def tell(chain: Chain, chapter: Chapter) -> None:
    """One event after the other, each worked in before the next; a long range comes at once."""
    events = chapter.events
    at_once = 1 if len(events) <= 50 else len(events)
    for first in range(0, len(events), at_once):
        chain.append([entry(*sent) for sent in events[first : first + at_once]])
        chain.settle()
    decide(chain, chapter.decisions)


def shuffle(chain: Chain, story: Story, rng: random.Random) -> None:
    """The same in any order, some of it twice, in any batches, with work in between."""
    sent = [*story.sent, *rng.choices(story.sent, k=len(story.sent) // 2)]
    rng.shuffle(sent)
    while sent:
        size = rng.choice([1, 2, 5])
        chain.append([entry(*item) for item in sent[:size]])
        del sent[:size]
        if rng.random() < 0.5:
            rng.choice([*(recorder.step for recorder in chain.recorders), chain.assembler.step])()
    chain.settle()
    decide(chain, story.decisions)


def decide(chain: Chain, decisions: Sequence[str]) -> None:
    """What people decide, in the words of `milepost journeys`."""
    for text in decisions:
        said = _DECISION.fullmatch(text)
        assert said, f"{text}: write it like: cut order S1 from shipment X1"
        with chain.engine.begin() as connection:
            first = correlation.find(connection, said[2], said[3], epoch=0)
            second = correlation.find(connection, said[4], said[5]) if said[4] else None
            told: dict[str, Any] = {"actor": "somebody", "reason": "a scenario", "now": utc_now()}
            if said[6]:
                told["since"] = datetime.fromisoformat(f"{said[6]}T00:00:00+00:00")
            act: Any = said[1]
            correlation.decide(connection, act, first, second, **told)
        chain.settle()
