"""The services of docker-compose.yml: each started by its own command, asked by its own health check, on TimescaleDB.

Only the containers are missing: the commands, variables and checks are those of the file.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.databases import Databases

ROOT = Path(__file__).parents[2]
SERVICES = ("collector", "record", "assemble", "scheduler", "dashboards")
STARTED_WITHIN = 60.0
STOPPED_WITHIN = 30.0  # stop_grace_period


def environment(service: dict[str, Any], database: str, folder: Path) -> dict[str, str]:
    """The service's variables as compose would set them, on this machine's addresses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {name: value for name, value in service["environment"].items() if not value.startswith("${")}
    here = {
        "MILEPOST_DATABASE_URL": database,
        "MILEPOST_SECRET": "of-this-test-alone-0123456789abcdef",
        "MILEPOST_DATA_DIR": str(folder),
        "MILEPOST_HOST": "127.0.0.1",
        "MILEPOST_PORT": str(port),
        "MILEPOST_OTLP_PORT": "0",
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**inherited, **given, **here}


def milepost(command: list[str]) -> list[str]:
    """The command as the image's entry point runs it."""
    return [sys.executable, "-m", "milepost", *command]


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A service, which must end by itself when it is asked to."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, cwd=log.parent)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=STOPPED_WITHIN) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(timeout=10)


def wait_until_healthy(check: list[str], env: dict[str, str], process: subprocess.Popen[bytes], log: Path) -> None:
    """Run the health check, as a container engine would, until it succeeds."""
    deadline = time.monotonic() + STARTED_WITHIN
    while True:
        probe = subprocess.run(
            [sys.executable, *check[2:]], env=env, capture_output=True, text=True, timeout=10, check=False
        )
        if probe.returncode == 0:
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, probe.stderr + log.read_text()
        time.sleep(0.2)


@pytest.mark.timescale
def test_every_service_starts_becomes_healthy_and_stops(timescale_databases: Databases, tmp_path: Path) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    with timescale_databases.fresh(migrated=False) as database, ExitStack() as stack:
        migrate = services["migrate"]
        env = environment(migrate, database, tmp_path)
        subprocess.run(milepost(migrate["command"]), env=env, timeout=60, check=True, cwd=tmp_path)
        started = []
        for name in SERVICES:
            (folder := tmp_path / name).mkdir()
            env, log = environment(services[name], database, folder), folder / "log"
            process = stack.enter_context(running(milepost(services[name]["command"]), env, log))
            started.append((services[name]["healthcheck"]["test"], env, process, log))
        for each in started:
            wait_until_healthy(*each)
