"""Signals to alerts to outbox rows: the only writer of alerts, one transaction a step, one step at a time.

The stages, each a pure function or one module: group (which alert, and what a batch of signals does to it), lifecycle
(its next state), then what keeps things from being told (record only, threshold, inhibit, silence, hours, and no
route), route (whose business it is), limit (what is said now), escalate (who else hears, as nobody acknowledges),
message (the words), outbox.

A stage that keeps things from being told is a `hiding.Stage`, and stands in the `stages` of `step` (in production:
alerting.stages.of(catalog), in their order there). It is asked about candidates: what was raised in this step, and what
is hidden and to be judged again. What it answers is kept and remembered with the reason in record.alert_hidden
(alerting/hidden.py); what no stage keeps is told, what was hidden so far as if it were new. Alerts, their items and
figures never depend on it: nothing is ever dropped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from alerting import (
    commands,
    escalate,
    group,
    hidden,
    hiding,
    inhibit,
    inhibit_store,
    lifecycle,
    limit,
    message,
    outbox,
    overrides,
    route,
    store,
    wave,
)
from alerting.case import Case, changes_of, notes
from alerting.desk import Desk
from alerting.explain import Totals, outdated
from alerting.hiding import Candidate, Place, Stage
from alerting.inhibit import Explained
from alerting.lifecycle import Alert
from alerting.outbox import Heard, Outgoing
from alerting.signal import Act, Signal
from alerting.stages import RECORD_ONLY, by_hours, unrouted
from alerting.store import Change
from alerting.wave import Match
from milepost.calendar import Calendar
from milepost.catalog.policy import Policy
from milepost.catalog.routing import Routing
from milepost.db.engine import transaction_lock

LOCK: Final = "alerting.pipeline"
SIGNALS: Final = 5_000
"""So many signals a step takes at most."""
SETTLE: Final = timedelta(hours=1)
"""An alert that fires again so soon after its end is the same one, reopened; later it is a new one."""


def step(
    engine: sa.Engine,
    routing: Routing,
    *,
    stages: Sequence[Stage] = (),
    calendars: Mapping[str, Calendar] | None = None,
    policies: Sequence[Policy] = (),
    now: datetime,
    public_url: str,
) -> bool:
    """Take waiting signals, what comes out of hiding, and updates that are due. Did it find work? Another process at
    it: no.

    `stages` keep things from being told, in their order. `calendars`: those that `routing` names, by name.
    `policies` are those of the catalog. `public_url` is where people reach Milepost, for the links.
    """
    with engine.begin() as connection:
        if not transaction_lock(connection, LOCK):
            return False
        desk = overrides.desk(connection, routing, calendars or {}, now)
        taken = commands.take(connection, SIGNALS)
        cases = _cases(connection, taken, routing.groups_at_once, now) if taken else []
        cases = _judged(connection, cases, [RECORD_ONLY, *stages, by_hours(desk), unrouted(desk)], now)
        cases = _hushed(connection, [*cases, *_due(connection, cases, now)], stages, now)
        hushed = any(stage.quiet for stage in stages)
        _finish(connection, cases, Speaker(desk, public_url, wave.matches(policies), hushed))
        if taken:
            commands.handled(connection, taken, now=now)
        return bool(cases) or taken is not None


# --- what happened ----------------------------------------------------------------------------------------------------


def _cases(connection: sa.Connection, taken: commands.Taken, at_once: int, now: datetime) -> list[Case]:
    if taken.act is not None:
        return _obey(connection, taken.act, now)
    return _batches(connection, taken.signals, at_once, now)


def _due(connection: sa.Connection, cases: Iterable[Case], now: datetime) -> list[Case]:
    known = {case.alert.alert_id for case in cases}
    return [Case(alert, alert) for alert in store.due(connection, now) if alert.alert_id not in known]


def _obey(connection: sa.Connection, act: Act, now: datetime) -> list[Case]:
    before = store.get(connection, act.alert_id)
    if before is None:
        return []
    alert, happened = lifecycle.obey(before, act, now)
    if "resolved" in happened:
        why = f"resolved by {act.actor}" + (f" ({act.reason})" if act.reason else "")
        store.end_all(connection, act.alert_id, why, now)
        hidden.cleared_all(connection, act.alert_id, now)
    return [Case(before, alert, act=act, happened=happened)] if happened else []


def _batches(connection: sa.Connection, signals: Sequence[Signal], at_once: int, now: datetime) -> list[Case]:
    held = store.open_items(connection, {of(signal) for signal in signals for of in (group.identify, group.ancestor)})
    fresh = [signal for signal in signals if not {group.identify(signal), group.ancestor(signal)} & held.keys()]
    batches = group.fold(signals, held, group.together(fresh, store.standing(connection, fresh, now), at_once))
    stored = store.by_key(connection, batches.keys(), resolved_after=now - SETTLE)
    new = [lifecycle.opened(key, batch.seed, now) for key, batch in batches.items() if key not in stored]
    ids = store.add(connection, new)
    current = {
        **stored,
        **{alert.key: replace(alert, alert_id=number) for alert, number in zip(new, ids, strict=True)},
    }
    store.save_items(connection, {current[key].alert_id: batch for key, batch in batches.items()}, now)
    for key, batch in batches.items():
        heirs = {item: former for item, former in batch.heirs.items() if batch.raised[item].ended is None}
        hidden.inherit(connection, current[key].alert_id, heirs, now)
    return [Case(stored.get(key), current[key], batch) for key, batch in batches.items()]


# --- what is kept from people -----------------------------------------------------------------------------------------


def _judged(connection: sa.Connection, cases: list[Case], stages: Sequence[Stage], now: datetime) -> list[Case]:
    """The cases with what is to be told of each; further ones for what comes out of hiding. Silences are judged here,
    before anything is said."""
    raised = {one.place: one for case in cases for one in _raised(case, now)}
    again = [*hidden.due(connection, now), *hidden.waiting(connection, {place[0] for place in raised}, "threshold")]
    sources, over = inhibit.turned((case.alert.alert_id, case.batch) for case in cases)
    over |= {case.alert.alert_id for case in cases if case.act is not None and "resolved" in case.happened}
    again += hidden.of_feeds(connection, sources, over)
    ended = {(case.alert.alert_id, item) for case in cases if case.batch for item in case.batch.ended}
    held = hidden.still_hidden(connection, raised.keys() | ended)
    before = {one.place for one in again} | held.keys()
    raised = {place: replace(one, held=held.get(place)) for place, one in raised.items()}
    candidates = {one.place: one for one in again if one.place not in ended} | raised
    verdict = hiding.judge(connection, stages, list(candidates.values()), now)
    new = before | {(case.alert.alert_id, item) for case in cases if case.batch for item in case.batch.fresh}
    hidden.cleared(connection, before & ended, now)
    hidden.release(connection, before & {one.place for one in verdict.loud}, now)
    kept = {place: why for place, why in verdict.kept.items() if place in new}
    anew = hidden.hide(connection, kept, {place: candidates[place].signal.severity for place in kept}, now)
    explaining = {why.by_id for why in anew if why.explained and why.by_id is not None}
    return _with_loud(connection, cases, verdict.loud, new, before, explaining)


def _raised(case: Case, now: datetime) -> Iterable[Candidate]:
    """What a batch raised, and is still wrong. An heir is hidden as what it goes on with was, or known."""
    if case.batch is None:
        return
    alert = case.alert
    for item in case.batch.raised.values():
        if item.ended is None and item.signal.item not in case.batch.heirs:
            labels = route.labels_of(item.signal, {**item.signal.group, **alert.group})
            yield Candidate(alert.alert_id, alert.key, item.signal, labels, raised_at=now)


def _with_loud(
    connection: sa.Connection,
    cases: list[Case],
    loud: Sequence[Candidate],
    new: set[Place],
    before: set[Place],
    explaining: set[int],
) -> list[Case]:
    """`explaining`: the alerts that explain more than before, which is news of them."""
    by_alert: defaultdict[int, list[Candidate]] = defaultdict(list)
    for one in loud:
        by_alert[one.alert_id].append(one)
    known = {case.alert.alert_id for case in cases}
    out = [Case(alert, alert) for alert in store.get_all(connection, (by_alert.keys() | explaining) - known)]
    found = []
    for case in [*cases, *out]:
        its = by_alert[case.alert.alert_id]
        news = _is_news(case, its, new, before) or case.alert.alert_id in explaining
        found.append(replace(case, loud=its, news=news))
    return found


def _is_news(case: Case, loud: Sequence[Candidate], new: set[Place], before: set[Place]) -> bool:
    """Something to be told is new, or something that was told is over."""
    over = case.batch.over if case.batch else ()
    return any(one.place in new for one in loud) or any((case.alert.alert_id, item) not in before for item in over)


def _hushed(connection: sa.Connection, cases: Sequence[Case], stages: Sequence[Stage], now: datetime) -> list[Case]:
    """The cases with until when they are quiet. What is loud is not: it was let pass."""
    could_speak = [case.alert.alert_id for case in cases if not case.loud and case.act is None]
    until = hiding.quiet(connection, stages, could_speak, now)
    return [replace(case, quiet_until=until.get(case.alert.alert_id)) for case in cases]


# --- what becomes of it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Speaker:
    """What is needed to put an alert into words and on its way. `hushed`: some alerts may be quiet for a while."""

    desk: Desk
    public_url: str
    matches: Mapping[str, Match]
    hushed: bool = False

    @property
    def now(self) -> datetime:
        return self.desk.now

    @property
    def interval(self) -> timedelta:
        return timedelta(microseconds=self.desk.routing.group_interval.us)


@dataclass(frozen=True, slots=True)
class Spoken:
    """An alert once it has spoken, what it says, and what there is to remember of who hears it."""

    alert: Alert
    outgoing: Sequence[Outgoing] = ()
    notes: Sequence[Change] = ()


def _finish(connection: sa.Connection, cases: Collection[Case], speaker: Speaker) -> None:
    """Count, advance, route, limit, write."""
    ids = [case.alert.alert_id for case in cases]
    if not ids:
        return
    totals, heard = store.totals(connection, ids), outbox.heard(connection, ids)
    explained = inhibit_store.explained(connection, ids, speaker.now)
    done = [
        _advance(connection, case, totals[case.alert.alert_id], explained.get(case.alert.alert_id), speaker)
        for case in cases
    ]
    spoken: list[Alert] = []
    changes: list[Change] = []
    for case in done:
        said = _speak(connection, case, totals[case.alert.alert_id], heard[case.alert.alert_id], speaker)
        outbox.put(connection, said.outgoing, speaker.now)
        spoken.append(said.alert)
        changes += [*changes_of(case, speaker.now), *said.notes]
    store.save(connection, spoken)
    store.add_changes(connection, changes)


def _advance(
    connection: sa.Connection, case: Case, totals: Totals, explained: Explained | None, speaker: Speaker
) -> Case:
    alert, happened, now = case.alert, case.happened, speaker.now
    if case.batch is not None:
        before = case.before.state if case.before else None
        wider = not case.batch.groups <= set(alert.folded or ())
        state, happened = lifecycle.follow(before, added=case.batch.added, items_open=totals.items_open, wider=wider)
        alert = lifecycle.enter(lifecycle.take_in(alert, case.batch.groups), state, case.batch.severity, now)
    turned = case.before is None or case.before.state != alert.state
    if turned or case.batch is None or outdated(lifecycle.known(alert), totals, now - speaker.interval):
        alert = lifecycle.know(
            alert, wave.findings(connection, alert, totals, speaker.matches.get(alert.rule, {}), now)
        )
    alert = lifecycle.count(alert, totals, now)
    if explained is not None:
        words = inhibit.words(explained, over=alert.state == "resolved")
        alert = replace(alert, summary=f"{alert.summary} {words}")
    return replace(case, alert=alert, happened=happened)


def _speak(connection: sa.Connection, case: Case, totals: Totals, heard: Heard, speaker: Speaker) -> Spoken:
    desk, way = speaker.desk, route.way_of_all(speaker.desk, [one.labels for one in case.loud])
    quiet = case.quiet_until is not None and case.alert.state != "resolved"
    state, rungs = escalate.advance(case.alert.escalation, desk, way, of=case.alert.state, quiet=quiet)
    alert = replace(
        case.alert,
        escalation=escalate.write(state),
        escalate_at=escalate.look_at(state, desk, can_be_silenced=speaker.hushed),
    )
    if quiet:
        return Spoken(_hush(case, alert, speaker))
    told = {channel: last for channel, last in heard.told.items() if desk.knows(channel)}
    verdict = limit.speak(
        alert.state,
        told,
        routed=[channel for channel in route.channels(desk, way.taken) if channel not in heard.muted],
        worth_telling=case.news,
        worse=case.worse,
        acknowledged="acknowledged" in case.happened,
        next_update_at=alert.next_update_at,
        interval=speaker.interval,
        now=speaker.now,
    )
    alert = replace(alert, next_update_at=verdict.next_update_at, told_severity=case.told)
    louder = escalate.events(rungs, desk, told, heard.muted)
    events: dict[str, limit.Event] = {**louder, **verdict.events, **escalate.again(louder, verdict.events)}
    if not events:
        return Spoken(alert)
    opened = wave.Opened(alert.alert_id, alert.opened_at, alert.kind, alert.rule, lifecycle.known(alert).values)
    related = wave.related(connection, opened, speaker.public_url)
    items = store.oldest(connection, alert.alert_id, only_open=totals.items_open > 0)
    outgoing = [
        _outgoing(channel, event, alert, totals, items, related, speaker, escalated=channel in louder)
        for channel, event in events.items()
    ]
    return Spoken(alert, outgoing, notes(alert, way, rungs, events, desk))


def _hush(case: Case, alert: Alert, speaker: Speaker) -> Alert:
    """Nothing is told now: news wait until it may be."""
    assert case.quiet_until is not None
    waits = alert.next_update_at is not None or (case.news and alert.state == "firing")
    later = min(case.quiet_until, speaker.now + speaker.interval)  # it may be ended before its time
    return replace(alert, next_update_at=later if waits else None)


def _outgoing(
    channel: str,
    event: limit.Event,
    alert: Alert,
    totals: Totals,
    items: list[message.ItemView],
    related: Sequence[message.Related],
    speaker: Speaker,
    *,
    escalated: bool,
) -> Outgoing:
    """The message for one channel. Its id tells installations apart too: the alert's opening time is part of it."""
    place = (alert.opened_at.isoformat(), alert.alert_id, channel)
    thread = message.message_id(*place, "opened")
    own = thread if event == "opened" else message.message_id(*place, event, speaker.now.isoformat())
    body = message.compose(
        event, alert, totals, items, public_url=speaker.public_url, thread=thread, at=speaker.now, related=related
    )
    if escalated:  # also where it is the first that the channel hears
        body = message.headed(body, "escalated", totals)
    return Outgoing(channel, own, body)
