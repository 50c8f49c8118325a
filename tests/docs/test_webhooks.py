"""How to receive webhooks, as it stands: the catalog of the page, and its commands against a real collector."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.databases import Databases
from tests.docs.pages import DOCS, blocks
from tests.docs.test_how_to import shell
from tests.served import collector, wait_until

PAGE = DOCS / "how-to" / "receive-webhooks.md"


def secrets() -> dict[str, str]:
    """A secret for every variable that the page names."""
    text = PAGE.read_text("utf-8")
    names = {name for found in re.findall(r"secret_env: \[?([A-Z_, ]+)", text) for name in re.findall("[A-Z_]+", found)}
    whsec = "whsec_" + base64.b64encode(b"d" * 32).decode()
    return {name: whsec if name.startswith("DOCK") else f"the secret of {name}".replace(" ", "-") for name in names}


def write_catalog(folder: Path) -> None:
    """What a reader has who copied every block."""
    sources: dict[str, Any] = {}
    for block in blocks(PAGE, "yaml"):
        if block.text.startswith("# sources.yaml"):
            sources |= yaml.safe_load(block.text)["sources"]
        elif block.text.startswith("# mappings/dock.yaml"):
            mappings = folder / "my-catalog" / "mappings"
            mappings.mkdir(parents=True)
            (mappings / "dock.yaml").write_text(block.text)
    (folder / "my-catalog" / "sources.yaml").write_text(yaml.safe_dump({"sources": sources}))


@pytest.fixture
def place(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Where the page's commands run, and their environment."""
    (tmp_path / "docs").symlink_to(DOCS)
    write_catalog(tmp_path)
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    with databases.fresh() as url, collector(url) as served:
        environment = {**secrets(), "URL": served.url, "MILEPOST_DATABASE_URL": url}
        apply = blocks(PAGE, "sh")[0]
        shell(apply.text, tmp_path, environment)
        wait_until(lambda: served.client.options("/v1/hooks/shop").status_code == 200, seconds=60)
        yield tmp_path, environment


def test_every_command_gives_the_answer_shown(place: tuple[Path, dict[str, str]]) -> None:
    folder, environment = place
    found = blocks(PAGE, "sh", "json")
    for block, following in pairwise([*found[1:], found[-1]]):
        if block.info == "sh":
            done = shell(block.text, folder, environment)
            if following.info == "json":
                assert json.loads(done.stdout) == json.loads(following.text), str(block)
    calls = PAGE.read_text("utf-8").count('curl -sS "$URL/v1/hooks')
    assert sum(block.info == "json" for block in found) == calls
