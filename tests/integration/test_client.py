"""The Python sender against a real collector: away and back, killed, forked, full, slow, refused."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from milepost import settings
from milepost.client import Client
from tests.databases import Databases
from tests.relay import Relay, relay
from tests.served import Served, collector, wait_until
from tests.threads import at_once


@pytest.fixture(scope="module")
def shared(databases: Databases) -> Iterator[Served]:
    with databases.fresh() as url, collector(url) as running:
        yield running


@pytest.fixture
def served(shared: Served) -> Served:
    """A collector whose log is empty."""
    shared.taken()
    return shared


@pytest.fixture
def door(served: Served) -> Iterator[Relay]:
    with relay(served.url) as made:
        yield made


def ids(served: Served) -> list[str]:
    return [json.loads(entry.body)["id"] for entry in served.taken()]


def send(client: Client, *names: str) -> None:
    for name in names:
        assert client.send("picking.packed", {"picking": f"P{name}"}, {"warehouse": "north"}, id=name) == name


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last)]


def test_events_arrive_whole_and_in_order(served: Served) -> None:
    with Client(served.url, served.keys["north"]) as client:
        send(client, *numbers(0, 1200))
        assert client.flush(30)
        assert client.stats().sent == 1200
    entries = served.taken()
    assert [json.loads(entry.body)["id"] for entry in entries] == numbers(0, 1200)
    event = json.loads(entries[0].body)
    assert event["source"] == "/wms/north"
    assert event["data"] == {"keys": {"picking": "P0"}, "outcome": "ok", "attributes": {"warehouse": "north"}}


@pytest.mark.parametrize("with_spool", [True, False], ids=["spool", "memory"])
def test_while_the_collector_is_away_nothing_is_lost_or_doubled(
    served: Served, door: Relay, tmp_path: Path, with_spool: bool
) -> None:
    folder = tmp_path / "spool" if with_spool else None
    with Client(door.url, served.keys["north"], spool=folder) as client:
        door.open()
        send(client, *numbers(0, 10))
        wait_until(lambda: client.stats().sent == 10)
        door.shut()
        send(client, *numbers(10, 900))
        if with_spool:
            assert client.flush(30), "on disk"
            assert client.stats().spooled == 890
        door.open()
        send(client, *numbers(900, 1000))
        wait_until(lambda: client.stats().sent == 1000, 30)
        wait_until(lambda: client.stats().spool_bytes == 0)
        assert client.stats().dropped == client.stats().refused == 0
    assert sorted(ids(served), key=int) == numbers(0, 1000)


KILLED = """
import sys
from milepost.client import Client
client = Client(sys.argv[1], sys.argv[2], spool=sys.argv[3])
for number in range(700):
    client.send("picking.packed", {"picking": f"P{number}"}, id=str(number))
