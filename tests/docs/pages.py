"""The pages of the documentation, taken apart: fenced blocks, headings, tables, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])

_FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block. `info` is what stands after the fence: "sh", "sh service", "json"."""

    page: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *infos: str) -> list[Block]:
    """The fenced blocks of a page in order; of these kinds, if any are given."""
    text = page.read_text("utf-8")
    found = [Block(page, text.count("\n", 0, m.start()) + 1, m[1].strip(), m[2]) for m in _FENCE.finditer(text)]
    return [block for block in found if not infos or block.info in infos]


def all_blocks(*infos: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page, *infos)]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def sections(page: Path) -> dict[str, str]:
    """Heading → the text below it, up to the next heading of any level. Code marks are taken off headings."""
    text = prose(page)
    found = list(_HEADING.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {match[2].replace("`", ""): text[match.end() : end] for match, end in zip(found, ends, strict=True)}


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in a text, without the header and the line below it."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if line.startswith("|") and not line.startswith("|---"):
            following = lines[index + 1] if index + 1 < len(lines) else ""
            if not following.startswith("|---"):
                cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
                yield [cell.replace("\\|", "|").strip() for cell in cells]


def codes(text: str) -> list[str]:
    """What stands between backticks."""
    return _CODE.findall(text)


def named(text: str) -> set[str]:
    """What the first cells of the tables in a text name."""
    return {code for cells in rows(text) for code in codes(cells[0])}


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    made = (re.sub(r"[^\w\- ]", "", match[2].lower()).strip() for match in _HEADING.finditer(prose(page)))
    return {heading.replace(" ", "-") for heading in made}
