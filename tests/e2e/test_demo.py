"""`milepost demo`, small: it fills itself through the public API, lets one in, and ends when it is asked to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from milepost.db.embedded import EmbeddedPostgres
from tests.receivers import closed_port
from tests.served import wait_until

LINK = re.compile(r"http://\S+/login\?token=\S+")
LASTS = 60
"""Seconds; it is interrupted before."""


def test_demo(tmp_path: Path) -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
    environment = {**ours, "MILEPOST_DATA_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = ["-m", "milepost", "demo", "--port", str(closed_port()), "--for", str(LASTS), "--days", "3"]
    said = tmp_path / "said"
    with said.open("w") as out:
        demo = subprocess.Popen([sys.executable, *command], env=environment, stdout=out, stderr=out)
    try:
        wait_until(lambda: LINK.search(said.read_text()) or demo.poll() is not None, 90)
        look_around(said.read_text())
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0, said.read_text()
    finally:
        demo.kill()
    assert not EmbeddedPostgres(tmp_path / "demo" / "postgres").running()


def look_around(said: str) -> None:
    """Log in by the printed link, and find orders that came all the way, and nothing refused."""
    link = LINK.search(said)
    assert link, said
    address = link[0].partition("/login")[0]
    with httpx.Client(base_url=address, timeout=20, follow_redirects=True) as client:
        assert client.get(link[0]).status_code == 200
        complete = {"kind": "shipment", "state": "completed", "limit": 200}
        wait_until(lambda: len(client.get("/v1/journeys", params=complete).json()["items"]) > 50, LASTS)
        orders = client.get("/v1/journeys", params={"kind": "order", "limit": 200}).json()["items"]
        assert {"north", "south"} <= {order["attributes"].get("warehouse") for order in orders}
        assert len(client.get("/v1/sources").json()["items"]) >= 10
        assert client.get("/v1/quarantine").json()["items"] == []
