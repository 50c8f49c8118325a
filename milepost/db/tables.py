"""Every table, each with the one module that writes it.

Three schemas. `input`: what came from outside and what people decided. `derived`: what is computed from it and can be
written anew. `record`: what was known and said; never rebuilt, and rows are never deleted, except that what
reconciliations found goes with retention, and that what says how things are now (flow_states, reconciliation_days,
heartbeats) is replaced, and goes when there is nothing to say.

`info["partition_by"]` marks the tables that are split by receive time, and `info["order_by"]` gives the order of their
compressed rows (milepost/db/timescale.py knows how).
`info["writer"]` names the writing module.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB

NAMES = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "pk": "%(table_name)s_pkey",
}
metadata = MetaData(naming_convention=NAMES)

TIME = DateTime(timezone=True)
MONEY = Numeric(18, 4)
KEY = Text(collation="C")
"""Byte order, whatever the database's locale: only so does an index serve the search by the beginning of a key."""


def table(schema: str, name: str, writer: str, *items: Any, **options: Any) -> Table:
    """A table of `metadata` with its writing module in `info`."""
    info = {"writer": writer, **options.pop("info", {})}
    return Table(name, metadata, *items, schema=schema, info=info, **options)


def required(name: str, kind: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, nullable=False, **options)


def optional(name: str, kind: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, nullable=True, **options)


# --- input: the event log, events, identities -------------------------------------------------------------------------

object_ids = Sequence("object_ids", schema="input", metadata=metadata, cache=1)
"""Ids of objects and of correlations: one space, so that both can be members of a journey."""
event_numbers = Sequence("event_numbers", schema="input", metadata=metadata, cache=1)
journey_ids = Sequence("journey_ids", schema="input", metadata=metadata, cache=1)
"""Not among what is derived: a rebuild keeps the ids of journeys, and gives new ones none that was ever used."""

event_log = table(
    "input",
    "event_log",
    "milepost.inbox.log",
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    required("received_at", TIME),  # the oldest in the batch
    required("events", Integer),
    required("payload", LargeBinary),  # zstd of msgpack list[contract.Entry]
)

events = table(
    "input",
    "events",
    "correlator.record",
    required("event_no", BigInteger),
    required("received_at", TIME),
    required("occurred_at", TIME),
    optional("claimed_at", TIME),
    required("source", Text),
    required("event_id", Text),
    required("type", Text),
    required("outcome", Text),
    optional("code", Text),
    optional("correlation_id", Text),
    required("flags", Integer),  # milepost.journeystate.Flag
    required("body", JSON),  # the CloudEvent as it was sent
    Index("events_event_no_idx", "event_no"),
    # few, so that it costs nothing: what came with a time in the future (journeystate.Flag.CLOCK_SKEW)
    Index("events_skewed_idx", "event_no", postgresql_where=text("(flags & 2) <> 0")),
    # few likewise: what the objects that an event is about don't lead to (Flag.INDIRECT)
    Index("events_indirect_idx", "event_no", postgresql_where=text("(flags & 64) <> 0")),
    info={"partition_by": "received_at", "order_by": "event_no"},
)

event_object = table(
    "input",
    "event_object",
    "correlator.record",
    required("object_id", BigInteger),
    required("received_at", TIME),
    required("event_no", BigInteger),
    required("subject", Boolean),
    Index("event_object_object_id_received_at_idx", "object_id", "received_at"),
    info={"partition_by": "received_at", "order_by": "object_id, event_no"},
)

objects = table(
    "input",
    "objects",
    "milepost.inbox.objects",
    Column("object_id", BigInteger, primary_key=True, autoincrement=False),
    required("type", Text),
    required("namespace", Text),
    required("key", KEY),
    required("epoch", SmallInteger, server_default=text("0")),
    optional("since", TIME),  # of a later epoch that counts: the key names this object from then on
    # key first: the same index finds an object, and serves the search by any key
    UniqueConstraint("key", "type", "namespace", "epoch"),
    Index("objects_since_idx", "object_id", postgresql_where=text("since is not null")),
)

correlations = table(
    "input",
    "correlations",
    "milepost.inbox.objects",
    Column("object_id", BigInteger, primary_key=True, autoincrement=False),
    required("key", KEY, unique=True),
    required("created_at", TIME),
)

identity_generations = table(
    "input",
    "identity_generations",
    "milepost.inbox.identities",
    Column("generation", Integer, primary_key=True, autoincrement=False),
    required("created_at", TIME),
    optional("sealed_at", TIME),
    required("identities", BigInteger, server_default=text("0")),
    # each generation is a table input.identities_<n>(identity uuid primary key, content bigint)
)

