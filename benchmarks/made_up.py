"""What SQL makes up beside the copied journeys: flags, breaches, alerts, anomalies, refusals, and counts per hour.

Parameters: `now`, and `span`, the time over which the events are spread.
"""

from __future__ import annotations

from typing import Final

FLAGS: Final = (
    "UPDATE derived.running_clocks AS c SET breached = c.journey_id % 50 = 0, at_risk = c.journey_id % 50 = 1"
    " FROM derived.journeys AS j WHERE j.journey_id = c.journey_id AND j.state = 'open'",
    "INSERT INTO record.breaches (model, root_id, policy, subject_id, occurrence, started_at, due_at, journey_id,"
    ' policy_version, severity, late_known, judged_at, opened_at, ended_at, "end", stopped_at, evidence, dimensions,'
    " amount, currency)"
    " SELECT j.model, j.root_id, 'order-confirmation', j.root_id, 0, j.started_at, j.started_at + interval '4 hours',"
    " j.journey_id, 'v', 'warning', false, j.started_at + interval '4 hours', j.started_at + interval '4 hours',"
    " CASE WHEN j.state <> 'open' THEN j.last_at END, CASE WHEN j.state <> 'open' THEN 'late' END,"
    " CASE WHEN j.state <> 'open' THEN j.last_at END, '{\"why\": \"order.confirmed was not seen in time\"}',"
    " jsonb_build_object('warehouse', j.warehouse), j.amount, j.currency"
    " FROM derived.journeys AS j WHERE j.model = 'order' AND j.journey_id % 50 = 0",
)
EXCEPTIONS: Final = (
    "INSERT INTO derived.exceptions (object_id, type, number, kind, outcome, code, source, reason, count, opened_at,"
    " last_at, resolved_at, resolved_by, event_no, received_at)"
    " SELECT j.root_id, 'message.failed', 0, (ARRAY['technical', 'business'])[1 + j.journey_id % 2], 'failed',"
    " 'E' || j.journey_id % 30, '/mw', 'could not be delivered', 1 + j.journey_id % 4, j.started_at, j.last_at,"
    " CASE WHEN j.state <> 'open' THEN j.last_at END, CASE WHEN j.state <> 'open' THEN 'message.delivered' END,"
    " m.event_no, m.received_at FROM derived.journeys AS j JOIN derived.milestones AS m ON m.journey_id = j.journey_id"
    " AND m.rank = 0 WHERE j.model = 'order' AND j.journey_id % 40 = 0",
)
ALERTS: Final = (
    'INSERT INTO record.alerts (key, kind, rule, "group", state, severity, title, summary, opened_at, updated_at,'
    " resolved_at, items_open, items_total, oldest_at, money, labels, owner)"
    " SELECT 'sla:rule-' || n, 'sla', 'order-confirmation', jsonb_build_object('warehouse', n::text),"
    " CASE WHEN n <= 200 THEN 'firing' ELSE 'resolved' END,"
    " (ARRAY['critical', 'warning', 'info'])[1 + n % 3], 'Order confirmation: late in warehouse ' || n,"
    " 'Orders that were not confirmed within four hours', %(now)s - n * interval '8 minutes',"
    " %(now)s - n * interval '7 minutes', CASE WHEN n > 200 THEN %(now)s - n * interval '7 minutes' END,"
    " CASE WHEN n <= 200 THEN 40 ELSE 0 END, 40, %(now)s - n * interval '9 minutes',"
    " '{\"EUR\": \"4936.00\"}', jsonb_build_object('warehouse', n::text), 'order desk'"
    " FROM generate_series(1, 5000) AS n",
    "INSERT INTO record.alert_items (alert_id, item, at, raised_at, cleared_at, journey_id, summary, labels, amount,"
    " currency)"
    " SELECT a.alert_id, 'breach:' || b.breach_id, b.due_at, b.opened_at, b.ended_at, b.journey_id,"
    " 'late since ' || b.due_at, b.dimensions, b.amount, b.currency FROM record.breaches AS b"
    " JOIN record.alerts AS a ON a.alert_id = 1 + b.breach_id %% 5000",
    "INSERT INTO record.alert_changes (alert_id, at, what, actor, detail) SELECT alert_id, opened_at, what, 'milepost',"
    " '{}' FROM record.alerts, unnest(ARRAY['opened', 'updated', 'updated', 'resolved']) AS what",
    "INSERT INTO record.notifications (alert_id, channel, event, message_id, body, created_at, state, attempts,"
    " next_attempt_at, sent_at) SELECT alert_id, channel, 'opened', 'm-' || alert_id || channel, '{}', opened_at,"
    " 'sent', 1, opened_at, opened_at FROM record.alerts, unnest(ARRAY['desk', 'mail']) AS channel",
    "INSERT INTO record.anomalies (detector, series, at, found_at, score, expected, observed, severity, reason, labels,"
    " journey_id) SELECT 'volume', 'odoo|order.confirmed|', %(now)s - n * interval '10 minutes', %(now)s, 6.5, 900, 12,"
    " 'warning', 'far fewer than usual', '{\"source\": \"odoo\"}', NULL FROM generate_series(1, 5000) AS n",
)
REFUSALS: Final = (
    "INSERT INTO input.quarantine_groups (source, kind, rule, first_at, last_at, open, replayed, discarded, repeated,"
    " unkept, thinned) SELECT '/wms/' || n %% 20, 'malformed', 'rule ' || n, %(now)s - interval '2 days',"
    " %(now)s - n * interval '1 minute', 250, 0, 0, 10, 0, 0 FROM generate_series(1, 400) AS n",
    "INSERT INTO input.quarantine (group_id, received_at, source, kind, way, reason, event_id, body)"
    " SELECT g.group_id, g.last_at - n * interval '1 second', g.source, g.kind, 'events', 'data.keys: missing',"
    " 'e' || n, '{\"id\": \"e\"}' FROM input.quarantine_groups AS g, generate_series(1, 250) AS n",
    "INSERT INTO input.quarantine_hours (group_id, hour, refused) SELECT g.group_id,"
    " date_trunc('hour', %(now)s::timestamptz) - n * interval '1 hour', 3 FROM input.quarantine_groups AS g,"
    " generate_series(0, 47) AS n",
)
COUNTS: Final = (
    "CREATE TABLE bench.flows AS SELECT source, type, count(*) AS events FROM bench.done_events GROUP BY source, type",
    "INSERT INTO input.volume_hours (source, type, dimension, hour, events, bad)"
    " SELECT f.source, f.type, d, h, 1 + f.events / 8, f.events / 400 FROM bench.flows AS f,"
    " unnest(ARRAY['', 'channel=shopify', 'channel=amazon', 'channel=edi', 'channel=phone', 'warehouse=north',"
    " 'warehouse=south', 'carrier=dhl', 'partner=ACME', 'partner=Delmore']) AS d,"
    " generate_series(date_trunc('hour', %(now)s - %(span)s::interval), %(now)s, interval '1 hour') AS h",
    "INSERT INTO input.source_minutes (source, minute, events, duplicates, conflicts, lag_us_sum, lag_us_max)"
    " SELECT f.source, m, 90, 4, 0, 30000000, 900000 FROM (SELECT DISTINCT source FROM bench.flows) AS f,"
    " generate_series(date_trunc('minute', %(now)s - %(span)s::interval), %(now)s, interval '1 minute') AS m",
    "INSERT INTO input.source_stats (source, events, duplicates, conflicts, skewed, first_received_at,"
    " last_received_at, last_occurred_at) SELECT DISTINCT source, 4000000, 200000, 0, 0, %(now)s - %(span)s::interval,"
    " %(now)s::timestamptz, %(now)s::timestamptz FROM bench.flows",
)
STATEMENTS: Final = tuple(
    statement.replace(" % ", " %% ") for statement in (*FLAGS, *EXCEPTIONS, *ALERTS, *REFUSALS, *COUNTS)
)
