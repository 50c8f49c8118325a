"""The two bodies of a mail: plain text and HTML, from one delivery. Everything that comes from outside is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, Template

from alerting.notifiers import Delivery
from alerting.notifiers.facts import details, facts, links

_TEXT: Final = """\
{{ message.headline }}

{{ alert.summary }}

{% for name, value in facts %}{{ name }}: {{ value }}
{% endfor %}
{% for title, url in links %}{{ title }}: {{ url }}
{% endfor %}{% if message.items %}
{% for item in message.items %}- {{ item.summary or item.item }} ({{ details(item) }})
{% endfor %}{% if message.items_left_out %}… and {{ message.items_left_out }} more
{% endif %}{% endif %}"""

_HTML: Final = """\
<!doctype html>
<html lang="en"><body style="margin:0;padding:24px;background:#f4f5f7;font:15px/1.5 system-ui,sans-serif;color:#1c2430">
<div style="max-width:640px;margin:0 auto;background:#fff;\
border-top:4px solid {{ colour }};border-radius:6px;padding:24px">
<p style="margin:0;font-size:12px;letter-spacing:.06em;text-transform:uppercase;color:{{ colour }}">
{{ alert.severity }} · {{ message.event }}</p>
<h1 style="margin:4px 0 12px;font-size:20px;line-height:1.3">{{ alert.title }}</h1>
<p style="margin:0 0 16px;white-space:pre-line">{{ alert.summary }}</p>
<table style="border-collapse:collapse;margin:0 0 16px;font-size:14px">
{% for name, value in facts %}<tr><td style="padding:2px 16px 2px 0;color:#5c6675">{{ name }}</td><td>
{%- if value.startswith(("http://", "https://")) %}<a href="{{ value }}">{{ value }}</a>
{%- else %}{{ value }}{% endif %}</td></tr>
{% endfor %}</table>
<p style="margin:0 0 20px">{% for title, url in links %}<a href="{{ url }}" style="display:inline-block;\
padding:8px 18px;margin:0 8px 8px 0;border:1px solid #1c4fd6;border-radius:4px;text-decoration:none;\
{{ "background:#1c4fd6;color:#fff" if loop.first else "color:#1c4fd6" }}">{{ title }}</a>{% endfor %}</p>
{% if message.items %}<table style="width:100%;border-collapse:collapse;font-size:13px">
{% for item in message.items %}<tr><td style="padding:6px 0;border-top:1px solid #e3e6ea">\
{{ item.summary or item.item }}<br><span style="color:#5c6675">{{ details(item) }}</span></td></tr>
{% endfor %}</table>
{% if message.items_left_out %}<p style="color:#5c6675;font-size:13px">… and {{ message.items_left_out }} more</p>
{% endif %}{% endif %}</div></body></html>
"""

_COLOURS: Final[Mapping[str, str]] = {"info": "#2f6fde", "warning": "#b7791f", "critical": "#c53030"}
_OVER: Final = "#2f855a"


def text(delivery: Delivery) -> str:
    """The plain body."""
    return _template(_TEXT, escaped=False).render(**_context(delivery))


def html(delivery: Delivery) -> str:
    """The HTML body."""
    return _template(_HTML, escaped=True).render(**_context(delivery))


@cache
def _template(source: str, *, escaped: bool) -> Template:
    return Environment(autoescape=escaped, undefined=StrictUndefined).from_string(source)


def _context(delivery: Delivery) -> Mapping[str, Any]:
    message = delivery.message
    over = message.alert.state == "resolved"
    return {
        "message": message,
        "alert": message.alert,
        "links": links(delivery),
        "facts": facts(message),
        "colour": _OVER if over else _COLOURS[message.alert.severity],
        "details": details,
    }
