"""The loops around steps: patience, leadership, life signs, and jobs that fail."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from milepost import garbage
from milepost.clock import to_us, utc_now
from milepost.db import timescale
from milepost.db.engine import make_engine
from milepost.db.tables import heartbeats, source_minutes, volume_hours
from milepost.errors import ConfigurationError, Transient, Unavailable
from milepost.inbox.identities import HOT_IDENTITIES
from milepost.settings import Log
from milepost.wiring import logs, loops
from milepost.wiring.jobs import NICE, Guarded, Job, Schedule, jobs_of
from milepost.wiring.loops import Pulse, Stop, Trouble, keep_trying, loop, run_leading, run_steps
from milepost.wiring.resources import opened
from tests.chain import Chain

PATIENCE = 30.0


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


class Script:
    """A step that does what a list says: an answer, or an error to raise; then it stops the loop."""

    def __init__(self, *acts: bool | Exception) -> None:
        self.stop = Stop()
        self.acts = list(acts)

    def __call__(self) -> bool:
        if not self.acts:
            self.stop.set()
            return False
        act = self.acts.pop(0)
        if isinstance(act, Exception):
            raise act
        return act


# --- patience ---------------------------------------------------------------------------------------------------------


def test_a_loop_goes_on_after_what_may_go_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    step = Script(True, Unavailable("away"), Transient("still away"), True, False)
    run_steps(step, step.stop, lambda: None, "record")
    assert step.acts == []
    assert [record.getMessage() for record in caplog.records] == [
        "record: away; trying again", "record: still away; trying again", "record: works again",
    ]  # fmt: skip


def test_a_loop_ends_with_what_does_not(caplog: pytest.LogCaptureFixture) -> None:
    step = Script(True, ConfigurationError("wrong"), True)
    with pytest.raises(ConfigurationError):
        run_steps(step, step.stop, lambda: None, "record")
    assert step.acts == [True]


def test_a_real_database_that_is_away_is_waited_for() -> None:
    engine = make_engine("postgresql://nobody@127.0.0.1:1/none")
    stop, tries = Stop(), []

    def work(_: Trouble) -> None:
        tries.append(1)
        if len(tries) == 2:
            stop.set()
        engine.connect()

    assert not keep_trying(work, stop, "database")
    assert len(tries) == 2


def test_patience_grows_and_starts_anew() -> None:
    trouble = Trouble("it")
    first, most = loops.PATIENCE
    assert [trouble.happened(Transient("x")) for _ in range(3)] == [first, first * 2, first * 4]
    assert [trouble.happened(Transient("x")) for _ in range(9)][-1] == most
    trouble.over()
    assert trouble.happened(Transient("x")) == first


def test_patience_has_no_end() -> None:
    trouble = Trouble("it")
    assert [trouble.happened(Transient("x")) for _ in range(1_100)][-1] == loops.PATIENCE[1]


def test_a_failure_is_told_when_it_is_another_one_than_the_last(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("it")
    for said in ("full", "full", "away\nat 12:00", "away\nat 12:01", "full"):
        trouble.happened(Transient(said))
    assert [record.getMessage() for record in caplog.records] == [
        f"it: {said}; trying again" for said in ("full", "away", "full")
    ]


def test_pauses_grow_while_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    step = Script(True, True, False, False, False, True, False)
    monkeypatch.setattr(step.stop, "wait", pauses.append)
    monkeypatch.setattr(loops, "PERIOD", 0.0)
    loop(step, step.stop, lambda: None, Trouble("it"))
    first, most = loops.IDLE
    assert pauses[:4] == pytest.approx([first, first * 1.2, first * 1.44, first])
    assert max(pauses) <= most


@pytest.mark.parametrize(("took", "pauses"), [(0.0, [loops.PERIOD]), (0.03, [loops.PERIOD - 0.03]), (0.5, [])])
def test_steps_that_find_work_begin_a_period_apart_at_least(
    monkeypatch: pytest.MonkeyPatch, took: float, pauses: list[float]
) -> None:
    waited: list[float] = []
    stop, clock = Stop(), iter([10.0, 10.0 + took])
    monkeypatch.setattr(stop, "wait", waited.append)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    steps = iter([True])

    def step() -> bool:
        stop.set()
        return next(steps)

    loop(step, stop, lambda: None, Trouble("it"))
    assert waited == pytest.approx(pauses)


def test_garbage_goes_between_two_steps() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

    alive: list[weakref.ref[Cycle]] = []
    left: list[int] = []
    stop = Stop()

    def step() -> bool:
        left.append(sum(one() is not None for one in alive))
        alive.append(weakref.ref(Cycle()))
        if len(left) == 3:
            stop.set()
        return True

    with garbage.by_hand():
        assert not gc.isenabled()
        loop(step, stop, lambda: None, Trouble("it"))
    assert gc.isenabled()
    assert left == [0, 0, 0]


# --- leadership -------------------------------------------------------------------------------------------------------


class Candidate:
    """A process that wants to lead, in a thread."""

    def __init__(self, url: str, name: str) -> None:
        self.engine = make_engine(url, application_name=name)
        self.stop = Stop()
        self.leads = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(Pulse(self.engine, name, utc_now),))
        self.thread.start()

    def _run(self, pulse: Pulse) -> None:
        run_leading(self.engine, "test", self.stop, self._lead, pulse)
        self.engine.dispose()

    def _lead(self, trouble: Trouble, beat: Callable[[], None]) -> None:
        def step() -> bool:
            with self.engine.begin() as connection:
                connection.execute(sa.text("SELECT 1"))
            self.leads.set()
            return False

        try:
            loop(step, self.stop, beat, trouble)
        finally:
            self.leads.clear()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "STANDBY", 0.05)


@pytest.mark.usefixtures("quick")
def test_one_leads_and_the_next_takes_over(database: str, engine: sa.Engine) -> None:
    first = Candidate(database, "first")
    eventually(first.leads.is_set)
    second = Candidate(database, "second")
    try:
        eventually(lambda: _beats(engine).get("second") is False)  # it stands by, and says so
        assert not second.leads.is_set()
        first.end()
        eventually(second.leads.is_set)
    finally:
        first.end()
        second.end()


@pytest.mark.usefixtures("quick")
def test_who_loses_the_database_leads_again_when_it_is_back(database: str, engine: sa.Engine) -> None:
    candidate = Candidate(database, "one")
    try:
        eventually(candidate.leads.is_set)
        with engine.connect() as connection:
            ended = connection.scalars(
                sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'one'")
            )
            assert all(ended.all())
        candidate.leads.clear()
        eventually(candidate.leads.is_set)
    finally:
        candidate.end()


def _beats(engine: sa.Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(heartbeats.c.process, heartbeats.c.detail))
        return {row.process.partition("@")[0]: row.detail.get("leads") for row in rows}


def test_a_process_without_a_loop_beats_by_itself(engine: sa.Engine) -> None:
    prepared = threading.Event()
    with Pulse(engine, "web", utc_now).by_itself(Stop(), prepared.set):
        eventually(lambda: "web" in _beats(engine))
    assert prepared.is_set()


def test_a_database_that_cannot_be_prepared_is_told(engine: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    with Pulse(engine, "web", utc_now).by_itself(Stop(), fails_with(ConfigurationError("too old"))):
        eventually(lambda: "too old" in caplog.text)


def test_what_nobody_expected_ends_no_life_signs(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "AGAIN", 0.0)
    errors = [ZeroDivisionError("oh")]

    def prepare() -> None:
        if errors:
            raise errors.pop()

    with Pulse(engine, "web", utc_now).by_itself(Stop(), prepare):
        eventually(lambda: "web" in _beats(engine))
    assert "ZeroDivisionError: oh" in caplog.text


# --- jobs -------------------------------------------------------------------------------------------------------------


def fails_with(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_a_failing_job_is_told_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    lost = threading.Event()
    job = Guarded(Job("odoo", 0.0, fails_with(Unavailable("Odoo is away"))), lost.set)
    for _ in range(3):
        job()
    assert [record.getMessage() for record in caplog.records] == ["odoo: Odoo is away; trying again"]
    assert lost.is_set()


def test_a_job_with_a_fault_shows_where(caplog: pytest.LogCaptureFixture) -> None:
    Guarded(Job("sla", 60.0, fails_with(ZeroDivisionError("oh"))), lambda: None)()
    assert "sla failed" in caplog.text
    assert "ZeroDivisionError: oh" in caplog.text


def test_a_slow_job_keeps_no_other_waiting() -> None:
    slow, quick = threading.Event(), threading.Semaphore(0)
    jobs = [Job("slow", 0.05, lambda: slow.wait(PATIENCE)), Job("quick", 0.05, lambda: quick.release())]
    with Schedule(jobs):
        for _ in range(3):
            assert quick.acquire(timeout=PATIENCE)
        slow.set()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_a_long_job_gives_way_and_no_other_does() -> None:
    nice: dict[str, int] = {}
    done = threading.Semaphore(0)

    def look(name: str) -> None:
        nice[name] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        done.release()

    jobs = [Job(name, 3600.0, partial(look, name), long=name == "long") for name in ("long", "prompt")]
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with Schedule(jobs):
        assert done.acquire(timeout=PATIENCE)
        assert done.acquire(timeout=PATIENCE)
    assert nice == {"prompt": own, "long": max(own, NICE)}


def test_a_job_that_found_something_does_not_let_the_next_one_wait() -> None:
    late = threading.Event()
    jobs = [Job("first", 3600.0, lambda: True, then="next"), Job("next", 3600.0, late.set, first=3600.0)]
    with Schedule(jobs):
        assert late.wait(PATIENCE)


def test_every_job_works_on_an_empty_database(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from milepost.settings import Settings

    settings = Settings.load({"MILEPOST_DATABASE_URL": database, "MILEPOST_DATA_DIR": str(tmp_path)})
    with opened(settings, "test") as resources:
        resources.prepare()
        jobs = jobs_of(resources)
        for job in jobs:
            job.work()
    assert {job.name for job in jobs} == {
        "sla", "alerting", "delivery", "frozen", "anomaly fit", "anomaly score", "identities", "partitions",
        "retention", "rebuild leftovers", "folders", "quarantine", "reconciliation", "objectives", "flows", "silences",
        "digests", "Alertmanager", "compression", "old reconciliations", "old counts",
    }  # fmt: skip


def test_a_dump_puts_retention_off_for_an_hour_and_nothing_else(
    database: str, engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from milepost.settings import Settings

    monkeypatch.setattr(timescale, "PATIENCE", "20ms")
    old = utc_now() - timedelta(days=500)
    settings = Settings.load({"MILEPOST_DATABASE_URL": database, "MILEPOST_DATA_DIR": str(tmp_path)})
    with engine.begin() as connection:
        if timescale.flavour(connection) != "plain":
            pytest.skip("about plain partitions")
        timescale.ensure_partitions(connection, old, old)
    with opened(settings, "test") as resources:
        jobs = {job.name: job for job in jobs_of(resources)}
        with engine.connect() as dump:
            dump.execute(sa.text("LOCK TABLE input.events IN ACCESS SHARE MODE"))
            with pytest.raises(Transient, match="lock timeout"):
                jobs["retention"].work()
            for name in ("compression", "old reconciliations"):
                jobs[name].work()
        jobs["retention"].work()
        assert jobs["retention"].every <= 3600
    with engine.connect() as connection:
        assert not timescale.partitions_in(connection, "input") & {f"events_{old:%Y%m%d}"}


def test_counts_are_kept_for_as_long_as_events(database: str, engine: sa.Engine, tmp_path: Path) -> None:
    from milepost.settings import Settings

    settings = Settings.load({"MILEPOST_DATABASE_URL": database, "MILEPOST_DATA_DIR": str(tmp_path)})
    chain = Chain(engine)
    with opened(settings, "test") as resources:
        counts = next(job for job in jobs_of(resources) if job.name == "old counts")
        limit = utc_now() - timedelta(days=settings.database.retention_days)
        for number, at in enumerate((limit - timedelta(hours=2), limit + timedelta(hours=2))):
            wire = {"specversion": "1.0", "id": f"{number}", "source": "/erp", "type": "order.received"}
            keys = {"keys": {"order": f"S{number}"}}
            chain.send({**wire, "time": at.isoformat(), "data": keys}, received_us=to_us(at))
        chain.settle()
        counts.work()
    with engine.connect() as connection:
        assert connection.scalars(sa.select(source_minutes.c.minute)).one() > limit
        assert connection.scalars(sa.select(volume_hours.c.hour)).one() > limit


def test_a_generation_of_identities_is_looked_at_before_it_is_much_too_large(database: str, tmp_path: Path) -> None:
    from milepost.settings import Settings

    settings = Settings.load({"MILEPOST_DATABASE_URL": database, "MILEPOST_DATA_DIR": str(tmp_path)})
    with opened(settings, "test") as resources:
        every = next(job.every for job in jobs_of(resources) if job.name == "identities")
    assert every * 12_000 < HOT_IDENTITIES


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _logging() -> Any:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_logging")
def test_lines_are_json_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(log_level="info", log_format="json"))
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        logging.getLogger("x").exception("odd: %s", "ü\n")
    logging.getLogger("x").debug("not shown")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert (line["level"], line["logger"], line["message"]) == ("error", "x", "odd: ü\n")
    assert "ZeroDivisionError" in line["error"]
    assert line["time"].endswith("Z")


@pytest.mark.usefixtures("_logging")
def test_lines_are_text_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log())
    logging.getLogger("collector").warning("hello")
    at, level, rest = capsys.readouterr().err.split(maxsplit=2)
    assert at.endswith("Z")
    assert (level, rest) == ("WARNING", "collector: hello\n")
