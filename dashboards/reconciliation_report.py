"""The report of a reconciliation as text, CSV or a page of HTML that stands by itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import jinja2

from dashboards.queries.reconciliation import Day, Discrepancy
from dashboards.spreadsheet import as_csv
from milepost.catalog.reconciliation import Reconciliation

_HTML: Final = jinja2.Environment(autoescape=True).from_string(
    """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title><style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem; color: #17202e; }
table { border-collapse: collapse; margin: 1rem 0 2rem; } th, td { padding: .3rem .8rem .3rem 0; text-align: left; }
th { border-bottom: 1px solid #8996ab; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tr.over td { background: #fdecec; } p { color: #5d687c; }
</style></head><body><h1>{{ title }}</h1><p>{{ name }}, {{ span }}. {{ note }}</p>
<table><thead><tr>{% for head in day_heads %}<th{% if not loop.first and not loop.last %} class="n"{% endif %}>\
{{ head }}</th>{% endfor %}</tr></thead><tbody>
{% for row, over in days %}<tr{% if over %} class="over"{% endif %}>{% for cell in row %}\
<td{% if not loop.first and not loop.last %} class="n"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
{% if found %}<table><thead><tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr></thead><tbody>
{% for row in found %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>{% else %}<p>No object differs.</p>{% endif %}</body></html>
"""
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a report tells: a reconciliation's days from `first` to `last`, and the discrepancies of these days."""

    name: str
    spec: Reconciliation
    first: date
    last: date
    days: Sequence[Day]
    found: Sequence[Discrepancy]

    @property
    def names(self) -> dict[str, str]:
        left, right = self.spec.name_of("left"), self.spec.name_of("right")
        return {"left": left, "right": right if right != left else f"{right} (right)"}

    @property
    def span(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"


def day_table(report: Report) -> tuple[list[str], list[tuple[list[str], bool]]]:
    """Heads, and the cells of each day with whether it is over its tolerance."""
    left, right = report.names.values()
    heads = ["day", left, right, f"not in {right}", f"not in {left}", "other amount", "excused", "amounts", "over"]
    return heads, [(_day_cells(day), day.over) for day in report.days]


def _day_cells(day: Day) -> list[str]:
    counts = (day.left_count, day.right_count, day.only_left, day.only_right, day.differing, day.excused)
    told = day.why or ("" if day.judged else "not over yet")
    return [day.day.isoformat(), *(str(number) for number in counts), amounts(day.amounts), told]


def amounts(found: Mapping[str, Sequence[str]]) -> str:
    """ "1200.00 / 1100.00 EUR (100.00)": left, right, and by how much they differ."""
    parts = []
    for currency, (left, right) in found.items():
        apart = abs(Decimal(left) - Decimal(right))
        parts.append(f"{_two(left)} / {_two(right)} {currency}".strip() + (f" ({_two(apart)})" if apart else ""))
    return "; ".join(parts)


def _two(amount: str | Decimal) -> str:
    return f"{Decimal(amount):.2f}"


def object_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the discrepancies."""
    names = report.names
    heads = ["day", "object", "key", "what", "since", names["left"], names["right"], "found", "gone", "why", "journey"]
    return heads, [[_cell(value) for value in _object_cells(item, names)] for item in report.found]


def _object_cells(item: Discrepancy, names: Mapping[str, str]) -> Iterable[Any]:
    lacking = {"missing_left": f"missing in {names['left']}", "missing_right": f"missing in {names['right']}"}
    yield from (item.day, item.type, item.key, lacking.get(item.kind, "other amount"), item.at)
    yield from (_money(item.left_amount, item.left_currency), _money(item.right_amount, item.right_currency))
    journey = f"{item.journey_kind} {item.journey_key}" if item.journey_key else ""
    yield from (item.found_at, item.gone_at, item.why, journey)


def _money(amount: Decimal | None, currency: str | None) -> str:
    return "" if amount is None else f"{amount:.2f} {currency or ''}".strip()


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    return "" if value is None else str(value)


def days_csv(report: Report) -> str:
    heads, rows = day_table(report)
    return as_csv(heads, (cells for cells, _ in rows))


def objects_csv(report: Report) -> str:
    return as_csv(*object_table(report))


def as_html(report: Report) -> str:
    day_heads, days = day_table(report)
    heads, found = object_table(report)
    open_now = sum(item.gone_at is None for item in report.found)
    return _HTML.render(
        title=report.spec.title or report.name,
        name=report.name,
        span=report.span,
        note=f"{len(report.found)} objects differed, {open_now} still do.",
        day_heads=day_heads,
        days=days,
        heads=heads,
        found=found,
    )
