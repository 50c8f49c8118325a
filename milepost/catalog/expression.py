"""JMESPath expressions (jmespath.org) that can't cost much, whatever they say and whatever they read. Pure.

Bounded: the length of the text, the parts of the expression, the steps of one payload's evaluation, and the size of
every text and list on the way. What can be known before, is: grammar, function names, numbers of arguments, and the
names that an expression may begin with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions, signature
from jmespath.visitor import Options, TreeInterpreter

MAX_TEXT: Final = 1000
"""Characters of an expression."""
MAX_PARTS: Final = 100
"""Nodes of its syntax tree."""
MAX_STEPS: Final = 100_000
"""Nodes that the expressions of a mapping may visit for one payload; an event takes some fifty."""
MAX_SIZE: Final = 64 * 1024
"""Characters of a text, or elements of a list, that an expression makes."""

_INNER: Final = frozenset({"comparator", "or_expression", "and_expression", "not_expression", "function_expression"})
_MANY: Final = frozenset({"multi_select_list", "multi_select_dict"})
_Node = Any  # the library's own dictionaries: type, children, value


class ExpressionError(ValueError):
    """An expression that can't be used, or a value that it can't be used on. The message says why."""


class Budget:
    """The steps that are left for one payload."""

    __slots__ = ("left",)

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Raises ExpressionError when nothing is left."""
        self.left -= steps
        if self.left < 0:
            raise ExpressionError("the expressions cost too much for this payload")


class Expression:
    """A compiled expression. `names`: the members of the context that it reads."""

    __slots__ = ("_path", "_tree", "names", "text")

    def __init__(self, text: str, known: Sequence[str]) -> None:
        """`known`: the names that it may begin with. Raises ExpressionError."""
        if len(text) > MAX_TEXT:
            raise ExpressionError(f"an expression of {len(text)} characters, at most {MAX_TEXT} are allowed")
        try:
            self._tree: _Node = jmespath.compile(text).parsed
        except (JMESPathError, RecursionError, ValueError) as error:
            raise ExpressionError(f"not a JMESPath expression: {_first_line(error)}") from error
        self.text = text
        self.names = frozenset(_roots(self._tree))
        _check_tree(self._tree)
        self._path = _path(self._tree)
        for name in sorted(self.names - set(known)):
            raise ExpressionError(f'"{name}" is nothing that an expression can begin with; use {", ".join(known)}')

    @staticmethod
    def of_column(name: str) -> Expression:
        """The column of a row, whatever characters are in its name."""
        return Expression(f"body.{json.dumps(name)}", ("body",))

    def search(self, context: Mapping[str, Any], budget: Budget) -> Any:
        """What the expression gives. Raises ExpressionError."""
        if self._path is not None:
            return _follow(self._path, context, budget)
        try:
            return _Interpreter(budget).visit(self._tree, context)
        except (JMESPathError, RecursionError, TypeError, OverflowError, ArithmeticError) as error:
            raise ExpressionError(_first_line(error)) from error


def is_true(value: Any) -> bool:
    """Truth as JMESPath has it: null, false and what is empty are false; 0 is true."""
    return not (value is None or value is False or value in ("", [], {}))


def _path(tree: _Node) -> tuple[str, ...] | None:
    """The names of an expression that only looks up one name after the other, as most do: they need no interpreter."""
    if tree["type"] == "field":
        return (tree["value"],)
    if tree["type"] != "subexpression":
        return None
    parts = [_path(child) for child in tree["children"]]
    return None if None in parts else tuple(name for part in parts for name in part or ())


def _follow(path: tuple[str, ...], context: Mapping[str, Any], budget: Budget) -> Any:
    budget.spend(len(path))
    value: Any = context
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0].rstrip(":") if lines else type(error).__name__


def _nodes(node: _Node) -> Iterator[_Node]:
    yield node
    for child in node["children"]:
        if isinstance(child, dict):  # a slice has numbers
            yield from _nodes(child)


def _check_tree(tree: _Node) -> None:
    nodes = list(_nodes(tree))
    if len(nodes) > MAX_PARTS:
        raise ExpressionError(f"an expression of {len(nodes)} parts, at most {MAX_PARTS} are allowed")
    for node in nodes:
        if node["type"] == "function_expression":
            _check_function(node["value"], len(node["children"]))


def _check_function(name: str, count: int) -> None:
    found = _Functions.FUNCTION_TABLE.get(name)
    if found is None:
        known = ", ".join(sorted(_Functions.FUNCTION_TABLE))
        raise ExpressionError(f"there is no function {name}(); there are {known}")
    wanted = found["signature"]
    variadic = bool(wanted) and wanted[-1].get("variadic", False)
    if count < len(wanted) or (count > len(wanted) and not variadic):
        raise ExpressionError(f"{name}() takes {len(wanted)} arguments{' or more' if variadic else ''}, not {count}")


def _roots(node: _Node) -> Iterator[str]:
    """The fields that are looked up in the context itself, not in what was found there."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        yield node["value"]
    elif kind in _INNER or kind in _MANY:
        for child in children:
            yield from _roots(child)
    elif kind != "expref" and children and isinstance(children[0], dict):
        yield from _roots(children[0])


class _Functions(Functions):
    """The functions of JMESPath; results are bounded, and a text is not written further than it may be long."""

    @signature({"types": []})
    def _func_to_string(self, arg: Any) -> str:
        if isinstance(arg, str):
            return arg
        parts, size = [], 0
        for part in json.JSONEncoder(separators=(",", ":"), default=str).iterencode(arg):
            parts.append(part)
            size += len(part)
            if size > MAX_SIZE:
                raise ExpressionError(f"to_string() of more than {MAX_SIZE} characters")
        return "".join(parts)

    @signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, separator: str, array: list[str]) -> str:
        if len(separator) * len(array) + sum(map(len, array)) > MAX_SIZE:
            raise ExpressionError(f"join() of more than {MAX_SIZE} characters")
        return separator.join(array)


_functions: Final = _Functions()


class _Interpreter(TreeInterpreter):
    """Counts its steps, and the size of what it makes."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(Options(custom_functions=_functions))
        self._budget = budget

    def visit(self, node: _Node, *args: Any, **kwargs: Any) -> Any:
        self._budget.spend(1)
        return super().visit(node, *args, **kwargs)

    def visit_flatten(self, node: _Node, value: Any) -> Any:
        return self._sized(super().visit_flatten(node, value))

    def visit_function_expression(self, node: _Node, value: Any) -> Any:
        return self._sized(super().visit_function_expression(node, value))

    def _sized(self, value: Any) -> Any:
        if isinstance(value, str | list):
            if len(value) > MAX_SIZE:
                raise ExpressionError(f"more than {MAX_SIZE} characters or elements on the way")
            self._budget.spend(len(value) // 16)
        return value