quarantine = table(
    "input",
    "quarantine",
    "milepost.inbox.quarantine",
    Column("quarantine_id", BigInteger, Identity(always=True), primary_key=True),
    required("group_id", BigInteger),  # quarantine_groups: the same source, kind and rule
    required("received_at", TIME),  # when it came first: a replay keeps it
    required("source", Text),
    required("kind", Text),  # malformed | forbidden | mapping | conflict | failed
    required("way", Text),  # how the body is read again: events, json, recorder, touch, hook:<source> …
    required("reason", Text),
    optional("event_id", Text),
    required("body", LargeBinary),  # whole, as it came; never changed
    optional("context", JSONB),  # what the way needs beside the body
    optional("sender", Text),  # name of the key
    optional("key_id", Text),  # whose rights a replay has
    required("state", Text, server_default=text("'open'")),  # open | replayed | discarded
    optional("acted_at", TIME),  # the last replay or discard
    optional("acted_by", Text),
    optional("outcome", Text),  # of the last replay: accepted | duplicate | conflict | refused
    optional("note", Text),  # why it was discarded, or why the last replay did not pass
    Index("quarantine_group_id_idx", "group_id", "state", "quarantine_id"),
    Index("quarantine_source_idx", "source", "quarantine_id"),
    Index("quarantine_open_idx", "quarantine_id", postgresql_where=text("state = 'open'")),
    Index("quarantine_closed_idx", "acted_at", postgresql_where=text("state <> 'open'")),
)

quarantine_revisions = table(
    "input",
    "quarantine_revisions",
    "milepost.inbox.quarantine",
    required("quarantine_id", BigInteger),
    required("revision", Integer),  # from 1; the last one is what a replay reads
    required("at", TIME),
    required("actor", Text),
    required("body", LargeBinary),
    PrimaryKeyConstraint("quarantine_id", "revision"),
)

quarantine_groups = table(
    "input",
    "quarantine_groups",
    "milepost.inbox.quarantine",
    Column("group_id", BigInteger, Identity(always=True), primary_key=True),
    required("source", Text),
    required("kind", Text),
    required("rule", Text),  # the reason without its values
    required("first_at", TIME),
    required("last_at", TIME),
    required("open", BigInteger),  # rows of the quarantine by state
    required("replayed", BigInteger),
    required("discarded", BigInteger),
    required("repeated", BigInteger),  # refused and counted, but not kept: the same again within the hour,
    required("unkept", BigInteger),  # over the key's allowance,
    required("thinned", BigInteger),  # and taken out for want of room
    UniqueConstraint("source", "kind", "rule"),
    Index("quarantine_groups_last_at_idx", "last_at", "group_id"),
    Index("quarantine_groups_open_idx", "last_at", "group_id", postgresql_where=text("open > 0")),
    postgresql_with={"fillfactor": 80},
)

quarantine_hours = table(
    "input",
    "quarantine_hours",
    "milepost.inbox.quarantine",
    required("group_id", BigInteger),
    required("hour", TIME),  # of reception
    required("refused", BigInteger),  # kept or not
    PrimaryKeyConstraint("group_id", "hour"),
    Index("quarantine_hours_hour_idx", "hour"),
)

captures = table(
    "input",
    "captures",
    "milepost.inbox.captures",
    Column("capture_id", Text, primary_key=True),
    required("created_at", TIME),
    required("finished_at", TIME),
    required("sender", Text),  # name of the key: nobody else is told
    required("behaviour", Text),  # rollback | proceed
    required("errors", JSONB),  # list of problems; none: it succeeded
    Index("captures_created_at_idx", "created_at"),
)

pollers = table(
    "input",
    "pollers",
    "collector.odoo.store",
    Column("name", Text, primary_key=True),
    required("cursor", JSONB),
    optional("backfill", JSONB),  # how far history was read, beside the cursor of what is new
    required("polled_at", TIME),
    optional("error", Text),
    optional("failing_since", TIME),
)

polled_records = table(
    "input",
    "polled_records",
    "collector.odoo.store",
    required("poller", Text),
    required("model", Text),
    required("record_id", BigInteger),
    required("told", JSONB),  # what was last told of it: subject, key, state
    PrimaryKeyConstraint("poller", "model", "record_id"),
)

files = table(
    "input",
    "files",
    "collector.folders.store",
    # of watched folders: how far each was read
    Column("file_id", BigInteger, Identity(always=True), primary_key=True),
    required("source", Text),
    required("name", KEY),
    required("size", BigInteger),
    required("modified_ns", BigInteger),
    required("changed_ns", BigInteger),  # of the entry: one that is put back is another
    required("state", Text),  # reading | done | failed
    required("position", BigInteger),  # bytes that were taken in
    required("units", BigInteger),  # lines or interchanges of them
    required("accepted", BigInteger),
    required("refused", BigInteger),
    required("begun_at", TIME),
    optional("ended_at", TIME),
    optional("error", Text),  # the first reasons for which something was refused
    UniqueConstraint("source", "name", "size", "modified_ns", "changed_ns"),
)

folders = table(
    "input",
    "folders",
    "collector.folders.store",
    Column("source", Text, primary_key=True),
    required("looked_at", TIME),
    required("waiting", Integer),  # files that are there and not yet read
    optional("error", Text),
    optional("failing_since", TIME),
)

# --- input: people, keys, catalog, decisions --------------------------------------------------------------------------

