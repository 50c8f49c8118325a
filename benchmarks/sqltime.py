"""What an engine's statements take, and which of them was the slowest, by the name of what asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import sqlalchemy as sa


@dataclass(slots=True)
class Spent:
    """Milliseconds in statements, and their number, in one block."""

    milliseconds: float = 0.0
    statements: int = 0


@dataclass
class SqlTime:
    """Listens to an engine. From when a statement is sent until all of its rows have come."""

    engine: sa.Engine
    _name: str = ""
    _started: float = 0.0
    _current: Spent = field(default_factory=Spent)
    _slowest: dict[str, tuple[str, Any, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sa.event.listen(self.engine, "before_cursor_execute", self._before)
        sa.event.listen(self.engine, "after_cursor_execute", self._after)

    @contextmanager
    def of(self, name: str) -> Iterator[Spent]:
        """What the block spends."""
        self._name, self._current = name, Spent()
        yield self._current

    def slowest(self, name: str) -> tuple[str, Any, float]:
        """The slowest statement so far under this name: text, parameters, milliseconds."""
        return self._slowest[name]

    def _before(self, *_: Any) -> None:
        self._started = perf_counter()

    def _after(self, _: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        spent = (perf_counter() - self._started) * 1e3
        self._current.milliseconds += spent
        self._current.statements += 1
        if spent > self._slowest.get(self._name, ("", None, 0.0))[2]:
            self._slowest[self._name] = (statement, parameters, spent)
