"""How an analyst would stitch a finished log of orders: with pandas, polars or DuckDB.

Each reads the log (one CloudEvent a line) and answers members and milestones of all journeys. They know what this log
needs of the rules, and no more: repeats are dropped by source and id; an event that names two objects relates them; an
order holds what is related to it, directly or through its picking, and the correlation id that names it alone; a
milestone counts from the first event about a member, or, where all members of a type must have it, from the last one's
first. Keys are one string each, all events have outcome ok, nothing is junk, nothing is cancelled, and nobody decided
anything. What belongs to an order is worked out once, for the finished log: a late event means to do it all again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

KEYS: Final = ("order", "channel_order", "picking", "shipment", "invoice")


class Rule(NamedTuple):
    """An event type about a subject reaches a milestone of a model; `every`: once all members of this type have it."""

    model: str
    name: str
    event: str
    subject: str
    every: str


Member = tuple[str, str, str, str]  # model, root key, type, key
Reached = tuple[str, str, str, int]  # model, root key, milestone, microseconds since 1970
Stitched = tuple[list[Member], list[Reached]]


# --- DuckDB -----------------------------------------------------------------------------------------------------------

_COLUMNS: Final = (
    "{id: 'VARCHAR', source: 'VARCHAR', type: 'VARCHAR', time: 'TIMESTAMPTZ', correlationid: 'VARCHAR',"
    ' data: \'STRUCT(keys STRUCT("order" VARCHAR, channel_order VARCHAR, picking VARCHAR, shipment VARCHAR,'
    " invoice VARCHAR))'}"
)
_SQL: Final = f"""
    CREATE TABLE log AS
        SELECT DISTINCT ON (source, id) type, epoch_us(time) AS us, correlationid AS correlation, data.keys AS keys,
               split_part(type, '.', 1) AS kind
        FROM read_json($log, format = 'newline_delimited', columns = {_COLUMNS});
    CREATE TABLE named AS
        SELECT DISTINCT correlation, keys.order AS root FROM log
        WHERE correlation IS NOT NULL AND keys.order IS NOT NULL;
    CREATE TABLE members AS
        SELECT DISTINCT 'order' AS model, keys.order AS root, 'order' AS kind, keys.order AS key
        FROM log WHERE keys.order IS NOT NULL
        UNION {
    " UNION ".join(
        f"SELECT 'order', keys.order, '{name}', keys.{name} FROM log"
        f" WHERE keys.order IS NOT NULL AND keys.{name} IS NOT NULL"
        for name in KEYS[1:]
    )
}
        UNION SELECT 'order', o.keys.order, 'shipment', s.keys.shipment FROM log AS o
              JOIN log AS s ON s.keys.picking = o.keys.picking
              WHERE o.keys.order IS NOT NULL AND s.keys.shipment IS NOT NULL
        UNION SELECT 'order', any_value(root), 'correlation', correlation FROM named
              GROUP BY correlation HAVING count(*) = 1
        UNION SELECT 'shipment', keys.shipment, 'shipment', keys.shipment FROM log WHERE keys.shipment IS NOT NULL;
    CREATE TABLE told AS
        SELECT type, kind, CASE kind {" ".join(f"WHEN '{name}' THEN keys.{name}" for name in KEYS)} END AS key,
               min(us) AS us
        FROM log GROUP BY ALL;
    CREATE TABLE reached AS
        SELECT m.model, m.root, r.name, CASE r.every WHEN '' THEN min(t.us) ELSE max(t.us) END
        FROM members AS m JOIN rules AS r ON r.model = m.model AND r.subject = m.kind
        LEFT JOIN told AS t ON t.type = r.event AND t.kind = m.kind AND t.key = m.key
        GROUP BY m.model, m.root, r.name, r.every
        HAVING count(t.us) > 0 AND (r.every = '' OR count(t.us) = count(*));
