"""The first schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from milepost.db import timescale

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A table in use makes this fail soon, rather than everybody queue behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    timescale.prepare(op.get_bind())
    op.execute("CREATE SCHEMA IF NOT EXISTS derived")
    op.execute("CREATE SCHEMA IF NOT EXISTS record")
    op.execute("CREATE SEQUENCE input.event_numbers CACHE 1")
    op.execute("CREATE SEQUENCE input.journey_ids CACHE 1")
    op.execute("CREATE SEQUENCE input.object_ids CACHE 1")
    op.create_table(
        "anomaly_models",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("fitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("artifact", sa.LargeBinary(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("anomaly_models_pkey")),
        schema="derived",
    )
    op.create_table(
        "assembled",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("catalog_version", sa.Text(), nullable=True),
        sa.Column("decision_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("assembled_pkey")),
        schema="derived",
    )
    op.create_table(
        "baselines",
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("median", sa.Double(), nullable=False),
        sa.Column("mad", sa.Double(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("fitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("detector", "series", "slot", name=op.f("baselines_pkey")),
        schema="derived",
    )
    op.create_table(
        "clock_hours",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("clocks", sa.BigInteger(), nullable=False),
        sa.Column("misses", sa.BigInteger(), nullable=False),
        sa.Column("late_known", sa.BigInteger(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hour", "policy", "group", name=op.f("clock_hours_pkey")),
        schema="derived",
    )
    op.create_table(
        "clocks",
        sa.Column("journey_id", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("occurrence", sa.Integer(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("journey_id", "policy", "subject_id", "occurrence", name=op.f("clocks_pkey")),
        schema="derived",
    )
    op.create_index("clocks_due_at_idx", "clocks", ["due_at"], unique=False, schema="derived")
    op.create_index("clocks_policy_due_at_idx", "clocks", ["policy", "due_at"], unique=False, schema="derived")
    op.create_table(
        "exceptions",
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("event_no", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("object_id", "type", "number", name=op.f("exceptions_pkey")),
        schema="derived",
    )
    op.create_index(
        "exceptions_open_idx",
        "exceptions",
        ["opened_at", "object_id"],
        unique=False,
        schema="derived",
        postgresql_where=sa.text("resolved_at is null"),
    )
    op.create_index(
        "exceptions_opened_at_idx", "exceptions", ["opened_at", "object_id"], unique=False, schema="derived"
    )
    op.create_table(
        "hubs",
        sa.Column("object_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("parent_type", sa.Text(), nullable=False),
        sa.Column("parents", sa.Integer(), nullable=False),
        sa.Column("sources", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("object_id", name=op.f("hubs_pkey")),
        schema="derived",
    )
    op.create_table(
        "journeys",
        sa.Column("journey_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("root_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("root_type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("stage_rank", sa.SmallInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("progress_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("warehouse", sa.Text(), nullable=True),
        sa.Column("carrier", sa.Text(), nullable=True),
        sa.Column("partner", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=18, scale=4), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("journey_id", name=op.f("journeys_pkey")),
        sa.UniqueConstraint("model", "root_id", name=op.f("journeys_model_root_id_key")),
        schema="derived",
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("journeys_key_idx", "journeys", ["key"], unique=False, schema="derived")
    op.create_index(
        "journeys_model_state_last_at_idx",
        "journeys",
        ["model", "state", "last_at", "journey_id"],
        unique=False,
        schema="derived",
        postgresql_include=["stage_rank", "channel", "warehouse", "carrier", "partner"],
    )
    op.create_index(
        "journeys_model_state_started_at_idx",
        "journeys",
        ["model", "state", "started_at", "journey_id"],
        unique=False,
        schema="derived",
        postgresql_include=["stage_rank", "channel", "warehouse", "carrier", "partner"],
    )
    op.create_table(
        "members",
        sa.Column("journey_id", sa.BigInteger(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("via_id", sa.BigInteger(), nullable=True),
        sa.Column("depth", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("journey_id", "object_id", name=op.f("members_pkey")),
        schema="derived",
    )
    op.create_index("members_object_id_idx", "members", ["object_id"], unique=False, schema="derived")
    op.create_table(
        "milestones",
        sa.Column("journey_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rank", sa.SmallInteger(), nullable=False),
        sa.Column("reached_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("event_no", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("journey_id", "name", name=op.f("milestones_pkey")),
        schema="derived",
        postgresql_with={"fillfactor": 80},
    )
    op.create_index(
        "milestones_name_reached_at_idx", "milestones", ["name", "reached_at"], unique=False, schema="derived"
    )
    op.create_table(
        "object_states",
        sa.Column("object_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("object_id", name=op.f("object_states_pkey")),
        schema="derived",
        postgresql_with={"fillfactor": 70},
    )
    op.create_table(
        "objectives",
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("target", sa.Double(), nullable=False),
        sa.Column("clocks", sa.BigInteger(), nullable=False),
        sa.Column("misses", sa.BigInteger(), nullable=False),
        sa.Column("allowed", sa.Double(), nullable=False),
        sa.Column("remaining", sa.Double(), nullable=False),
        sa.Column("burn", sa.Double(), nullable=True),
        sa.Column("exhausted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("levels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("firing", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("policy", "group", name=op.f("objectives_pkey")),
        schema="derived",
    )
    op.create_table(
        "relations",
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("second_id", sa.BigInteger(), nullable=False),
        sa.Column("rel", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("event_no", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("first_id", "second_id", "rel", name=op.f("relations_pkey")),
        schema="derived",
    )
    op.create_index("relations_second_id_idx", "relations", ["second_id"], unique=False, schema="derived")
    op.create_table(
        "running_clocks",
        sa.Column("journey_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("at_risk", sa.Boolean(), nullable=False),
        sa.Column("breached", sa.Boolean(), nullable=False),
        sa.Column("clocks", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("journey_id", name=op.f("running_clocks_pkey")),
        schema="derived",
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "running_clocks_at_risk_idx",
        "running_clocks",
        ["journey_id"],
        unique=False,
        schema="derived",
        postgresql_where=sa.text("at_risk"),
    )
    op.create_index(
        "running_clocks_breached_idx",
        "running_clocks",
        ["journey_id"],
        unique=False,
        schema="derived",
        postgresql_where=sa.text("breached"),
    )
    op.create_index(
        "running_clocks_next_at_idx",
        "running_clocks",
        ["next_at"],
        unique=False,
        schema="derived",
        postgresql_where=sa.text("next_at is not null"),
    )
    op.create_table(
        "source_gaps",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("fitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", "slot", name=op.f("source_gaps_pkey")),
        schema="derived",
    )
    op.create_table(
        "tellers",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("milestone", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("fitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model", "milestone", "dimension", "value", name=op.f("tellers_pkey")),
        schema="derived",
    )
    op.create_table(
        "touches",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("touches", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("touches_pkey")),
        schema="derived",
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sources", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("types", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("scopes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("successor", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("api_keys_pkey")),
        schema="input",
    )
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("audit_pkey")),
        schema="input",
    )
    op.create_index("audit_at_idx", "audit", ["at"], unique=False, schema="input")
    op.create_table(
        "captures",
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("behaviour", sa.Text(), nullable=False),
        sa.Column("errors", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("capture_id", name=op.f("captures_pkey")),
        schema="input",
    )
    op.create_index("captures_created_at_idx", "captures", ["created_at"], unique=False, schema="input")
    op.create_table(
        "catalog_versions",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_by", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("catalog_versions_pkey")),
        schema="input",
    )
    op.create_index(
        "catalog_versions_active_idx",
        "catalog_versions",
        ["active"],
        unique=True,
        schema="input",
        postgresql_where=sa.text("active"),
    )
    op.create_table(
        "correlations",
        sa.Column("object_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("object_id", name=op.f("correlations_pkey")),
        sa.UniqueConstraint("key", name=op.f("correlations_key_key")),
        schema="input",
    )
    op.create_table(
        "decisions",
        sa.Column("decision_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("first_id", sa.BigInteger(), nullable=True),
        sa.Column("second_id", sa.BigInteger(), nullable=True),
        sa.Column("reverses", sa.BigInteger(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("decisions_pkey")),
        sa.UniqueConstraint("reverses", name=op.f("decisions_reverses_key")),
        schema="input",
    )
    op.create_table(
        "ended_sessions",
        sa.Column("session_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_hash", name=op.f("ended_sessions_pkey")),
        schema="input",
    )
    op.create_table(
        "event_log",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("event_log_pkey")),
        schema="input",
    )
    op.create_table(
        "event_object",
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event_no", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Boolean(), nullable=False),
        schema="input",
        **timescale.partitioned(op.get_bind(), "received_at"),
    )
    timescale.spread(op.get_bind(), "input", "event_object", "received_at", "object_id, event_no")
    op.create_index(
        "event_object_object_id_received_at_idx",
        "event_object",
        ["object_id", "received_at"],
        unique=False,
        schema="input",
    )
    op.create_table(
        "events",
        sa.Column("event_no", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("correlation_id", sa.Text(), nullable=True),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.Column("body", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        schema="input",
        **timescale.partitioned(op.get_bind(), "received_at"),
    )
    timescale.spread(op.get_bind(), "input", "events", "received_at", "event_no")
    op.create_index("events_event_no_idx", "events", ["event_no"], unique=False, schema="input")
    op.create_index(
        "events_indirect_idx",
        "events",
        ["event_no"],
        unique=False,
        schema="input",
        postgresql_where=sa.text("(flags & 64) <> 0"),
    )
    op.create_index(
        "events_skewed_idx",
        "events",
        ["event_no"],
        unique=False,
        schema="input",
        postgresql_where=sa.text("(flags & 2) <> 0"),
    )
    op.create_table(
        "files",
        sa.Column("file_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified_ns", sa.BigInteger(), nullable=False),
        sa.Column("changed_ns", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("file_id", name=op.f("files_pkey")),
        sa.UniqueConstraint(
            "source",
            "name",
            "size",
            "modified_ns",
            "changed_ns",
            name=op.f("files_source_name_size_modified_ns_changed_ns_key"),
        ),
        schema="input",
    )
    op.create_table(
        "folders",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("source", name=op.f("folders_pkey")),
        schema="input",
    )
    op.create_table(
        "identity_generations",
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("identities", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("generation", name=op.f("identity_generations_pkey")),
        schema="input",
    )
    op.create_table(
        "login_tokens",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("login_tokens_pkey")),
        schema="input",
    )
    op.create_table(
        "objects",
        sa.Column("object_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("epoch", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("object_id", name=op.f("objects_pkey")),
        sa.UniqueConstraint("key", "type", "namespace", "epoch", name=op.f("objects_key_type_namespace_epoch_key")),
        schema="input",
    )
    op.create_index(
        "objects_since_idx",
        "objects",
        ["object_id"],
        unique=False,
        schema="input",
        postgresql_where=sa.text("since is not null"),
    )
    op.create_table(
        "oncall_overrides",
        sa.Column("override_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("rotation", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.CheckConstraint("since < until", name=op.f("oncall_overrides_span_check")),
        sa.PrimaryKeyConstraint("override_id", name=op.f("oncall_overrides_pkey")),
        schema="input",
    )
    op.create_index("oncall_overrides_until_idx", "oncall_overrides", ["until"], unique=False, schema="input")
    op.create_table(
        "polled_records",
        sa.Column("poller", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=False),
        sa.Column("told", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("poller", "model", "record_id", name=op.f("polled_records_pkey")),
        schema="input",
    )
    op.create_table(
        "pollers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cursor", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("backfill", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("polled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pollers_pkey")),
        schema="input",
    )
    op.create_table(
        "quarantine",
        sa.Column("quarantine_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("context", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("acted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acted_by", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("quarantine_id", name=op.f("quarantine_pkey")),
        schema="input",
    )
    op.create_index(
        "quarantine_closed_idx",
        "quarantine",
        ["acted_at"],
        unique=False,
        schema="input",
        postgresql_where=sa.text("state <> 'open'"),
    )
    op.create_index(
        "quarantine_group_id_idx", "quarantine", ["group_id", "state", "quarantine_id"], unique=False, schema="input"
    )
    op.create_index(
        "quarantine_open_idx",
        "quarantine",
        ["quarantine_id"],
        unique=False,
        schema="input",
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("quarantine_source_idx", "quarantine", ["source", "quarantine_id"], unique=False, schema="input")
    op.create_table(
        "quarantine_groups",
        sa.Column("group_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("open", sa.BigInteger(), nullable=False),
        sa.Column("replayed", sa.BigInteger(), nullable=False),
        sa.Column("discarded", sa.BigInteger(), nullable=False),
        sa.Column("repeated", sa.BigInteger(), nullable=False),
        sa.Column("unkept", sa.BigInteger(), nullable=False),
        sa.Column("thinned", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", name=op.f("quarantine_groups_pkey")),
        sa.UniqueConstraint("source", "kind", "rule", name=op.f("quarantine_groups_source_kind_rule_key")),
        schema="input",
        postgresql_with={"fillfactor": 80},
    )
    op.create_index(
        "quarantine_groups_last_at_idx", "quarantine_groups", ["last_at", "group_id"], unique=False, schema="input"
    )
    op.create_index(
        "quarantine_groups_open_idx",
        "quarantine_groups",
        ["last_at", "group_id"],
        unique=False,
        schema="input",
        postgresql_where=sa.text("open > 0"),
    )
    op.create_table(
        "quarantine_hours",
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "hour", name=op.f("quarantine_hours_pkey")),
        schema="input",
    )
    op.create_index("quarantine_hours_hour_idx", "quarantine_hours", ["hour"], unique=False, schema="input")
    op.create_table(
        "quarantine_revisions",
        sa.Column("quarantine_id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("quarantine_id", "revision", name=op.f("quarantine_revisions_pkey")),
        schema="input",
    )
    op.create_table(
        "silences",
        sa.Column("silence_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("matchers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("silence_id", name=op.f("silences_pkey")),
        schema="input",
    )
    op.create_index(
        "silences_ended_at_idx",
        "silences",
        ["ended_at"],
        unique=False,
        schema="input",
        postgresql_where=sa.text("ended_at is not null"),
    )
    op.create_index("silences_ends_at_idx", "silences", ["ends_at"], unique=False, schema="input")
    op.create_table(
        "source_minutes",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("conflicts", sa.Integer(), nullable=False),
        sa.Column("lag_us_sum", sa.Numeric(precision=24, scale=0), nullable=False),
        sa.Column("lag_us_max", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "minute", name=op.f("source_minutes_pkey")),
        schema="input",
    )
    op.create_index("source_minutes_minute_idx", "source_minutes", ["minute"], unique=False, schema="input")
    op.create_table(
        "source_stats",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.Column("conflicts", sa.BigInteger(), nullable=False),
        sa.Column("skewed", sa.BigInteger(), nullable=False),
        sa.Column("first_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("source_stats_pkey")),
        schema="input",
    )
    op.create_table(
        "users",
        sa.Column("user_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sessions_from", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role in ('viewer', 'operator', 'analyst', 'admin')", name=op.f("users_role_check")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("users_pkey")),
        sa.UniqueConstraint("name", name=op.f("users_name_key")),
        schema="input",
    )
    op.create_table(
        "volume_hours",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("bad", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "type", "dimension", "hour", name=op.f("volume_hours_pkey")),
        schema="input",
    )
    op.create_index("volume_hours_hour_idx", "volume_hours", ["hour"], unique=False, schema="input")
    op.create_table(
        "alert_changes",
        sa.Column("change_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("change_id", name=op.f("alert_changes_pkey")),
        schema="record",
    )
    op.create_index("alert_changes_alert_id_idx", "alert_changes", ["alert_id"], unique=False, schema="record")
    op.create_table(
        "alert_hidden",
        sa.Column("hidden_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("by_id", sa.BigInteger(), nullable=True),
        sa.Column("by_name", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("hidden_id", name=op.f("alert_hidden_pkey")),
        schema="record",
    )
    op.create_index(
        "alert_hidden_alert_id_idx", "alert_hidden", ["alert_id", "hidden_id"], unique=False, schema="record"
    )
    op.create_index(
        "alert_hidden_explained_idx",
        "alert_hidden",
        ["by_id"],
        unique=False,
        schema="record",
        postgresql_where=sa.text("ended_at is null and stage = 'inhibit'"),
    )
    op.create_index(
        "alert_hidden_inhibited_idx",
        "alert_hidden",
        ["by_name"],
        unique=False,
        schema="record",
        postgresql_where=sa.text("ended_at is null and stage = 'inhibit'"),
    )
    op.create_index(
        "alert_hidden_look_at_idx",
        "alert_hidden",
        ["look_at"],
        unique=False,
        schema="record",
        postgresql_where=sa.text("ended_at is null and look_at is not null"),
    )
    op.create_index(
        "alert_hidden_open_idx",
        "alert_hidden",
        ["alert_id", "item"],
        unique=True,
        schema="record",
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_index(
        "alert_hidden_silenced_idx",
        "alert_hidden",
        ["by_id"],
        unique=False,
        schema="record",
        postgresql_where=sa.text("ended_at is null and stage = 'silence'"),
    )
    op.create_index(
        "alert_hidden_stage_by_name_hidden_id_idx",
        "alert_hidden",
        ["stage", "by_name", "hidden_id"],
        unique=False,
        schema="record",
    )
    op.create_table(
        "alert_items",
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cleared_why", sa.Text(), nullable=True),
        sa.Column("journey_id", sa.BigInteger(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("amount", sa.Numeric(precision=18, scale=4), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("alert_id", "item", name=op.f("alert_items_pkey")),
        schema="record",
    )
    op.create_index(
        "alert_items_awaits_idx",
        "alert_items",
        [sa.literal_column("(labels ->> 'awaits')")],
        unique=False,
        schema="record",
        postgresql_where=sa.text("cleared_at is null and labels ? 'awaits'"),
    )
    op.create_index("alert_items_item_idx", "alert_items", ["item"], unique=False, schema="record")
    op.create_index("alert_items_journey_id_idx", "alert_items", ["journey_id"], unique=False, schema="record")
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("group", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("items_open", sa.Integer(), nullable=False),
        sa.Column("items_total", sa.Integer(), nullable=False),
        sa.Column("oldest_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("money", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("runbook", sa.Text(), nullable=True),
        sa.Column("next_update_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_severity", sa.Text(), nullable=True),
        sa.Column("escalation", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("escalate_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("findings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("folded", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("alerts_pkey")),
        schema="record",
    )
    op.create_index(
        "alerts_escalate_at_idx",
        "alerts",
        ["escalate_at"],
        unique=False,
        schema="record",
        postgresql_where=sa.text("escalate_at is not null"),
    )
    op.create_index("alerts_key_alert_id_idx", "alerts", ["key", "alert_id"], unique=False, schema="record")
    op.create_index(
        "alerts_key_open_idx",
        "alerts",
        ["key"],
        unique=True,
        schema="record",
        postgresql_where=sa.text("state <> 'resolved'"),
    )
    op.create_index(
        "alerts_next_update_at_idx",
        "alerts",
        ["next_update_at"],
        unique=False,
        schema="record",
        postgresql_where=sa.text("next_update_at is not null"),
    )
    op.create_index("alerts_opened_at_idx", "alerts", ["opened_at"], unique=False, schema="record")
    op.create_table(
        "anomalies",
        sa.Column("anomaly_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("expected", sa.Double(), nullable=True),
        sa.Column("observed", sa.Double(), nullable=True),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("journey_id", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("anomaly_id", name=op.f("anomalies_pkey")),
        sa.UniqueConstraint("detector", "series", "at", name=op.f("anomalies_detector_series_at_key")),
        schema="record",
    )
    op.create_index("anomalies_at_idx", "anomalies", ["at"], unique=False, schema="record")
    op.create_index("anomalies_journey_id_idx", "anomalies", ["journey_id"], unique=False, schema="record")
    op.create_table(
        "breaches",
        sa.Column("breach_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("root_id", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("occurrence", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("journey_id", sa.BigInteger(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("late_known", sa.Boolean(), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end", sa.Text(), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("dimensions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("amount", sa.Numeric(precision=18, scale=4), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("breach_id", name=op.f("breaches_pkey")),
        sa.UniqueConstraint(
            "model",
            "root_id",
            "policy",
            "subject_id",
            "occurrence",
            "started_at",
            "due_at",
            name=op.f("breaches_model_root_id_policy_subject_id_occurrence_started_at_due_at_key"),
        ),
        schema="record",
    )
    op.create_index("breaches_journey_id_idx", "breaches", ["journey_id"], unique=False, schema="record")
    op.create_index(
        "breaches_open_idx",
        "breaches",
        ["policy"],
        unique=False,
        schema="record",
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_index("breaches_opened_at_idx", "breaches", ["opened_at"], unique=False, schema="record")
    op.create_index(
        "breaches_policy_due_at_idx", "breaches", ["policy", "due_at", "breach_id"], unique=False, schema="record"
    )
    op.create_table(
        "channel_pace",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("free_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paced_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("channel", name=op.f("channel_pace_pkey")),
        schema="record",
    )
    op.create_table(
        "digests",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", "due_at", name=op.f("digests_pkey")),
        schema="record",
    )
    op.create_table(
        "discrepancies",
        sa.Column("discrepancy_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("occurrence", sa.Integer(), nullable=False),
        sa.Column("left_amount", sa.Numeric(precision=18, scale=4), nullable=True),
        sa.Column("left_currency", sa.Text(), nullable=True),
        sa.Column("right_amount", sa.Numeric(precision=18, scale=4), nullable=True),
        sa.Column("right_currency", sa.Text(), nullable=True),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("discrepancy_id", name=op.f("discrepancies_pkey")),
        schema="record",
    )
    op.create_index("discrepancies_gone_at_idx", "discrepancies", ["gone_at"], unique=False, schema="record")
    op.create_index(
        "discrepancies_name_at_idx", "discrepancies", ["name", "at", "discrepancy_id"], unique=False, schema="record"
    )
    op.create_index("discrepancies_object_id_idx", "discrepancies", ["object_id"], unique=False, schema="record")
    op.create_index(
        "discrepancies_open_idx",
        "discrepancies",
        ["name", "object_id", "kind"],
        unique=True,
        schema="record",
        postgresql_where=sa.text("gone_at is null"),
    )
    op.create_table(
        "flow_breaches",
        sa.Column("breach_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end", sa.Text(), nullable=True),
        sa.Column("dimensions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("measured", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("breach_id", name=op.f("flow_breaches_pkey")),
        schema="record",
    )
    op.create_index("flow_breaches_ended_at_idx", "flow_breaches", ["ended_at"], unique=False, schema="record")
    op.create_index(
        "flow_breaches_open_idx",
        "flow_breaches",
        ["policy", "item"],
        unique=True,
        schema="record",
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_index("flow_breaches_opened_at_idx", "flow_breaches", ["opened_at"], unique=False, schema="record")
    op.create_table(
        "flow_states",
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("seen", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("policy", "item", name=op.f("flow_states_pkey")),
        schema="record",
        postgresql_with={"fillfactor": 70},
    )
    op.create_table(
        "heartbeats",
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("process", name=op.f("heartbeats_pkey")),
        schema="record",
    )
    op.create_table(
        "notifications",
        sa.Column("notification_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("receipt", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("notifications_pkey")),
        sa.UniqueConstraint("message_id", name=op.f("notifications_message_id_key")),
        schema="record",
    )
    op.create_index(
        "notifications_alert_id_channel_idx",
        "notifications",
        ["alert_id", "channel", "notification_id"],
        unique=False,
        schema="record",
    )
    op.create_index(
        "notifications_due_idx",
        "notifications",
        ["next_attempt_at"],
        unique=False,
        schema="record",
        postgresql_where=sa.text("state in ('pending', 'sending')"),
    )
    op.create_table(
        "reconciliation_days",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("left_count", sa.BigInteger(), nullable=False),
        sa.Column("right_count", sa.BigInteger(), nullable=False),
        sa.Column("only_left", sa.BigInteger(), nullable=False),
        sa.Column("only_right", sa.BigInteger(), nullable=False),
        sa.Column("differing", sa.BigInteger(), nullable=False),
        sa.Column("excused", sa.BigInteger(), nullable=False),
        sa.Column("amounts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("judged", sa.Boolean(), nullable=False),
        sa.Column("over", sa.Boolean(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", "day", name=op.f("reconciliation_days_pkey")),
        schema="record",
    )
    op.create_index("reconciliation_days_day_idx", "reconciliation_days", ["day"], unique=False, schema="record")
    op.create_table(
        "reconciliation_runs",
        sa.Column("run_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("scheduled", sa.Boolean(), nullable=False),
        sa.Column("left_count", sa.BigInteger(), nullable=False),
        sa.Column("right_count", sa.BigInteger(), nullable=False),
        sa.Column("only_left", sa.BigInteger(), nullable=False),
        sa.Column("only_right", sa.BigInteger(), nullable=False),
        sa.Column("differing", sa.BigInteger(), nullable=False),
        sa.Column("excused", sa.BigInteger(), nullable=False),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.BigInteger(), nullable=False),
        sa.Column("over", sa.Boolean(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("reconciliation_runs_pkey")),
        schema="record",
    )
    op.create_index("reconciliation_runs_at_idx", "reconciliation_runs", ["at"], unique=False, schema="record")
    op.create_index(
        "reconciliation_runs_name_idx", "reconciliation_runs", ["name", "run_id"], unique=False, schema="record"
    )
    op.create_table(
        "signals",
        sa.Column("signal_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("group", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("handled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("signal_id", name=op.f("signals_pkey")),
        schema="record",
    )
    op.create_index(
        "signals_unhandled_idx",
        "signals",
        ["signal_id"],
        unique=False,
        schema="record",
        postgresql_where=sa.text("handled_at is null"),
    )