api_keys = table(
    "input",
    "api_keys",
    "milepost.decisions.access",
    Column("key_id", Text, primary_key=True),  # public part, shown in lists
    required("secret_hash", LargeBinary),  # SHA-256 of the secret part (it is random: no stretching needed)
    required("name", Text),
    required("sources", JSONB),  # list of source patterns; the first without wildcard is the default source
    required("types", JSONB),  # list of event type patterns
    required("scopes", JSONB),  # list of milepost.auth.Scope
    required("created_at", TIME),
    required("created_by", Text),
    optional("expires_at", TIME),
    optional("revoked_at", TIME),
    optional("last_used_at", TIME),
    optional("successor", Text),  # the key that took its place, once rotated
)

users = table(
    "input",
    "users",
    "milepost.decisions.access",
    Column("user_id", BigInteger, Identity(always=True), primary_key=True),
    required("name", Text, unique=True),
    optional("password_hash", Text),  # argon2id
    required("role", Text),
    required("created_at", TIME),
    optional("disabled_at", TIME),
    optional("sessions_from", TIME),  # sessions begun before are over
    CheckConstraint("role in ('viewer', 'operator', 'analyst', 'admin')", name="role"),
)

login_tokens = table(
    "input",
    "login_tokens",
    "milepost.decisions.access",
    Column("token_hash", LargeBinary, primary_key=True),
    required("user_name", Text),
    required("expires_at", TIME),
    optional("used_at", TIME),
)

ended_sessions = table(
    "input",
    "ended_sessions",
    "milepost.decisions.access",
    Column("session_hash", LargeBinary, primary_key=True),  # of a session that was logged out
    required("expires_at", TIME),  # then the session ends by itself, and the row goes
)

catalog_versions = table(
    "input",
    "catalog_versions",
    "milepost.decisions.catalog",
    Column("version", Text, primary_key=True),  # hash of the canonical parsed form
    required("content", JSONB),  # {file name: YAML text}
    required("applied_at", TIME),
    required("applied_by", Text),
    required("active", Boolean),
    Index(
        "catalog_versions_active_idx",
        "active",
        unique=True,
        postgresql_where=text("active"),
    ),
)