assert client.flush(30) and client.stats().spooled == 700
print("on disk", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_sender_left_on_disk_goes_out_at_the_next_start(
    served: Served, door: Relay, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, door.url, served.keys["north"], str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout
        assert sender.stdout.readline() == "on disk\n"
        sender.send_signal(signal.SIGKILL)
    door.open()
    with Client(door.url, served.keys["north"], spool=tmp_path) as client:
        wait_until(lambda: client.stats().sent == 700)
        wait_until(lambda: client.stats().spool_bytes == 0)
    assert sorted(ids(served), key=int) == numbers(0, 700)


FORKED = """
import os, sys
from milepost.client import Client
client = Client(sys.argv[1], sys.argv[2], spool=sys.argv[3])
client.send("picking.packed", {"picking": "P"}, id="before")
children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        client.send("picking.packed", {"picking": "P"}, id=f"child-{number}")
        sys.exit()
    children.append(child)
client.send("picking.packed", {"picking": "P"}, id="after")
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""


def test_forked_processes_each_send_their_own_events_once(served: Served, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED, served.url, served.keys["north"], str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    assert sorted(ids(served)) == ["after", "before", "child-0", "child-1", "child-2"]


def test_processes_share_a_spool(served: Served, door: Relay, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED, door.url, served.keys["north"], str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    door.open()
    with Client(door.url, served.keys["north"], spool=tmp_path) as client:
        wait_until(lambda: client.stats().sent == 5)
    assert sorted(ids(served)) == ["after", "before", "child-0", "child-1", "child-2"]


def test_a_collector_that_never_answers_holds_nobody_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        client = Client(url, "mp_secret", queue=100, spool=tmp_path, timeout=60)
        given = [client.send("picking.packed", {"picking": "P"}) for _ in range(1000)]
        assert all(given[:100])
        before = client.stats()
        assert before.dropped == given.count(None) >= 400
        assert before.queued + before.dropped == 1000
        assert not client.flush(0.01)
        client.close(timeout=0.01)
        after = client.stats()
    assert after.spooled == before.queued, "what nobody has answered is on disk"
    assert sum("no room" in record.message for record in caplog.records) == 1
    assert "mp_secret" not in caplog.text
    assert "mp_secret" not in repr(client)


def test_a_full_spool_leaves_events_in_memory_and_then_they_are_dropped(
    served: Served, door: Relay, tmp_path: Path
) -> None:
    with Client(door.url, served.keys["north"], spool=tmp_path, spool_bytes=100_000, queue=600) as client:
        send(client, *numbers(0, 300))
        assert client.flush(30)
        sent = 300
        while client.send("picking.packed", {"picking": "P"}, id=str(sent)):
            sent += 1
        stats = client.stats()
        assert stats.dropped == 1
        assert 300 <= stats.spooled < sent
        assert stats.spool_bytes <= 100_000
        door.open()
        wait_until(lambda: client.stats().sent == sent, 60)
    assert sorted(ids(served), key=int) == numbers(0, sent)


def test_refused_events_are_counted_and_the_others_taken(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with Client(served.url, served.keys["picking"]) as client:
        send(client, "1")
        client.send("order.received", {"order": "S1"}, id="2")
        client.send("picking.packed", {"picking": "P"}, id="3", time="yesterday")
        client.send("picking.packed", {}, id="4")
        assert client.flush(30)
        stats = client.stats()
    assert (stats.sent, stats.refused, stats.dropped) == (1, 2, 1)
    assert ids(served) == ["1"]
    assert "2 of 3 events were refused, first 2:" in caplog.text
    assert "at least one key" in caplog.text


def test_a_batch_too_large_for_the_collector_is_cut(database: str) -> None:
    with collector(database, limits=settings.Ingest(max_batch_events=7, max_event_bytes=1000)) as small:
        with Client(small.url, small.keys["north"]) as client:
            send(client, *numbers(0, 100))
            client.send("picking.packed", {"picking": "P"}, {"note": "x" * 900, "more": "y" * 900})
            assert client.flush(30)
            assert (client.stats().sent, client.stats().refused) == (100, 1)
        assert ids(small) == numbers(0, 100)


def test_a_key_that_is_refused_costs_no_event(served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Client(served.url, served.keys["revoked"], spool=tmp_path) as client:
        send(client, "1", "2")
        assert client.flush(30)
        assert client.stats().spooled == 2
    assert "401" in caplog.text
    assert served.keys["revoked"] not in caplog.text
    with Client(served.url, served.keys["north"], spool=tmp_path) as client:
        wait_until(lambda: client.stats().sent == 2)
    assert sorted(ids(served)) == ["1", "2"]


def test_a_collector_that_is_busy_is_asked_again(database: str) -> None:
    with collector(database, limits=settings.Ingest(rate_per_key=5)) as slow:
        with Client(slow.url, slow.keys["north"]) as client:
            send(client, *numbers(0, 6))
            assert client.flush(30)
            send(client, "6")
            assert client.flush(30)
            assert client.stats().sent == 7
        assert ids(slow) == numbers(0, 7)


def test_threads_share_a_client(served: Served) -> None:
    with Client(served.url, served.keys["north"]) as client:
        parts = [numbers(100 * number, 100 * number + 100) for number in range(8)]
        at_once(*(partial(send, client, *part) for part in parts))
        assert client.flush(30)
    assert sorted(ids(served), key=int) == numbers(0, 800)


def test_after_close_nothing_is_taken_and_nothing_breaks(served: Served) -> None:
    client = Client(served.url, served.keys["north"])
    client.close()
    client.close()
    assert client.send("picking.packed", {"picking": "P"}) is None
    assert client.stats().dropped == 1


def test_a_disk_that_cannot_be_written_breaks_nobody(
    served: Served, door: Relay, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with Client(door.url, served.keys["north"], spool=tmp_path / "file" / "spool") as client:
        send(client, "1")
        wait_until(lambda: "the spool takes no more" in caplog.text)
        door.open()
        wait_until(lambda: client.stats().sent == 1)
    assert ids(served) == ["1"]


def test_a_proxy_is_asked_for_the_collector(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with relay(served.url, proxy=True) as proxy:
        proxy.open()
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "elsewhere.example.org")
        with Client("http://milepost.example.org", served.keys["north"]) as client:
            send(client, "1")
            assert client.flush(30)
            assert client.stats().sent == 1
    assert [asked.split()[:2] for asked in proxy.asked] == [["CONNECT", "milepost.example.org:80"]]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_nobody_gets_the_key_without_a_certificate_that_is_vouched_for(
    served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "own.pem"
    own.write_bytes(subprocess.run(["openssl", *OPENSSL.split()], check=True, capture_output=True, timeout=30).stdout)
    with relay(served.url, certificate=own) as door:
        door.open()
        with Client(door.url, served.keys["north"], spool=tmp_path / "spool") as client:
            send(client, "1")
            assert client.flush(30)
            assert client.stats().spooled == 1
        assert "certificate verify failed" in caplog.text
        with Client(door.url, served.keys["north"], spool=tmp_path / "spool", ca_file=str(own)) as client:
            wait_until(lambda: client.stats().sent == 1)
    assert ids(served) == ["1"]


OPENSSL = (
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    " -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout - -out -"
)

ENDS = """
import sys
from milepost.client import Client
client = Client(sys.argv[1], sys.argv[2])
client.send("picking.packed", {"picking": "P"}, id="last words")
"""


def test_a_program_that_just_ends_has_sent_everything(served: Served) -> None:
    command = [sys.executable, "-c", ENDS, served.url, served.keys["north"]]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    assert done.stderr == ""
    assert ids(served) == ["last words"]
