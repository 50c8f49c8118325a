"""The tutorial, run as it stands, against a real `milepost run`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docs.pages import DOCS, ROOT, Block, blocks
from tests.served import wait_until

PAGE = DOCS / "tutorial.md"


@pytest.fixture
def place(server_dir: Path) -> Path:
    """A project folder that only has what the tutorial uses."""
    server_dir.chmod(0o755)
    (server_dir / "docs").symlink_to(DOCS)
    return server_dir


def free_ports(number: int) -> list[int]:
    with ExitStack() as held:
        listening = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in listening]


class Reader:
    """Somebody who follows the tutorial with other ports."""

    def __init__(self, place: Path) -> None:
        self.port, self.hook = free_ports(2)
        self.place = place
        plain = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
        binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**plain, "MILEPOST_PORT": str(self.port), "MILEPOST_OTLP_PORT": "0", "PATH": binaries}

    def script(self, block: Block) -> str:
        text = block.text.replace(":8080", f":{self.port}").replace("9000", str(self.hook))
        return text.replace("make run", "exec milepost run")

    @contextmanager
    def service(self, block: Block) -> Iterator[None]:
        with (self.place / "service.log").open("w") as log:
            running = subprocess.Popen(
                ["bash", "-ec", self.script(block)], cwd=self.place, env=self.environment, stdout=log, stderr=log
            )
            try:
                wait_until(lambda: running.poll() is not None or self.is_ready(), 60)
                assert running.poll() is None, (self.place / "service.log").read_text()
                yield
            finally:
                running.send_signal(signal.SIGINT)
                running.wait(30)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2):
                return True
        except OSError:
            return False

    def follow(self, steps: list[Block]) -> tuple[dict[int, str], str]:
        """Run the blocks in one shell, as in one terminal. What each printed, by line, and the key they made."""
        mark = "-=-=- next block"
        script = f"\necho '{mark}'\n".join([*(self.script(block) for block in steps), 'printf %s "$KEY"'])
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{(self.place / 'service.log').read_text()}"
        *said, key = done.stdout.split(f"{mark}\n")
        return dict(zip((block.line for block in steps), said, strict=True)), key


def test_every_block_works(place: Path) -> None:
    reader = Reader(place)
    (start,) = blocks(PAGE, "sh service")
    with reader.service(start):
        said, key = reader.follow(blocks(PAGE, "sh"))
        check_shapes(f"http://127.0.0.1:{reader.port}", key)
    printed = "\n".join(said.values())
    # what the page shows is what came, up to where it says "…"
    for shown in blocks(PAGE, "json", "text"):
        for line in filter(None, shown.text.splitlines()):
            expected = line.partition(" It is over after")[0].partition("…")[0].strip()
            assert expected in printed, f"{shown}: {expected!r} was not printed:\n{printed}"
    assert '"key": "1Z999"' in printed, "the shipment is a member"
    assert '"state": "retracted"' in printed, "the breach is taken back"


UNTOLD = (
    "GET /v1/journeys/{journey_id}/explanation", "GET /v1/hubs", "GET /v1/decisions", "GET /v1/exceptions",
    "GET /v1/exceptions/groups", "GET /v1/gaps", "GET /v1/flows", "GET /v1/silences", "GET /v1/oncall",
    "GET /v1/notifications/parked", "GET /v1/policies/{policy}/{version}",
)  # fmt: skip
"""What the tutorial has nothing for, or other things than the example shows."""


def check_shapes(url: str, key: str) -> None:
    """The answers have the fields that the reference shows, no more and no less."""
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=20) as client:
        assert client.post("/v1/events", json={"type": "order.received", "source": "shop"}).status_code == 422
        paths = {"{kind}": "order", "{key}": "S00001", "{alert_id}": "1"}
        shown = {name: text for name, text in examples().items() if name.startswith("GET /v1/") and name not in UNTOLD}
        assert len(shown) == 7
        for name, example in shown.items():
            path = name.removeprefix("GET ")
            for placeholder, value in paths.items():
                path = path.replace(placeholder, value)
            answer = client.get(path)
            assert answer.status_code == 200, (name, answer.text)
            compare(example, answer.json(), name)


def examples() -> dict[str, Any]:
    """Heading of the reference → its JSON example, parsed."""
    page = DOCS / "reference" / "http-api.md"
    lines = page.read_text("utf-8").splitlines()
    headings = {number: line[4:] for number, line in enumerate(lines, 1) if line.startswith("### ")}
    return {
        headings[max(number for number in headings if number < block.line)]: json.loads(block.text)
        for block in blocks(page, "json")
        if block.line > min(headings)
    }


FREE = ("attributes", "data", "labels", "group", "money", "detail")
"""What is in them differs from one to the next."""


def compare(example: Any, real: Any, where: str) -> None:
    if isinstance(example, dict):
        assert isinstance(real, dict), where
        assert example.keys() == real.keys(), where
        for name in example.keys() - set(FREE):
            compare(example[name], real[name], f"{where}: {name}")
    elif isinstance(example, list) and example and isinstance(example[0], dict):
        assert real, f"{where}: nothing to compare with"
        compare(example[0], real[0], where)
    elif example is not None and real is not None:
        assert isinstance(real, int | float if isinstance(example, int | float) else type(example)), where


def test_make_run_is_what_the_tutorial_runs() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "run: setup ## Start Milepost\n\t@$(BIN)/milepost run\n" in makefile
