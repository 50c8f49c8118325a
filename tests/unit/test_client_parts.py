"""The Python sender without a network: what an event becomes, the spool on disk, and what the import costs."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from milepost import contract, settings
from milepost.client import Client
from milepost.client.event import MAX_BYTES, Unfit, encode
from milepost.client.spool import Full, Spool

FOLDER = Path(__file__).parents[2] / "milepost" / "client"


def made(type_: str = "order.received", **said: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("keys", "attributes", "id", "time", "source", "correlation", "code", "reason"))
    _, body = encode(type_, **{**nothing, "keys": {"order": "S1"}, "outcome": "ok", "links": (), **said})
    contract.decode(body)
    event: dict[str, Any] = json.loads(body)
    return event


# --- events -----------------------------------------------------------------------------------------------------------


def test_an_event_has_an_id_and_the_time_of_now() -> None:
    before = datetime.now(UTC)
    first, second = made(), made()
    assert first["id"] != second["id"]
    assert before <= datetime.fromisoformat(first["time"]) <= datetime.now(UTC)
    assert "source" not in first
    assert made(id="wms-1", source="/wms")["id"] == "wms-1"


def test_what_a_business_has_at_hand_can_be_sent() -> None:
    event = made(
        keys={"order": "S1", "picking": {"B", "A"}, "invoice": False, "shipment": None},
        attributes={"amount": Decimal("129.90"), "promised_date": date(2026, 11, 20), "rush": True},
        time=datetime(2026, 11, 20, 10, tzinfo=UTC),
        links=[{"parent": {"type": "picking", "key": "A"}, "child": {"type": "picking", "key": "B"}}],
    )
    assert event["data"]["keys"] == {"order": "S1", "picking": ["A", "B"]}
    assert event["data"]["attributes"] == {"amount": "129.90", "promised_date": "2026-11-20", "rush": True}
    assert event["time"] == "2026-11-20T10:00:00+00:00"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"keys": {}}, "at least one key"),
        ({"time": datetime(2026, 11, 20)}, "no time zone"),  # noqa: DTZ001
        ({"attributes": {"x": float("nan")}}, "not JSON compliant"),
        ({"reason": "x" * MAX_BYTES}, "at most"),
        ({"keys": {("a", "b"): "S1"}}, "keys must be str"),
    ],
)
def test_what_can_never_be_taken_is_told(said: dict[str, Any], why: str) -> None:
    with pytest.raises(Unfit, match=why):
        made(**said)


def test_the_bound_is_the_collectors() -> None:
    assert settings.Ingest().max_event_bytes == MAX_BYTES


# --- the spool --------------------------------------------------------------------------------------------------------


def spool(folder: Path, limit: int = 10_000_000) -> Spool:
    return Spool(folder / "spool", limit)


def everything(spool: Spool) -> list[bytes]:
    found: list[bytes] = []
    while events := spool.peek(3, 1000):
        found += events
        spool.drop(len(events))
    return found


def test_what_is_put_comes_out_in_order_once_and_the_files_go(tmp_path: Path) -> None:
    one = spool(tmp_path)
    assert one.peek(10, 1000) == []
    one.put([b"1", b"2"])
    one.put([b"3", b"4", b"5"])
    assert everything(one) == [b"1", b"2", b"3", b"4", b"5"]
    assert everything(one) == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_batch_is_bounded_in_bytes_but_never_empty(tmp_path: Path) -> None:
    one = spool(tmp_path)
    one.put([b"x" * 50, b"y" * 10, b"z" * 10])
    assert one.peek(10, 20) == [b"x" * 50]
    one.drop(1)
    assert one.peek(10, 20) == [b"y" * 10, b"z" * 10]


def test_another_process_takes_over_what_a_dead_one_left(tmp_path: Path) -> None:
    dead, alive = spool(tmp_path), spool(tmp_path)
    dead.put([b"1", b"2"])
    assert alive.peek(10, 1000) == [], "it is still being written"
    assert dead.peek(1, 1000) == [b"1"]
    assert alive.peek(10, 1000) == [], "it is being sent"
    dead.drop(1)
    dead.close()
    assert everything(alive) == [b"1", b"2"], "what was sent of it is sent again"


def test_a_torn_record_is_passed_over_and_costs_no_other(tmp_path: Path) -> None:
    one = spool(tmp_path)
    one.put([b"1", b"2"])
    (segment,) = (tmp_path / "spool").glob("*.spool")
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-2])
    one.put([b"3"])
    one.close()
    assert everything(spool(tmp_path)) == [b"1", b"3"]


def test_a_damaged_record_is_not_sent(tmp_path: Path) -> None:
    one = spool(tmp_path)
    one.put([b'{"order":"S1"}', b'{"order":"S2"}'])
    (segment,) = (tmp_path / "spool").glob("*.spool")
    segment.write_bytes(segment.read_bytes().replace(b"S1", b"S9"))
    assert everything(one) == [b'{"order":"S2"}']


def test_it_is_bounded_over_all_processes(tmp_path: Path) -> None:
    one, other = spool(tmp_path, 100), spool(tmp_path, 100)
    one.put([b"x" * 60])
    with pytest.raises(Full):
        other.put([b"y" * 60])
    one.close()
    assert everything(other) == [b"x" * 60]
    other.put([b"y" * 60])


# --- the import -------------------------------------------------------------------------------------------------------


def test_it_needs_the_standard_library_only_and_works_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(FOLDER)
    script = (
        "import sys; from elsewhere import Client; "
        "print([name for name in sys.modules if name.partition('.')[0] not in {*sys.stdlib_module_names, 'elsewhere'}])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert set(msgspec.json.decode(done.stdout.replace("'", '"'))) <= {"__main__", "encodings"}


@pytest.mark.parametrize("url", ["milepost.example.org", "ftp://milepost", "https://user:secret@milepost", ""])
def test_an_address_that_is_none_is_told_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="url") as raised:
        Client(url, "mp_x")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("key", ["", "mp_abc\r\nX: y", "mp_ä"])
def test_a_key_that_is_none_is_told_without_it(key: str) -> None:
    with pytest.raises(ValueError, match="key") as raised:
        Client("http://127.0.0.1:1", key)
    assert not key or key not in str(raised.value)
