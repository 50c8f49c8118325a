"""Reading YAML, and where something stands in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from milepost.errors import CatalogError

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Eight times as fast where PyYAML came with libyaml, as its wheels do."""
_MERGE: Final = "tag:yaml.org,2002:merge"
Path = tuple[str | int, ...]


def parse(name: str, text: str) -> Any:
    """The document in the text of a file. Raises CatalogError."""
    try:
        loader = _LOADER(text)
        root = loader.get_single_node()
        _check_keys(name, root)
        return loader.construct_document(root) if root is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise CatalogError(f"{place}: not valid YAML: {said}") from error
    except (yaml.YAMLError, ValueError) as error:  # no character, no date
        raise CatalogError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from error


def _check_keys(name: str, root: yaml.Node | None) -> None:
    """Of entries with the same key YAML takes the last, and nobody would hear of the others. Raises CatalogError."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node in seen:  # by an alias
            continue
        seen.add(node)
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
            _check_once(name, [key for key, _ in node.value])


def _check_once(name: str, keys: Sequence[yaml.Node]) -> None:
    lines: dict[str, int] = {}
    for key in keys:
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            if key.value in lines:
                raise CatalogError(f"{name}:{line}: {key.value} stands on line {lines[key.value]} already; keep one")
            lines[key.value] = line


class Lines:
    """The lines of a text by path: ("models", "order", "milestones", 3)."""

    def __init__(self, text: str) -> None:
        try:
            self._root = yaml.compose(text, _LOADER)
        except yaml.YAMLError:
            self._root = None

    def of(self, path: Path) -> int:
        """The line of the entry, counted from 1; of what stands around it where there is no such entry.

        An item of a list goes by its place (a number) or by its `name`.
        """
        node, line = self._root, 1
        for part in path:
            found = _entry(node, part) if isinstance(part, int) else _by_name(node, part)
            if found is None:
                break
            at, node = found
            line = at.start_mark.line + 1
        return line

    def named(self, words: Sequence[str]) -> int:
        """The line of the entry that these words lead to, as far as they do; 0 where the first leads nowhere."""
        sections = [value for _, value in self._root.value] if isinstance(self._root, yaml.MappingNode) else []
        return max(_led(node, words) for node in (*sections, self._root))[1]


def _led(node: yaml.Node | None, words: Sequence[str]) -> tuple[int, int]:
    """How many words lead on from a node, and the line of where they lead."""
    line = 0
    for count, word in enumerate(words):
        found = _by_name(node, word)
        if found is None:
            return count, line
        at, node = found
        line = at.start_mark.line + 1
    return len(words), line


def located(texts: Mapping[str, str], message: str) -> str:
    """An error that begins with file and entry ("journeys.yaml: order: milestones: packed: …"), with the line."""
    file, *parts = message.split(": ")
    if file not in texts:
        return message
    line = Lines(texts[file]).named([word for part in parts for word in re.split(r"[.\[\]]+", part) if word])
    return f"{file}:{line}: {': '.join(parts)}" if line else message


def _by_name(node: yaml.Node | None, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    """The entry of this name, which may also be the `name` of a list's item, or stand in a section of the file."""
    found = _entry(node, name) or _entry(node, int(name) if name.isdigit() else -1)
    if found is None and isinstance(node, yaml.SequenceNode):
        named = (item for item in node.value if (its := _entry(item, "name")) is not None and its[1].value == name)
        found = next(((item, item) for item in named), None)
    return found


def _entry(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """(where it begins, what it is)."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        return node.value[part], node.value[part]
    return None