"""


def duckdb(log: Path, rules: Sequence[Rule]) -> Stitched:
    import duckdb as db

    offline: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    with db.connect(config=offline) as connection:
        connection.execute("CREATE TABLE rules (model TEXT, name TEXT, event TEXT, subject TEXT, every TEXT)")
        connection.executemany("INSERT INTO rules VALUES (?, ?, ?, ?, ?)", [list(rule) for rule in rules])
        for statement in _SQL.split(";")[:-1]:
            connection.execute(statement, {"log": str(log)} if "$log" in statement else None)
        return (
            connection.execute("FROM members").fetchall(),
            connection.execute("FROM reached").fetchall(),
        )


# --- polars -----------------------------------------------------------------------------------------------------------


def polars(log: Path, rules: Sequence[Rule]) -> Stitched:
    import polars as pl

    schema: dict[str, Any] = {
        "id": pl.String, "source": pl.String, "type": pl.String, "time": pl.String, "correlationid": pl.String,
        "data": pl.Struct({"keys": pl.Struct(dict.fromkeys(KEYS, pl.String))}),
    }  # fmt: skip
    events = (
        pl.scan_ndjson(log, schema=schema)
        .unique(["source", "id"], keep="any")
        .select(
            "type",
            pl.col("type").str.split(".").list.first().alias("kind"),
            pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us").cast(pl.Int64).alias("at"),
            pl.col("correlationid").alias("correlation"),
            pl.col("data").struct.field("keys").struct.unnest(),
        )
        .collect()
    )

    def pairs(one: str, other: str) -> pl.DataFrame:
        return events.select(root=one, key=other).drop_nulls().unique()

    def as_members(frame: pl.DataFrame, model: str, kind: str) -> pl.DataFrame:
        return frame.select(pl.lit(model).alias("model"), "root", pl.lit(kind).alias("kind"), "key")

    through = pairs("order", "picking").join(pairs("picking", "shipment"), left_on="key", right_on="root")
    named = pairs("correlation", "order").filter(pl.len().over("root") == 1)
    members = pl.concat(
        [
            *(as_members(pairs("order", kind), "order", kind) for kind in KEYS),
            as_members(through.select("root", key="key_right"), "order", "shipment"),
            as_members(named.select(root="key", key="root"), "order", "correlation"),
            as_members(pairs("shipment", "shipment"), "shipment", "shipment"),
        ]
    ).unique()
    about = pl.coalesce(pl.when(pl.col("kind") == kind).then(pl.col(kind)) for kind in KEYS)
    told = events.group_by("type", "kind", about.alias("key")).agg(pl.col("at").min())
    table = pl.DataFrame(rules, schema=list(Rule._fields), orient="row")
    reached = (
        members.join(table, left_on=["model", "kind"], right_on=["model", "subject"])
        .join(told, left_on=["event", "kind", "key"], right_on=["type", "kind", "key"], how="left")
        .group_by("model", "root", "name", "every")
        .agg(first=pl.col("at").min(), last=pl.col("at").max(), have=pl.col("at").count(), all=pl.len())
        .filter((pl.col("have") > 0) & ((pl.col("every") == "") | (pl.col("have") == pl.col("all"))))
        .select("model", "root", "name", pl.when(pl.col("every") == "").then("first").otherwise("last"))
    )
    return members.rows(), reached.rows()


# --- pandas -----------------------------------------------------------------------------------------------------------


def pandas(log: Path, rules: Sequence[Rule]) -> Stitched:
    import pandas as pd

    with log.open("rb") as lines:
        rows = [_flat(json.loads(line)) for line in lines]
    events = pd.DataFrame(rows, columns=["id", "source", "type", "time", "correlation", *KEYS])
    events = events.drop_duplicates(["source", "id"])
    events["at"] = pd.to_datetime(events["time"], format="ISO8601").astype("datetime64[us, UTC]").astype("int64")
    events["kind"] = events["type"].str.split(".").str[0]

    def pairs(one: str, other: str) -> pd.DataFrame:
        columns = [one] if one == other else [one, other]
        found = events[columns].dropna().drop_duplicates()
        return pd.DataFrame({"root": found[one], "key": found[other]})

    through = pairs("order", "picking").merge(pairs("picking", "shipment"), left_on="key", right_on="root")
    named = pairs("correlation", "order")
    named = named[~named["root"].duplicated(keep=False)]
    members = pd.concat(
        [
            *(pairs("order", kind).assign(model="order", kind=kind) for kind in KEYS),
            pd.DataFrame({"root": through["root_x"], "key": through["key_y"]}).assign(model="order", kind="shipment"),
            pd.DataFrame({"root": named["key"], "key": named["root"]}).assign(model="order", kind="correlation"),
            pairs("shipment", "shipment").assign(model="shipment", kind="shipment"),
        ]
    )[["model", "root", "kind", "key"]].drop_duplicates()
    events["key"] = None
    for kind in KEYS:
        events["key"] = events["key"].where(events["kind"] != kind, events[kind])
    told = events.groupby(["type", "kind", "key"], as_index=False, sort=False)["at"].min()
    table = pd.DataFrame(rules, columns=list(Rule._fields))
    joined = members.merge(table, left_on=["model", "kind"], right_on=["model", "subject"]).merge(
        told, how="left", left_on=["event", "kind", "key"], right_on=["type", "kind", "key"]
    )
    grouped = joined.groupby(["model", "root", "name", "every"], sort=False)["at"]
    found = grouped.agg(["min", "max", "count", "size"]).reset_index()
    plain = found["every"] == ""
    found = found[(found["count"] > 0) & (plain | (found["count"] == found["size"]))]
    at = found["min"].where(found["every"] == "", found["max"]).astype("int64")
    reached = zip(found["model"], found["root"], found["name"], at, strict=True)
    return list(members.itertuples(index=False, name=None)), list(reached)


def _flat(event: dict[str, Any]) -> tuple[Any, ...]:
    keys = event["data"]["keys"]
    own = (event["id"], event["source"], event["type"], event["time"], event.get("correlationid"))
    return (*own, *(keys.get(name) for name in KEYS))


TOOLS: Final[Mapping[str, Callable[[Path, Sequence[Rule]], Stitched]]] = {
    "pandas": pandas,
    "polars": polars,
    "duckdb": duckdb,
}
