"""The report on a month's SLAs as one page of HTML that stands by itself and prints well. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jinja2

from dashboards import words
from dashboards.components.parts import journey_href
from dashboards.queries.objectives import Breach
from dashboards.queries.sla_report import DIMENSIONS
from dashboards.sla_report import Line, Report, evidence, worth

SHOWN: Final = 2_000
"""Breaches that the page lists at most; the CSV has them all."""
_ENDS: Final = {
    None: "open",
    "late": "reached late",
    "cancelled": "cancelled past due",
    "completed": "passed over",
    "retracted": "taken back by late evidence",
    "absorbed": "another journey contains it",
    "withdrawn": "the policy does not apply any more",
}
_HTML: Final = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>
@page { size: A4; margin: 16mm 14mm; }
body { font: 13px/1.45 system-ui, -apple-system, "Segoe UI", sans-serif; margin: 2rem auto; max-width: 1080px;
  padding: 0 1.5rem; color: #17202e; background: #fff; }
h1 { font-size: 26px; letter-spacing: -.02em; margin: 0; } h2 { font-size: 17px; margin: 2.2rem 0 .5rem; }
h3 { font-size: 14px; margin: 1.4rem 0 .3rem; } p, .dim { color: #5d687c; } p { margin: .2rem 0; }
table { border-collapse: collapse; width: 100%; margin: .3rem 0 1rem; } thead { display: table-header-group; }
th, td { padding: 4px 10px 4px 0; text-align: left; vertical-align: top; } tr { break-inside: avoid; }
th { font-weight: 600; font-size: 11.5px; color: #5d687c; border-bottom: 1px solid #8996ab; white-space: nowrap; }
td { border-bottom: 1px solid #e8ecf2; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.sum td { font-weight: 600; border-top: 1px solid #c3ccda; } .part td:first-child { padding-left: 14px; }
.stats { display: flex; gap: 34px; margin: 1.2rem 0 .4rem; } .stats b { display: block; font-size: 22px; }
.stats span { color: #5d687c; font-size: 12px; } .bad { color: #b3202b; } .ok { color: #0f7a55; }
.bar { position: relative; width: 120px; height: 7px; border-radius: 4px; background: #e8ecf2; margin-top: 6px; }
.bar i { display: block; height: 100%; border-radius: 4px; background: #1fa97a; } .bar .under { background: #e2434d; }
.bar s { position: absolute; top: -3px; width: 2px; height: 13px; background: #17202e; }
.at { white-space: nowrap; }
.why { font-size: 12px; } .proof { font-size: 10.5px; color: #5d687c; overflow-wrap: anywhere; } a { color: #2149bd; }
ul { color: #5d687c; padding-left: 1.1rem; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 11px; }
  a { color: inherit; text-decoration: none; }
  h2, h3 { break-after: avoid; } .stats { gap: 26px; } }
</style></head><body>
<h1>{{ title }}</h1>
<p>{% if narrowed %}<b>{{ narrowed }}</b>. {% endif %}What fell due {{ span }}.
Made {{ made }}, catalog {{ version }}.</p>
<div class="stats">{% for name, value, tone in stats %}
<div><b class="{{ tone }}">{{ value }}</b><span>{{ name }}</span></div>{% endfor %}
</div>
{% if not policies %}<p>No clock fell due.</p>{% else %}
<h2>By policy</h2>
<table><thead><tr><th>Policy</th><th class="n">Objective</th><th class="n">Fell due</th><th class="n">In time</th>
<th class="n">Missed</th><th class="n">Allowed</th><th class="n">Attained</th><th></th></tr></thead><tbody>
{% for row in policies %}<tr><td>{{ row.title }}</td><td class="n">{{ row.target }}</td><td class="n">{{ row.due }}</td>
<td class="n">{{ row.met }}</td><td class="n">{{ row.missed }}</td><td class="n">{{ row.allowed }}</td>
<td class="n {{ row.tone }}"><b>{{ row.attained }}</b></td><td><div class="bar"><i style="width:{{ row.width }}%"\
{% if row.tone == "bad" %} class="under"{% endif %}></i>\
{% if row.mark %}<s style="left:{{ row.mark }}%"></s>{% endif %}</div></td></tr>
{% endfor %}</tbody></table>
{% for dimension in dimensions %}
<h2>By {{ dimension.name }}</h2>
<table><thead><tr><th>{{ dimension.name | capitalize }}</th><th class="n">Fell due</th><th class="n">In time</th>
<th class="n">Missed</th><th class="n">Attained</th></tr></thead><tbody>
{% for row in dimension.rows %}<tr class="{{ row.kind }}"><td>{{ row.title }}</td><td class="n">{{ row.due }}</td>
<td class="n">{{ row.met }}</td><td class="n">{{ row.missed }}</td>
<td class="n {{ row.tone }}">{{ row.attained }}</td></tr>
{% endfor %}</tbody></table>
{% endfor %}{% endif %}
{% for part in parts %}
<h2>{{ part.title }}</h2><p>{{ part.note }}</p>
{% for group in part.groups %}
<h3>{{ group.title }} <span class="dim">({{ group.count }})</span></h3>
<table><thead><tr><th>Journey</th><th>Due</th><th>Reached</th><th class="n">Late by</th><th class="n">Worth</th>
<th>Why, and the evidence</th></tr></thead><tbody>
{% for row in group.rows %}<tr><td>{% if row.href %}<a href="{{ row.href }}">{{ row.key }}</a>{% else %}{{ row.key }}\
{% endif %}<div class="proof">{{ row.dims }}</div></td>
<td class="at">{{ row.due }}</td><td class="at">{{ row.reached }}</td>
<td class="n">{{ row.late }}</td><td class="n">{{ row.worth }}</td><td class="why">{{ row.why }}\
<div class="proof">{{ row.proof }}</div></td></tr>
{% endfor %}</tbody></table>
{% endfor %}{% endfor %}
<h2>How it is counted</h2>
<ul><li>A clock counts in the month in which it fell due, in the zone of its policy's calendar, once it was met or
missed. What ended in time without reaching its milestone (cancelled, absorbed) doesn't count.</li>
<li>Late is business time by the policy's calendar. Times are those of its zone.</li>
<li>Late evidence changes these figures: what was taken back stands apart and counts against nobody.</li>
<li>Money is that of the journeys with a missed clock, each once; currencies are never added up.</li></ul>
</body></html>
"""
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line in words."""

    title: str
    target: str
    due: str
    met: str
    missed: str
    allowed: str
    attained: str
    tone: str
    width: str
    mark: str
    kind: str


def as_html(report: Report) -> str:
    """The whole page."""
    narrowed = ", ".join(f"{name} {value}" for name, value in report.narrowed.items())
    dims = [(name, report.by(name)) for name in DIMENSIONS if name not in report.narrowed]
    return _HTML.render(
        title=f"SLA report, {datetime.strptime(report.month, '%Y-%m'):%B %Y}",  # noqa: DTZ007 a month has no zone
        narrowed=narrowed,
        span=f"in {report.month}",
        made=f"{report.made_at:%d %b %Y %H:%M} UTC",
        version=report.catalog.version,
        stats=_stats(report),
        policies=[_row(report, line) for line in report.by_policy],
        dimensions=[{"name": name, "rows": [_row(report, line) for line in lines]} for name, lines in dims if lines],
        parts=list(_parts(report)),
    )


def _stats(report: Report) -> Iterator[tuple[str, str, str]]:
    due, missed = (sum(getattr(line, name) for line in report.by_policy) for name in ("clocks", "misses"))
    yield "fell due", words.count(due), ""
    yield "in time", words.count(due - missed), ""
    yield "missed", words.count(missed), "bad" if missed else ""
    yield "attained", words.percent(1 - missed / due, 2) if due else "–", ""
    yield "taken back", words.count(len(report.taken_back)), ""
    yield "worth of what was missed", words.moneys(worth(report.counted)), ""


def _row(report: Report, line: Line) -> Row:
    policy = report.policies.get(line.policy or line.value)
    target = policy.objective.target if policy is not None else None
    name = line.policy or line.value
    title = policy.title or words.title(policy.name) if policy is not None else name
    tone = "" if target is None else "ok" if line.attained >= target - 1e-9 else "bad"
    allowed = "" if target is None else f"{(1 - target) * line.clocks:,.1f}"
    return Row(
        title=title if line.dimension == "policy" or line.policy else line.value,
        target="" if target is None else words.percent(target, 2),
        due=words.count(line.clocks),
        met=words.count(line.clocks - line.misses),
        missed=words.count(line.misses),
        allowed=allowed,
        attained=words.percent(line.attained, 2),
        tone=tone,
        width=f"{line.attained * 100:.2f}",
        mark="" if target is None else f"{target * 100:.2f}",
        kind="part" if line.policy else "sum",
    )


def _parts(report: Report) -> Iterator[dict[str, Any]]:
    counted, back = report.counted, report.taken_back
    if counted:
        note = "Every missed clock, by policy, the oldest first."
        yield {"title": "Breaches", "note": _cut(note, counted), "groups": list(_groups(report, counted[:SHOWN]))}
    if back:
        note = "Found late, and found later to be none. They count against nobody."
        yield {"title": "Taken back", "note": _cut(note, back), "groups": list(_groups(report, back[:SHOWN]))}


def _cut(note: str, found: Sequence[Breach]) -> str:
    return note if len(found) <= SHOWN else f"{note} The first {SHOWN:,} of {len(found):,}; the CSV has them all."


def _groups(report: Report, found: Iterable[Breach]) -> Iterator[dict[str, Any]]:
    by_policy: dict[str, list[Breach]] = {}
    for one in found:
        by_policy.setdefault(one.policy, []).append(one)
    order = list(report.policies)
    for name in sorted(by_policy, key=lambda name: order.index(name) if name in order else len(order)):
        policy = report.policies.get(name)
        title = policy.title or words.title(name) if policy is not None else name
        rows = [_breach(report, one) for one in by_policy[name]]
        yield {"title": title, "count": len(rows), "rows": rows}


def _breach(report: Report, one: Breach) -> dict[str, str]:
    linked = report.public_url and one.journey_kind
    href = report.public_url.rstrip("/") + journey_href(one.model, one.key, one.namespace) if linked else ""
    reached = _at(report, one, one.stopped_at) if one.stopped_at and one.end in ("late", "retracted") else ""
    late = words.span(report.late(one), coarse=True) if one.counts else ""
    ended = one.evidence.get("end", {}).get("why", "")
    return {
        "key": one.key,
        "href": href,
        "dims": ", ".join(one.dimensions[name] for name in DIMENSIONS if one.dimensions.get(name)),
        "due": _at(report, one, one.due_at),
        "reached": reached or _ENDS.get(one.end, one.end or ""),
        "late": f"{late} so far" if late and one.end is None else late,
        "worth": words.money(one.amount, one.currency),
        "why": one.evidence.get("why", "") + (f"; {ended}" if ended and not one.counts else ""),
        "proof": "; ".join(evidence(one)),
    }


def _at(report: Report, one: Breach, at: datetime) -> str:
    return f"{at.astimezone(report.calendar(one).zone):%a %d %b %H:%M}"
