"""What benchmarks make of what they measured."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def freshness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("freshness")


def test_what_never_becomes_visible_counts_with_the_time_that_it_was_waited_for(freshness: ModuleType) -> None:
    watch = freshness.Watch(took=[(1.0, 0.2)])
    watch.waiting[2] = freshness.Sample(2, 102.0, "order", "S2", "received")
    assert watch.all_by(100.0, 70.0) == [(1.0, 0.2), (2.0, 68.0)]


def test_a_sender_that_fails_fails_the_run(freshness: ModuleType) -> None:
    def connect() -> Any:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(ConnectionRefusedError), freshness.sending(SimpleNamespace(connect=connect), "key"):
        pass


def test_a_watcher_that_fails_fails_the_run(freshness: ModuleType) -> None:
    with pytest.raises(freshness.psycopg.OperationalError), freshness.watching("postgresql:///x?host=/nowhere", 0.0):
        pass


def test_a_backend_that_has_ended_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    running = importlib.import_module("running")

    class Ended:
        def cpu_times(self) -> Any:
            raise running.psutil.NoSuchProcess(1)

    assert running._cpu(Ended()) == 0.0
