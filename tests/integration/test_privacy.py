"""What the catalog says is not to be stored is nowhere in the database, whatever way it came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from collector.app import make_app
from collector.importer import import_csv
from collector.masking import Masking
from collector.store import DatabaseStore
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.contract import Entry
from milepost.decisions import catalog as decided
from milepost.inbox import log
from tests.served import NDJSON, SOURCE, Served, make_keys, running

SECRET = "ann@example.org"
RULES = f"""
sources:
  {SOURCE}:
    privacy:
      drop: [data.attributes.email]
      hash: [data.keys.customer]
  /import:
    privacy: {{mask: [data.attributes.email]}}
"""


def key() -> bytes:
    return b"installation"


@pytest.fixture
def served(database: str, engine: sa.Engine) -> Iterator[Served]:
    with engine.begin() as connection:
        decided.apply(connection, {**loader.default_texts(), "sources.yaml": RULES}, actor="test", now=utc_now())
    app = make_app(database_url=database, store=DatabaseStore(engine), privacy_key=key)
    with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield Served(url, engine, client, make_keys(engine))


def event(number: int, **more: object) -> dict[str, object]:
    data = {"keys": {"order": f"S{number}", "customer": "K7"}, "attributes": {"email": SECRET, "channel": "web"}}
    return {"specversion": "1.0", "id": str(number), "source": SOURCE, "type": "order.received", "data": data, **more}


def contents(entries: list[Entry]) -> set[int]:
    return {entry.content for entry in entries}


def test_it_is_gone_from_the_log_and_the_quarantine(served: Served) -> None:
    good, refused, foreign = event(1), event(2, time="yesterday"), event(3, source="/elsewhere")
    lines = [json.dumps(item).encode() for item in (good, refused, foreign)]
    broken = b'{"email": "%s", ' % SECRET.encode()
    answer = served.send(b"\n".join([*lines, broken]), NDJSON)
    assert (answer.status_code, answer.json()["accepted"], len(answer.json()["rejected"])) == (202, 1, 3)
    (entry,) = served.taken()
    kept = [entry.body, *(row["body"] for row in served.quarantined())]
    assert len(kept) == 4
    assert not any(SECRET.encode() in body for body in kept)
    data = json.loads(entry.body)["data"]
    assert data["attributes"] == {"channel": "web"}
    assert data["keys"]["customer"].startswith("hmac-")
    assert data["keys"]["order"] == "S1"


def test_a_repeat_is_told_by_what_was_sent(served: Served) -> None:
    """Two that differ in nothing but what is dropped are a conflict, as they would be without the rules."""
    served.send(json.dumps(event(1)).encode())
    first = served.taken()
    served.send(json.dumps(event(1)).encode())
    assert contents(served.taken()) == contents(first)
    served.send(json.dumps(event(1)).replace(SECRET, "bob@example.org").encode())
    assert contents(served.taken()) != contents(first)


def test_imports_keep_to_them_too(served: Served, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(f"number,at,email\nS1,2026-11-20,{SECRET}\nS2,never,{SECRET}\n")
    (tmp_path / "mapping.yaml").write_text(
        "source: /import\ntable: {}\nid: number\nevents:\n"
        "  - {type: order.received, time: at, keys: {order: number}, attributes: {email: email}}\n"
    )
    with served.engine.connect() as connection:
        masks = Masking(key).of(decided.active(connection))
    report = import_csv(
        served.engine, tmp_path / "orders.csv", tmp_path / "mapping.yaml", utc_now, lambda *_: None, masks
    )
    assert (report.accepted, report.refused) == (1, 1)
    with served.engine.begin() as connection:
        entries = [entry for batch in log.consume(connection, 10) for entry in batch.entries]
    assert json.loads(entries[0].body)["data"]["attributes"] == {"email": "***"}
    assert SECRET.encode() not in served.quarantined()[0]["body"]