audit = table(
    "input",
    "audit",
    "milepost.decisions.audit",
    Column("audit_id", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3, … without gaps
    required("at", TIME),
    required("actor", Text),
    required("action", Text),
    required("target", Text),
    required("detail", JSONB),
    required("previous", LargeBinary),  # `hash` of the row before
    required("hash", LargeBinary),  # of this row's content, `previous` included: milepost.decisions.audit
    Index("audit_at_idx", "at"),
)

decisions = table(
    "input",
    "decisions",
    "milepost.decisions.correlation",
    # what people decided about who belongs to whom; rows are only ever added: what was taken back has a row after it
    Column("decision_id", BigInteger, Identity(always=True), primary_key=True),
    required("at", TIME),
    required("actor", Text),
    required("act", Text),  # cut | exclude | merge | lift | split | reverse
    # cut: one end; exclude: the root; merge: which stays; lift: the hub; split: the key's first object
    optional("first_id", BigInteger),
    optional("second_id", BigInteger),
    optional("reverses", BigInteger, unique=True),
    optional("since", TIME),  # split: from when on the key names another object
    required("reason", Text),
)

oncall_overrides = table(
    "input",
    "oncall_overrides",
    "alerting.overrides",
    # who stands in for whose turn on call; rows are never deleted: an override ends, or is ended earlier
    Column("override_id", BigInteger, Identity(always=True), primary_key=True),
    required("rotation", Text),
    required("person", Text),
    required("since", TIME),
    required("until", TIME),
    required("reason", Text),
    required("created_at", TIME),
    required("created_by", Text),
    optional("ended_at", TIME),  # ended earlier than planned, or before it began, by
    optional("ended_by", Text),
    CheckConstraint("since < until", name="span"),
    Index("oncall_overrides_until_idx", "until"),
)

silences = table(
    "input",
    "silences",
    "alerting.silences",
    # what people keep from being told for a while; rows are never deleted: a silence ends, or is ended
    Column("silence_id", BigInteger, Identity(always=True), primary_key=True),
    required("matchers", JSONB),  # [{label, op, values}], all of which must match
    required("reason", Text),
    required("created_at", TIME),
    required("created_by", Text),
    required("starts_at", TIME),
    required("ends_at", TIME),  # as it was asked for
    optional("ended_at", TIME),  # ended earlier, by
    optional("ended_by", Text),
    optional("owner", Text),  # whom the reminder of its end is routed to
    optional("reminded_at", TIME),
    Index("silences_ends_at_idx", "ends_at"),
    Index("silences_ended_at_idx", "ended_at", postgresql_where=text("ended_at is not null")),
)

# --- input: what sources did (counted while recording) ----------------------------------------------------------------

source_stats = table(
    "input",
    "source_stats",
    "correlator.record",
    Column("source", Text, primary_key=True),
    required("events", BigInteger),
    required("duplicates", BigInteger),
    required("conflicts", BigInteger),
    required("skewed", BigInteger),
    required("first_received_at", TIME),
    required("last_received_at", TIME),
    required("last_occurred_at", TIME),
)

source_minutes = table(
    "input",
    "source_minutes",
    "correlator.record",
    required("source", Text),
    required("minute", TIME),  # of reception
    required("events", Integer),
    required("duplicates", Integer),
    required("conflicts", Integer),
    required("lag_us_sum", Numeric(24, 0)),  # receive time minus occurred time, summed
    required("lag_us_max", BigInteger),
    PrimaryKeyConstraint("source", "minute"),
    Index("source_minutes_minute_idx", "minute"),
)

volume_hours = table(
    "input",
    "volume_hours",
    "correlator.record",
    required("source", Text),
    required("type", Text),
    required("dimension", Text),  # "" for all, or "name=value" for a declared attribute (warehouse=north)
    required("hour", TIME),  # in which it occurred
    required("events", BigInteger),
    required("bad", BigInteger),  # outcome failed or rejected
    PrimaryKeyConstraint("source", "type", "dimension", "hour"),
    Index("volume_hours_hour_idx", "hour"),
)

# --- derived ----------------------------------------------------------------------------------------------------------

touches = table(
    "derived",
    "touches",
    "correlator.touches",
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    required("received_at", TIME),  # the oldest in the batch
    required("touches", Integer),
    required("payload", LargeBinary),  # zstd of msgpack, see correlator/touches.py
)

assembled = table(
    "derived",
    "assembled",
    "correlator.journeystore",
    # one row, locked by every step: with which catalog the journeys were put together, and whose caches are true
    Column("name", Text, primary_key=True),
    optional("catalog_version", Text),
    required("decision_id", BigInteger, server_default=text("0")),  # the last one that counts in them
    required("holder", Text),
)

hubs = table(
    "derived",
    "hubs",
    "correlator.hubs",
    # objects that more others of one type contain than the catalog's limit: they join nothing
    Column("object_id", BigInteger, primary_key=True, autoincrement=False),
    required("type", Text),
    required("key", Text),
    required("parent_type", Text),
    required("parents", Integer),  # when it was found
    required("sources", JSONB),  # {source: relations that its events prove}
    required("found_at", TIME),
)

relations = table(
    "derived",
    "relations",
    "correlator.store",
    # a co-mention or correlation has first_id < second_id; an explicit link has first_id = its parent
    required("first_id", BigInteger),
    required("second_id", BigInteger),
    required("rel", Text),  # mention | correlation | link:<rel>
    required("occurred_at", TIME),  # of the first proving event, minimum by (time, source, id)
    required("source", Text),
    required("event_id", Text),
    required("event_no", BigInteger),
    required("received_at", TIME),
    PrimaryKeyConstraint("first_id", "second_id", "rel"),
    Index("relations_second_id_idx", "second_id"),
)

object_states = table(
    "derived",
    "object_states",
    "correlator.journeystore",
    Column("object_id", BigInteger, primary_key=True, autoincrement=False),
    required("state", LargeBinary),  # journeystate.ObjectState
    postgresql_with={"fillfactor": 70},
)

LISTED = ["stage_rank", "channel", "warehouse", "carrier", "partner"]

journeys = table(
    "derived",
    "journeys",
    "correlator.journeystore",
    Column("journey_id", BigInteger, primary_key=True, autoincrement=False),
    required("model", Text),
    required("root_id", BigInteger),
    required("key", Text),
    required("namespace", Text),
    required("root_type", Text),
    required("state", Text),  # open | completed | cancelled
    optional("stage", Text),  # the highest milestone reached
    required("stage_rank", SmallInteger),  # -1 while none is reached
    required("started_at", TIME),
    required("last_at", TIME),
    required("progress_at", TIME),  # the last milestone's time, or the start
    required("first_received_at", TIME),
    required("last_received_at", TIME),
    optional("channel", Text),
    optional("warehouse", Text),
    optional("carrier", Text),
    optional("partner", Text),
    optional("amount", MONEY),
    optional("currency", Text),
    optional("completed_at", TIME),
    required("facts", LargeBinary),  # journeystate.JourneyFacts
    UniqueConstraint("model", "root_id"),
    Index("journeys_key_idx", "key"),
    # with what lists are filtered by: a value that few have is then looked for in the index alone
    *(
        Index(f"journeys_model_state_{name}_idx", "model", "state", name, "journey_id", postgresql_include=LISTED)
        for name in ("last_at", "started_at")
    ),
    postgresql_with={"fillfactor": 70},
)

members = table(
    "derived",
    "members",
    "correlator.journeystore",
    required("journey_id", BigInteger),
    required("object_id", BigInteger),
    optional("via_id", BigInteger),  # the member through which it was reached; null for the root
    required("depth", SmallInteger),
    PrimaryKeyConstraint("journey_id", "object_id"),
    Index("members_object_id_idx", "object_id"),
)

milestones = table(
    "derived",
    "milestones",
    "correlator.journeystore",
    required("journey_id", BigInteger),
    required("name", Text),
    required("rank", SmallInteger),
    required("reached_at", TIME),
    required("last_at", TIME),
    required("count", Integer),
    required("event_no", BigInteger),  # the evidence: (event_no, received_at)
    required("received_at", TIME),
    PrimaryKeyConstraint("journey_id", "name"),
    Index("milestones_name_reached_at_idx", "name", "reached_at"),
    postgresql_with={"fillfactor": 80},
)

exceptions = table(
    "derived",
    "exceptions",
    "correlator.exceptionstore",
    # what went wrong with an object, from when it opened to when it was resolved; merged objects by the name that stays
    required("object_id", BigInteger),
    required("type", Text),  # of the events that opened it
    required("number", Integer),  # 0, 1, 2 … of the object, in the order in which they were opened
    required("kind", Text),  # business | technical | held
    required("outcome", Text),  # what the last event says: outcome, code, source and reason
    optional("code", Text),
    required("source", Text),
    optional("reason", Text),
    required("count", Integer),  # events
    required("opened_at", TIME),
    required("last_at", TIME),
    optional("resolved_at", TIME),
    optional("resolved_by", Text),  # type of the event that did
    required("event_no", BigInteger),  # the opening event: (event_no, received_at)
    required("received_at", TIME),
    PrimaryKeyConstraint("object_id", "type", "number"),
    Index("exceptions_opened_at_idx", "opened_at", "object_id"),
    Index("exceptions_open_idx", "opened_at", "object_id", postgresql_where=text("resolved_at is null")),
)

running_clocks = table(
    "derived",
    "running_clocks",
    "sla.store",
    Column("journey_id", BigInteger, primary_key=True, autoincrement=False),
    optional("next_at", TIME),  # the least due or warn time of the running clocks
    required("at_risk", Boolean),  # a running clock has warned
    required("breached", Boolean),  # a running clock is past due
    required("clocks", LargeBinary),  # journeystate: list of running clocks
    Index(
        "running_clocks_next_at_idx",
        "next_at",
        postgresql_where=text("next_at is not null"),
    ),
    Index("running_clocks_breached_idx", "journey_id", postgresql_where=text("breached")),
    Index("running_clocks_at_risk_idx", "journey_id", postgresql_where=text("at_risk")),
    postgresql_with={"fillfactor": 70},
)

clocks = table(
    "derived",
    "clocks",
    "sla.store",
    # a clock is a row from when it warns, breaches or ends
    required("journey_id", BigInteger),
    required("policy", Text),
    required("subject_id", BigInteger),
    required("occurrence", Integer),
    required("policy_version", Text),
    required("state", Text),  # warned | breached | met | missed | late_known | retracted | stopped | absorbed
    required("started_at", TIME),
    optional("due_at", TIME),
    optional("stopped_at", TIME),
    PrimaryKeyConstraint("journey_id", "policy", "subject_id", "occurrence"),
    Index("clocks_policy_due_at_idx", "policy", "due_at"),
    Index("clocks_due_at_idx", "due_at"),
)

clock_hours = table(
    "derived",
    "clock_hours",
    "sla.attained",
    required("hour", TIME),  # in which they fell due
    required("policy", Text),  # "" says that the hour was counted
    required("group", Text),  # {dimension: value} that the policy groups by, as JSON
    required("clocks", BigInteger),  # those with an outcome
    required("misses", BigInteger),  # of them those not met in time
    required("late_known", BigInteger),  # of these those heard of when it was too late already
    required("counted_at", TIME),
    PrimaryKeyConstraint("hour", "policy", "group"),
)

objectives = table(
    "derived",
    "objectives",
    "sla.objective.store",
    # how each objective stands: of the policy as a whole, and of its groups with misses
    required("policy", Text),
    required("group", Text),  # {dimension: value} as JSON; {} for the whole
    required("at", TIME),  # the watermark it was judged at
    required("since", TIME),  # the window: from here
    required("until", TIME),  # to here; for a rolling one, the watermark
    required("target", Double),
    required("clocks", BigInteger),
    required("misses", BigInteger),
    required("allowed", Double),  # misses
    required("remaining", Double),  # share of the budget, 1 to 0
    optional("burn", Double),
    optional("exhausted_at", TIME),  # null: not before the window ends
    required("levels", JSONB),  # [{name, factor, long: {seconds, clocks, misses, burn}, short: {…}}]
    required("firing", JSONB),  # {level: when it was last seen to burn}
    PrimaryKeyConstraint("policy", "group"),
)

source_gaps = table(
    "derived",
    "source_gaps",
    "sla.flow.learn",
    # for how long a source is usually quiet (p99), by hour class; counted hourly
    required("source", Text),
    required("slot", SmallInteger),  # 0–23: hour (UTC) of a weekday, 24–47: of Saturday and Sunday
    required("seconds", Double),
    required("samples", Integer),  # minutes
    required("fitted_at", TIME),
    PrimaryKeyConstraint("source", "slot"),
)

tellers = table(
    "derived",
    "tellers",
    "sla.flow.learn",
    # which source tells a milestone; counted hourly
    required("model", Text),
    required("milestone", Text),
    required("dimension", Text),  # "" for whatever its attributes are, else the attribute that parts the sources
    required("value", Text),
    required("source", Text),
    required("fitted_at", TIME),
    PrimaryKeyConstraint("model", "milestone", "dimension", "value"),
)

baselines = table(
    "derived",
    "baselines",
    "anomaly.store",
    required("detector", Text),
    required("series", Text),  # source|type|dimension, or model|from|to|dimension
    required("slot", SmallInteger),  # hour of the week, -1 for all
    required("median", Double),
    required("mad", Double),
    required("samples", Integer),
    required("fitted_at", TIME),
    PrimaryKeyConstraint("detector", "series", "slot"),
)

anomaly_models = table(
    "derived",
    "anomaly_models",
    "anomaly.store",
    Column("name", Text, primary_key=True),
    required("fitted_at", TIME),
    required("samples", Integer),
    required("artifact", LargeBinary),
    required("detail", JSONB),
)

# --- record -----------------------------------------------------------------------------------------------------------

breaches = table(
    "record",
    "breaches",
    "sla.store",
    Column("breach_id", BigInteger, Identity(always=True), primary_key=True),
    # a clock's identity with the root object for the journey, so that a rebuild finds its breaches again
    required("model", Text),
    required("root_id", BigInteger),
    required("policy", Text),
    required("subject_id", BigInteger),
    required("occurrence", Integer),
    required("started_at", TIME),
    required("due_at", TIME),
    required("journey_id", BigInteger),
    required("policy_version", Text),
    required("severity", Text),
    required("late_known", Boolean),
    required("judged_at", TIME),  # the watermark it was judged at
    required("opened_at", TIME),  # when Milepost found it
    optional("ended_at", TIME),
    optional("end", Text),  # late | retracted | cancelled | absorbed | withdrawn
    optional("stopped_at", TIME),  # business time at which the milestone came
    required("evidence", JSONB),  # events by source and id, why in words, calendar
    required("dimensions", JSONB),
    optional("amount", MONEY),
    optional("currency", Text),
    UniqueConstraint("model", "root_id", "policy", "subject_id", "occurrence", "started_at", "due_at"),
    Index("breaches_open_idx", "policy", postgresql_where=text("ended_at is null")),
    Index("breaches_journey_id_idx", "journey_id"),
    Index("breaches_opened_at_idx", "opened_at"),
    Index("breaches_policy_due_at_idx", "policy", "due_at", "breach_id"),
)

flow_states = table(
    "record",
    "flow_states",
    "sla.flow.store",
    # how the flows stand that a policy judges: what was measured at the last look
    required("policy", Text),
    required("item", Text),  # what is measured, canonical: {"source": …}; "" for the policy as a whole
    required("first_at", TIME),  # when it was looked at first
    required("judged_at", TIME),
    optional("heard_at", TIME),  # of a silence: when it spoke last
    optional("since", TIME),  # since when it is above its limit
    optional("value", Double),
    required("seen", JSONB),  # sla.flow.counts: what was counted, and what of it came in the window
    PrimaryKeyConstraint("policy", "item"),
    postgresql_with={"fillfactor": 70},
)

flow_breaches = table(
    "record",
    "flow_breaches",
    "sla.flow.store",
    Column("breach_id", BigInteger, Identity(always=True), primary_key=True),
    required("policy", Text),
    required("policy_version", Text),
    required("kind", Text),  # silence | rate | backlog
    required("item", Text),
    required("severity", Text),
    required("since", TIME),  # from when it counts as wrong
    required("judged_at", TIME),  # the watermark it was judged at
    required("opened_at", TIME),
    optional("ended_at", TIME),
    optional("end", Text),  # why: heard | below the limit | withdrawn
    required("dimensions", JSONB),  # source, type, warehouse …
    required("measured", JSONB),  # when it opened, and when it ended: what was measured, against which limit
    Index("flow_breaches_open_idx", "policy", "item", unique=True, postgresql_where=text("ended_at is null")),
    Index("flow_breaches_opened_at_idx", "opened_at"),
    Index("flow_breaches_ended_at_idx", "ended_at"),
)

signals = table(
    "record",
    "signals",
    "alerting.commands",
    # the way from what is wrong (sla, anomaly, Milepost itself) to alerts; consumed by alerting.pipeline
    Column("signal_id", BigInteger, Identity(always=True), primary_key=True),
    required("at", TIME),
    required("action", Text),  # raise | clear | acknowledge | resolve
    required("kind", Text),  # sla | anomaly | platform
    required("rule", Text),
    required("group", JSONB),  # values of the declared group_by
    required("item", Text),  # what is wrong, unique in (kind, rule): "breach:17"
    required("body", JSONB),
    optional("handled_at", TIME),
    Index(
        "signals_unhandled_idx",
        "signal_id",
        postgresql_where=text("handled_at is null"),
    ),
)

alerts = table(
    "record",
    "alerts",
    "alerting.store",
    Column("alert_id", BigInteger, Identity(always=True), primary_key=True),
    required("key", Text),  # kind, rule and group values, canonical
    required("kind", Text),
    required("rule", Text),
    required("group", JSONB),
    required("state", Text),  # firing | acknowledged | resolved
    required("severity", Text),
    required("title", Text),
    required("summary", Text),
    required("opened_at", TIME),
    required("updated_at", TIME),
    optional("acknowledged_at", TIME),
    optional("acknowledged_by", Text),
    optional("resolved_at", TIME),
    optional("resolved_by", Text),
    required("items_open", Integer),
    required("items_total", Integer),
    optional("oldest_at", TIME),
    required("money", JSONB),  # {currency: amount as text}
    required("labels", JSONB),
    optional("owner", Text),
    optional("runbook", Text),
    optional("next_update_at", TIME),  # group_interval: when the next update may go out
    optional("told_severity", Text),  # the highest that was told since it last fired; null: nobody was told
    optional("escalation", JSONB(none_as_null=True)),  # what is told and when, while nobody acknowledges
    optional("escalate_at", TIME),  # when it is looked at next
    required("findings", JSONB, server_default=text("'{}'")),  # explain.Findings: what explains it, what changed before
    optional("folded", JSONB),  # keys of the groups that it took in; null: it has a group of its own
    Index(
        "alerts_key_open_idx",
        "key",
        unique=True,
        postgresql_where=text("state <> 'resolved'"),
    ),
    Index("alerts_key_alert_id_idx", "key", "alert_id"),  # finds the one that is to reopen
    Index("alerts_opened_at_idx", "opened_at"),
    Index(
        "alerts_next_update_at_idx",
        "next_update_at",
        postgresql_where=text("next_update_at is not null"),
    ),
    Index("alerts_escalate_at_idx", "escalate_at", postgresql_where=text("escalate_at is not null")),
)

alert_items = table(
    "record",
    "alert_items",
    "alerting.store",
    required("alert_id", BigInteger),
    required("item", Text),
    required("at", TIME),  # since when it is wrong
    required("raised_at", TIME),
    optional("cleared_at", TIME),
    optional("cleared_why", Text),
    optional("journey_id", BigInteger),
    required("summary", Text),
    required("labels", JSONB),
    optional("amount", MONEY),
    optional("currency", Text),
    PrimaryKeyConstraint("alert_id", "item"),
    Index("alert_items_item_idx", "item"),
    Index("alert_items_journey_id_idx", "journey_id"),
    # what is stuck for want of a source (alerting.inhibit)
    Index(
        "alert_items_awaits_idx",
        text("(labels ->> 'awaits')"),
        postgresql_where=text("cleared_at is null and labels ? 'awaits'"),
    ),
)

alert_changes = table(
    "record",
    "alert_changes",
    "alerting.store",
    Column("change_id", BigInteger, Identity(always=True), primary_key=True),
    required("alert_id", BigInteger),
    required("at", TIME),
    required("what", Text),  # opened | reopened | updated | routed | escalated | acknowledged | retracted | resolved
    required("actor", Text),
    required("detail", JSONB),
    Index("alert_changes_alert_id_idx", "alert_id"),
)

alert_hidden = table(
    "record",
    "alert_hidden",
    "alerting.hidden",
    # what was kept from people, by whom and why; an open item that is not here was told, or had no news since
    Column("hidden_id", BigInteger, Identity(always=True), primary_key=True),
    required("alert_id", BigInteger),
    required("item", Text),
    required("stage", Text),  # record_only | threshold | inhibit | silence | hours
    optional("by_id", BigInteger),  # a silence; the alert that explains it
    required("by_name", Text),  # the silence, window, policy, route or source that keeps it
    required("reason", Text),  # in plain words
    required("severity", Text),  # as it was raised
    required("since", TIME),
    optional("until_at", TIME),  # when it comes out at the latest, as far as is known
    optional("look_at", TIME),  # when the stages judge it again; null: not by itself
    optional("told_at", TIME),  # when it came out, and was told as if new
    optional("ended_at", TIME),
    optional("end", Text),  # told | cleared | handed on (another stage or silence keeps it since)
    Index("alert_hidden_open_idx", "alert_id", "item", unique=True, postgresql_where=text("ended_at is null")),
    Index("alert_hidden_alert_id_idx", "alert_id", "hidden_id"),
    Index("alert_hidden_stage_by_name_hidden_id_idx", "stage", "by_name", "hidden_id"),
    Index("alert_hidden_silenced_idx", "by_id", postgresql_where=text("ended_at is null and stage = 'silence'")),
    Index("alert_hidden_explained_idx", "by_id", postgresql_where=text("ended_at is null and stage = 'inhibit'")),
    Index("alert_hidden_inhibited_idx", "by_name", postgresql_where=text("ended_at is null and stage = 'inhibit'")),
    Index(
        "alert_hidden_look_at_idx",
        "look_at",
        postgresql_where=text("ended_at is null and look_at is not null"),
    ),
)

notifications = table(
    "record",
    "notifications",
    "alerting.outbox",
    Column("notification_id", BigInteger, Identity(always=True), primary_key=True),
    required("alert_id", BigInteger),
    required("channel", Text),
    required("event", Text),  # opened | reopened | updated | escalated | acknowledged | resolved | digest
    required("message_id", Text, unique=True),  # idempotency key at the receiver
    required("body", JSONB),
    required("created_at", TIME),
    required("state", Text),  # pending | sending | sent | parked | dropped
    required("attempts", Integer, server_default=text("0")),
    required("next_attempt_at", TIME),
    optional("lease_until", TIME),
    optional("sent_at", TIME),
    optional("error", Text),
    optional("receipt", JSONB),  # what the notifier needs again for the alert's next message, such as Slack's ts
    Index(
        "notifications_due_idx",
        "next_attempt_at",
        postgresql_where=text("state in ('pending', 'sending')"),
    ),
    Index("notifications_alert_id_channel_idx", "alert_id", "channel", "notification_id"),
)

digests = table(
    "record",
    "digests",
    "alerting.digests",
    # one row for each period of a digest, so that it is sent once
    required("name", Text),
    required("due_at", TIME),
    required("made_at", TIME),
    required("sent", Boolean),  # false: there was nothing to say, or the digest was new
    PrimaryKeyConstraint("name", "due_at"),
)

channel_pace = table(
    "record",
    "channel_pace",
    "alerting.outbox",
    Column("channel", Text, primary_key=True),
    required("free_at", TIME),  # it gets no message before
    required("paced_at", TIME),  # when all that went would have gone at an even pace
)

anomalies = table(
    "record",
    "anomalies",
    "anomaly.store",
    Column("anomaly_id", BigInteger, Identity(always=True), primary_key=True),
    required("detector", Text),
    required("series", Text),
    required("at", TIME),  # the hour, or the journey's end
    required("found_at", TIME),
    required("score", Double),
    optional("expected", Double),
    optional("observed", Double),
    required("severity", Text),
    required("reason", Text),  # in plain words
    required("labels", JSONB),
    optional("journey_id", BigInteger),
    optional("ended_at", TIME),
    UniqueConstraint("detector", "series", "at"),
    Index("anomalies_at_idx", "at"),
    Index("anomalies_journey_id_idx", "journey_id"),
)

reconciliation_runs = table(
    "record",
    "reconciliation_runs",
    "sla.reconciliation.store",
    Column("run_id", BigInteger, Identity(always=True), primary_key=True),
    required("name", Text),
    required("version", Text),  # hash of the definition
    required("at", TIME),
    required("since", TIME),  # objects first seen by a side from here on
    optional("until", TIME),  # up to here were compared; null: it failed
    required("scheduled", Boolean),  # over its usual window, not one that somebody asked for
    required("left_count", BigInteger),
    required("right_count", BigInteger),
    required("only_left", BigInteger),
    required("only_right", BigInteger),
    required("differing", BigInteger),
    required("excused", BigInteger),
    required("opened", BigInteger),  # discrepancies that are new, and that are gone
    required("closed", BigInteger),
    required("over", Boolean),  # a day is over its tolerance
    required("seconds", Double),
    optional("note", Text),  # whom it waits for, or why it failed
    Index("reconciliation_runs_name_idx", "name", "run_id"),
    Index("reconciliation_runs_at_idx", "at"),
)

reconciliation_days = table(
    "record",
    "reconciliation_days",
    "sla.reconciliation.store",
    # of each day what the last run over it found
    required("name", Text),
    required("day", Date),  # in the reconciliation's zone
    required("run_id", BigInteger),
    required("left_count", BigInteger),
    required("right_count", BigInteger),
    required("only_left", BigInteger),
    required("only_right", BigInteger),
    required("differing", BigInteger),
    required("excused", BigInteger),
    required("amounts", JSONB),  # {currency: [left, right]} as text
    required("judged", Boolean),  # false while a day that only totals are compared of is not over
    required("over", Boolean),
    optional("why", Text),
    PrimaryKeyConstraint("name", "day"),
    Index("reconciliation_days_day_idx", "day"),
)

discrepancies = table(
    "record",
    "discrepancies",
    "sla.reconciliation.store",
    Column("discrepancy_id", BigInteger, Identity(always=True), primary_key=True),
    required("name", Text),  # of the reconciliation
    required("version", Text),
    required("kind", Text),  # missing_left | missing_right | amount
    required("object_id", BigInteger),  # of a match by journey, its root
    required("at", TIME),  # since when a side knows it
    required("day", Date),
    required("occurrence", Integer),  # 1 the first time that this kind is found of this object
    optional("left_amount", MONEY),
    optional("left_currency", Text),
    optional("right_amount", MONEY),
    optional("right_currency", Text),
    required("found_at", TIME),
    required("run_id", BigInteger),
    optional("gone_at", TIME),
    optional("why", Text),  # matched | excused | withdrawn
    Index("discrepancies_open_idx", "name", "object_id", "kind", unique=True, postgresql_where=text("gone_at is null")),
    Index("discrepancies_name_at_idx", "name", "at", "discrepancy_id"),
    Index("discrepancies_object_id_idx", "object_id"),
    Index("discrepancies_gone_at_idx", "gone_at"),
)


heartbeats = table(
    "record",
    "heartbeats",
    "milepost.inbox.heartbeats",
    Column("process", Text, primary_key=True),
    required("at", TIME),
    required("detail", JSONB),
)
