"""Links resolve, examples parse, commands of make exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from milepost.catalog import loader, mapping, overlay
from tests.docs.pages import DOCS, PAGES, ROOT, Block, all_blocks, anchors, blocks, links, name_of

ADDED = re.compile(r"# added to (\w+\.yaml)\n")
FILE = re.compile(r"# ((?:mappings/)?\w+\.yaml)$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / unquote(path)).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_can_be_found() -> None:
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "README.md")}
    for page in DOCS.rglob("*.md"):
        assert page in listed or page.parent in listed or page == DOCS / "README.md", name_of(page)


@pytest.mark.parametrize("block", all_blocks("json"), ids=str)
def test_json_parses(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_yaml_loads(block: Block) -> None:
    """A block that begins with a catalog file's name is that file; several may stand in one block."""
    if ADDED.match(block.text):
        loader.load(overlay.lay(added(block.page), loader.default_texts()))
        return
    _, *parts = FILE.split(block.text)
    texts = dict(zip(parts[::2], parts[1::2], strict=True))
    assert texts, "say which file it is: # slas.yaml"
    if all(name in loader.FILES or name.startswith(loader.MAPPINGS) for name in texts):
        loader.load({**loader.default_texts(), **mappings_of(block.page), **texts})
    elif "mapping.yaml" in texts:
        mapping.read("mapping.yaml", block.text)
    else:
        assert isinstance(yaml.safe_load(block.text), dict)


def added(page: Path) -> dict[str, dict[str, object]]:
    """What the blocks of a page add to files of the catalog, one block a file."""
    found = ((ADDED.match(block.text), block.text) for block in blocks(page, "yaml"))
    return {match[1]: yaml.safe_load(text) for match, text in found if match}


def mappings_of(page: Path) -> dict[str, str]:
    """The mappings that a page shows; its sources may name them."""
    found = ((FILE.match(block.text), block.text) for block in blocks(page, "yaml"))
    return {match[1]: text for match, text in found if match and match[1].startswith(loader.MAPPINGS)}


@pytest.mark.parametrize("folder", sorted(DOCS.glob("examples/*/catalog")), ids=name_of)
def test_example_catalogs_load(folder: Path) -> None:
    loader.load(loader.read_texts(folder))


@pytest.mark.parametrize("path", sorted(DOCS.glob("examples/*/mapping.yaml")), ids=name_of)
def test_example_mappings_load(path: Path) -> None:
    mapping.read(path.name, path.read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_targets_of_make_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = "\n".join(block.text for block in blocks(page, "sh", "sh service"))
    assert set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= targets


def test_the_readme_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert {"demo", "test", "run"} <= set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))


@pytest.mark.parametrize("page", sorted((DOCS / "how-to").glob("*.md")), ids=name_of)
def test_every_guide_with_something_to_copy_has_a_test(page: Path) -> None:
    if blocks(page, "sh", "sh database", "python", "python odoo", "js"):
        tests = [*(ROOT / "tests" / "docs").glob("test_*.py"), *(ROOT / "tests" / "integration").glob("test_*.py")]
        assert any(f'"{page.name}"' in test.read_text("utf-8") for test in tests)


def test_blocks_are_of_known_kinds() -> None:
    """A kind that no test knows would be an example that nobody runs."""
    known = {
        "sh",
        "sh service",
        "sh curl",
        "sh database",
        "sh docker",
        "sh data",
        "sh quarantine",
        "sh correct",
        "json",
        "yaml",
        "yaml story",
        "csv",
        "python",
        "python odoo",
        "js",
        "text",
        "sql",
    }
    assert {block.info for block in all_blocks()} <= known
