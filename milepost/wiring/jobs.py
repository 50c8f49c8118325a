"""What the scheduler does, and how often. Each job is safe when two processes run it."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import sqlalchemy as sa
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from alerting import digests, heartbeat, pipeline, resend, send, silences, stages
from alerting.acklink import Links
from alerting.desk import calendars_of
from alerting.heartbeat import Signs
from alerting.notifiers.alertmanager import EVERY
from milepost.clock import utc_now
from milepost.db import frozen, timescale
from milepost.errors import MilepostError, Unavailable
from milepost.inbox import identities
from milepost.inbox.quarantine import room
from milepost.inbox.watermark import Watermark
from milepost.wiring.collectors import LostCollectors
from milepost.wiring.loops import Trouble
from milepost.wiring.resources import Resources, with_secret
from sla.reconciliation import store as reconciled

TICK: Final = 0.5
ALERTING: Final = 0.25
REMINDERS: Final = 30.0
ANOMALIES: Final = 300.0
RECONCILIATION: Final = 60.0
"""How often is looked whether one is due; each says itself how often it runs."""
DIGESTS: Final = 10.0
FLOWS: Final = 10.0
OBJECTIVES: Final = 60.0
IDENTITIES: Final = 60.0
"""A hot generation of five million fills up within minutes."""
FROZEN: Final = 10.0
FITTING: Final = 3600.0
HOURLY: Final = 3600.0
"""Also what there is to do once a day: what failed because of a dump is done when that is over."""
NICE: Final = 10
"""How far long jobs stand back: beside one busy thread, they get a tenth of its processor."""
SOON: Final = 20.0
"""Seconds after the start at which slow jobs run first."""
AHEAD: Final = timedelta(days=3)
COMPRESS_AFTER: Final = timedelta(days=60)
"""Older events than this are compressed where the database can: longer than most journeys live."""
_MANY_STEPS: Final = 200

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """`work` every `every` seconds, first after `first`. It may raise anything: that is logged, and it goes on.

    When it answers true, the job named `then` has something to do, and doesn't wait for its time. One that is `long`
    works seconds for a result that nobody waits for: it gives way to all else on the machine, and may hold no lock that
    others need.
    """

    name: str
    every: float
    work: Callable[[], object]
    first: float = 0.0
    then: str | None = None
    long: bool = False


def jobs_of(resources: Resources) -> list[Job]:
    """All jobs; the modules that they need are loaded here."""
    reading = [*_polling(resources), _folders(resources)]
    known = Signs()
    slowly = [_flows(resources, known), _objectives(resources, known), _reconciling(resources, known)]
    return [*_watching(resources, known), *_learning(resources), *slowly, *reading, *_keeping(resources)]


def _watching(resources: Resources, last: Signs) -> list[Job]:
    from sla.job import check_due_once

    engine, clock, options = resources.engine, resources.clock, resources.settings.alerting
    links = Links.of(with_secret(resources.settings))
    watermark, collectors = Watermark(), LostCollectors()

    def check_due() -> int:
        now = clock()
        with engine.begin() as connection:
            known = watermark.read(connection, now)
            collectors.tell(connection, known, now)
        last.through = known.through
        found = check_due_once(engine, resources.catalog(), now=now, applied_through=known.through)
        last.judged = clock()
        return found

    def alert() -> bool:
        catalog, url = resources.catalog(), resources.settings.public_url
        found = pipeline.step(
            engine,
            catalog.routing,
            stages=stages.of(catalog),
            calendars=calendars_of(catalog),
            policies=catalog.policies,
            now=clock(),
            public_url=url,
        )
        last.alerted = clock()
        return found

    def tell_by_the_day() -> None:
        catalog, url = resources.catalog(), resources.settings.public_url
        digests.step(engine, catalog.routing, calendars_of(catalog), now=clock(), public_url=url)

    def remind() -> None:
        _in_transaction(engine, partial(silences.remind, now=clock()))

    def deliver() -> bool:
        found = send.step(engine, resources.catalog().routing, options, clock=clock, links=links)
        last.delivered = clock()
        return found

    def resend_firing() -> None:
        resend.step(engine, resources.catalog().routing, options, clock=clock)

    return [
        Job("sla", TICK, check_due, then="alerting"),
        Job("alerting", ALERTING, partial(_until_idle, alert), then="delivery"),
        Job("silences", REMINDERS, remind),
        Job("digests", DIGESTS, tell_by_the_day, first=SOON),
        Job("delivery", ALERTING, partial(_until_idle, deliver)),
        Job("Alertmanager", EVERY.total_seconds(), resend_firing, first=SOON),
        Job("frozen", FROZEN, partial(frozen.end, engine)),
        *_beating(resources, last),
    ]


def _beating(resources: Resources, signs: Signs) -> list[Job]:
    url = resources.settings.alerting.heartbeat_url
    if not url:
        return []
    heart = heartbeat.Heartbeat(resources.engine, url, signs, resources.clock)
    return [Job("heartbeat", heartbeat.EVERY, heart.beat, first=SOON)]


def _flows(resources: Resources, known: Signs) -> Job:
    from sla.flow.job import judge_once, learn_once
    from sla.flow.learn import Learner

    learner = Learner()

    def look() -> None:
        catalog, now = resources.catalog(), resources.clock()
        learn_once(resources.engine, catalog, learner, now=now)
        if known.through is not None:
            judge_once(resources.engine, catalog, now=now, applied_through=known.through)

    return Job("flows", FLOWS, look, first=FLOWS, long=True)


def _objectives(resources: Resources, known: Signs) -> Job:
    from sla.objective.job import judge_once

    def judge() -> None:
        if known.through is not None:
            judge_once(resources.engine, resources.catalog(), now=resources.clock(), through=known.through)

    return Job("objectives", OBJECTIVES, judge, first=SOON, long=True)


def _reconciling(resources: Resources, known: Signs) -> Job:
    from sla.reconciliation.job import run_due

    def reconcile() -> None:
        if known.through is not None:
            run_due(resources.engine, resources.catalog(), now=resources.clock(), through=known.through)

    return Job("reconciliation", RECONCILIATION, reconcile, first=SOON, long=True)


def _learning(resources: Resources) -> list[Job]:
    engine, clock = resources.engine, resources.clock

    def fit() -> None:
        from anomaly.job import fit_once  # scikit-learn takes seconds to load: not while the others wait to start

        fit_once(engine, resources.catalog(), now=clock())

    def score() -> None:
        from anomaly.job import score_once

        score_once(engine, resources.catalog(), now=clock())

    return [
        Job("anomaly fit", FITTING, fit, first=SOON, long=True),
        Job("anomaly score", ANOMALIES, score, first=2 * SOON, long=True),
    ]


def _polling(resources: Resources) -> list[Job]:
    options = resources.settings.odoo
    if not options.odoo_url:
        return []
    from collector.masking import Masking
    from collector.odoo.poll import Poller

    masking = Masking(resources.privacy_key)
    poller = Poller(resources.engine, options, resources.clock, lambda: masking.of(resources.catalog()))

    def poll() -> None:
        result = poller.step()
        if result.events or result.rejected:
            _log.info("odoo: %d events, %d refused", result.events, result.rejected)

    return [Job("odoo", options.odoo_interval, poll)]


def _folders(resources: Resources) -> Job:
    from collector.folders.watch import Watcher
    from collector.ingest import Limits
    from collector.masking import Masking

    settings = resources.settings
    every = settings.paths.folders_interval
    watcher = Watcher(
        resources.engine,
        settings.paths.folders,
        resources.catalog,
        resources.clock,
        seconds=0.9 * every,  # done before the next one is due
        limits=Limits(event_bytes=settings.ingest.max_event_bytes),
        masking=Masking(resources.privacy_key),
    )

    def look() -> None:
        looked = watcher.step()
        if looked.files or looked.refused:
            _log.info("folders: %d files, %d events, %d refused", looked.files, looked.accepted, looked.refused)

    return Job("folders", every, look)


def _keeping(resources: Resources) -> list[Job]:
    from correlator.store import forget_counts

    engine, clock, limits = resources.engine, resources.clock, resources.settings.database
    kept = timedelta(days=limits.retention_days)

    def known() -> None:
        with engine.begin() as connection:
            identities.roll_over(connection, clock(), timedelta(days=limits.identity_days))
        _until_idle(partial(_in_transaction, engine, identities.drop_forgotten))

    def partitions() -> None:
        now = clock()
        with engine.begin() as connection:
            timescale.ensure_partitions(connection, now, now + AHEAD)

    def older(name: str, act: Callable[[sa.Connection, datetime], int], than: timedelta, told: str = "") -> Job:
        def work() -> None:
            with engine.begin() as connection:
                done = act(connection, clock() - than)
            if done and told:
                _log.info(told, done)

        return Job(name, HOURLY, work, first=3 * SOON)

    def quarantined() -> None:
        now = clock()
        before = now - timedelta(days=limits.quarantine_days)
        _until_idle(partial(_in_transaction, engine, partial(room.drop_closed, before=before)))
        _until_idle(partial(_in_transaction, engine, partial(room.thin, most=limits.quarantine_events, now=now)))

    def leftovers() -> None:
        from correlator.rebuild import clear_up

        if clear_up(engine):
            _log.warning("a rebuild ended half-way; what it left was taken away")

    return [
        Job("rebuild leftovers", HOURLY, leftovers, first=SOON),
        Job("identities", IDENTITIES, known, first=SOON),
        Job("partitions", HOURLY, partitions),
        older("retention", timescale.drop_before, kept, "retention: dropped %d partitions"),
        older("compression", timescale.compress_before, COMPRESS_AFTER),
        older("old reconciliations", reconciled.drop_before, kept),
        older("old counts", forget_counts, kept),
        Job("quarantine", HOURLY, quarantined, first=2 * SOON),
    ]


def _in_transaction(engine: sa.Engine, step: Callable[[sa.Connection], int]) -> bool:
    with engine.begin() as connection:
        return bool(step(connection))


def _until_idle(step: Callable[[], bool]) -> bool:
    """Whether there was anything to do."""
    found = False
    for _ in range(_MANY_STEPS):
        if not step():
            break
        found = True
    return found


class Guarded:
    """A job that can't fail: what is new of what it raises is logged, and it waits longer between tries meanwhile."""

    def __init__(self, job: Job, lost: Callable[[], None], wake: Callable[[str], None] = lambda _: None) -> None:
        self._job = job
        self._lost = lost
        self._wake = wake
        self._trouble = Trouble(job.name)
        self._not_before = 0.0

    def __call__(self) -> None:
        if time.monotonic() < self._not_before:
            return
        try:
            found = self._job.work()
        except (MilepostError, sa.exc.SQLAlchemyError) as error:
            self._not_before = time.monotonic() + self._trouble.happened(error)
            if isinstance(error, Unavailable):
                self._lost()
        except Exception:  # noqa: BLE001 - a job's outermost loop
            _log.exception("%s failed", self._job.name)
            self._not_before = time.monotonic() + self._job.every
        else:
            self._trouble.over()
            if found and self._job.then is not None:
                self._wake(self._job.then)


def _give_way() -> None:
    """Let this thread have what processor time is left over. Elsewhere than on Linux a thread has no priority of its
    own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


class Schedule:
    """Runs jobs in threads while its block lasts, each job one at a time. `lost`: one of them lost the database."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.lost = threading.Event()
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={
                "prompt": ThreadPoolExecutor(max(1, sum(not job.long for job in jobs))),
                "long": ThreadPoolExecutor(max(1, sum(job.long for job in jobs)), {"initializer": _give_way}),
            },
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        for job in jobs:
            self._add(job)

    def _add(self, job: Job) -> None:
        self._scheduler.add_job(
            Guarded(job, self.lost.set, self._wake),
            "interval",
            seconds=job.every,
            id=job.name,
            executor="long" if job.long else "prompt",
            next_run_time=utc_now() + timedelta(seconds=job.first),
        )

    def _wake(self, name: str) -> None:
        with suppress(JobLookupError):  # it is being shut down
            self._scheduler.modify_job(name, next_run_time=utc_now())

    def __enter__(self) -> Schedule:
        self._scheduler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._scheduler.shutdown(wait=True)
