"""The cards of a journey that explain it: why its objects belong together, and what late evidence changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

from dash import html

from dashboards import words
from dashboards.components.attributes import attrs
from dashboards.components.icons import icon, type_icon
from dashboards.components.parts import ago, card, link
from dashboards.pages.evidence import anchor
from milepost.explanation import Change, Explanation, KeptOut, Missing, Odd, Placed, Ruling, Shared, Thing, Tie, Told

SHOWN: Final = 60
"""Members that are shown at once; the others fold away."""
LATEST: Final = 12
"""Changes that are shown at once."""


# --- why it is one journey --------------------------------------------------------------------------------------------


def why_card(found: Explanation, *, may_act: bool) -> html.Section:
    """The members as a tree, each with what proves that it belongs there; what is kept out; what people decided."""
    rows = [_placed(one, found, may_act=may_act) for one in _tree(found.members)]
    parts = [
        html.Div(rows[:SHOWN], className="mp-members"),
        fold("members-more", f"{len(rows) - SHOWN} more", rows[SHOWN:]),
        _section("Kept out", [*(_kept_out(one, found, may_act=may_act) for one in found.kept_out),
                              *(_shared(one) for one in found.shared)]),
        _section("Decided by people", [_ruling(one, found) for one in found.rulings]),
        _section("Odd about its events", [_odd(one) for one in found.odd[:10]]),
    ]  # fmt: skip
    aside = words.many(len(found.members), "object")
    return card(parts, name="members", title="Why this is one journey", aside=aside)


def _tree(members: Sequence[Placed]) -> list[Placed]:
    """Depth first, so that what hangs on an object stands below it."""
    children: dict[int | None, list[Placed]] = {}
    for one in members:
        children.setdefault(one.via.object_id if one.via else None, []).append(one)
    ordered: list[Placed] = []
    waiting = list(reversed(children.get(None, [])))
    while waiting:
        one = waiting.pop()
        ordered.append(one)
        waiting.extend(sorted(children.pop(one.thing.object_id, []), key=_by_name, reverse=True))
    known = {one.thing.object_id for one in ordered}
    return ordered + [one for one in members if one.thing.object_id not in known]


def _by_name(one: Placed) -> tuple[str, str]:
    return (one.thing.type, one.thing.key)


def _placed(one: Placed, found: Explanation, *, may_act: bool) -> html.Div:
    return html.Div(
        [
            html.Div(type_icon(one.thing.type), className="mp-member-mark"),
            html.Div([html.Div(_name(one.thing)), _proof(one)], className="mp-placed-text"),
            _acts(one, found) if may_act else None,
        ],
        className="mp-member mp-placed",
        style={"--depth": str(min(one.depth, 5))},
    )


def _name(thing: Thing) -> list[Any]:
    return [
        html.Span(words.title(thing.type), className="mp-dim"),
        html.B(thing.key, className="mp-key"),
        html.Span(thing.namespace, className="mp-dim mp-small") if thing.namespace else None,
    ]


def _proof(one: Placed) -> html.Span:
    if one.via is None:
        return html.Span(f"the root · {words.many(one.events, 'event')}", className="mp-dim mp-small")
    told: list[Any] = [f"under {one.via.key}: "]
    for place, tie in enumerate(one.ties[:3]):
        told += ["; also " if place else "", *_tie(tie)]
    for other, tie in one.also:
        told += [f"; also under {other.key}: ", *_tie(tie)]
    told.append(f" · {words.many(one.events, 'event')}" if one.events else "")
    return html.Span(told, className="mp-dim mp-small")


def _tie(tie: Tie) -> list[Any]:
    if tie.event is None:
        return [f"{tie.text} by ", link(f"decision {tie.decision}", f"/decisions/{tie.decision}", className="mp-link")]
    return [f"{tie.text} in ", *event_link(tie.event)]


def event_link(event: Told) -> list[Any]:
    """An event in a sentence; its name leads to it further down on the page."""
    return [
        html.A(event.type or event.id, href=f"#{anchor(event.source, event.id)}", className="mp-link", title=event.id),
        f" from {event.source}, ",
        ago(event.occurred_at, "time"),
    ]


def _acts(one: Placed, found: Explanation) -> html.Details:
    """What somebody who knows better can do about a member."""
    root, thing = found.root.object_id, one.thing.object_id
    offers: list[tuple[str, str, int, int | None]] = []
    if one.via is not None:
        offers.append(("Cut the link to " + one.via.key, "cut", one.via.object_id, thing))
        offers.append(("Take it out of this journey", "exclude", root, thing))
    if one.thing.type != "correlation":
        offers.append(("Another name means the same …", "merge", thing, None))
        offers.append(("The key was used anew …", "split", thing, None))
    links = [link(text, act_href(act, first, second, found.journey_id)) for text, act, first, second in offers]
    mark = html.Summary(icon("more", 16), **attrs(aria_label=f"Correct {one.thing.key}"), title="Correct")
    return html.Details([mark, html.Div(links)], id=f"acts-{thing}", className="mp-correct")


def act_href(act: str, first: int, second: int | None, journey_id: int | None = None) -> str:
    """The page on which a decision is tried and taken."""
    values = {"first": first, "second": second, "journey": journey_id}
    return f"/decisions/new/{act}?" + urlencode({name: value for name, value in values.items() if value is not None})


def _section(title: str, rows: Sequence[Any]) -> html.Div | None:
    if not rows:
        return None
    return html.Div([html.H3(title), *rows], className="mp-why")


def fold(ident: str, title: str, rows: Sequence[Any]) -> html.Details | None:
    """Rows behind a line that opens them; nothing for none."""
    if not rows:
        return None
    return html.Details([html.Summary([icon("right", 13), title]), html.Div(rows)], id=ident, className="mp-fold")


def _kept_out(one: KeptOut, found: Explanation, *, may_act: bool) -> html.Div:
    more: list[Any] = []
    if one.decision is not None:
        href = f"/decisions/{one.decision}?journey={found.journey_id}"
        more = [" · ", link("see the decision", href, className="mp-link")]
    elif may_act:
        more = [
            " · ",
            link("lift it", act_href("lift", one.thing.object_id, None, found.journey_id), className="mp-link"),
        ]
    beside = f"beside {one.beside.key}: " if one.beside != found.root else ""
    return _line(type_icon(one.thing.type), _name(one.thing), [beside, one.text, *more])


def _shared(one: Shared) -> html.Div:
    roots = ", ".join(root.key for root in one.roots) + (" …" if one.root_count > len(one.roots) else "")
    return _line(icon("link", 16), _name(one.correlation), [one.text, html.Br(), f"named by {roots}"])


def _ruling(one: Ruling, found: Explanation) -> html.Div:
    href = f"/decisions/{one.number}?journey={found.journey_id}"
    told = [
        f"{one.actor}, ",
        ago(one.at, "time"),
        f": {one.reason} · ",
        link("take it back", href, className="mp-link"),
    ]
    return _line(icon("person", 16), [html.B(one.text[:1].upper() + one.text[1:])], told)


def _odd(one: Odd) -> html.Div:
    return _line(icon("warning", 16), event_link(one.event), [one.text])


def _line(mark: Any, first: Sequence[Any], second: Sequence[Any]) -> html.Div:
    return html.Div(
        [
            html.Div(mark, className="mp-member-mark"),
            html.Div([html.Div(first), html.Span(second, className="mp-dim mp-small")]),
        ],
        className="mp-member",
        style={"--depth": "0"},
    )


# --- what late evidence changed ---------------------------------------------------------------------------------------


def late_card(found: Explanation) -> html.Section:
    """What changed although it was known otherwise before, what was missing when, and, folded, every change."""
    missing = [one for one in found.missing if one.notable]
    late = [one for one in found.changes if one.notable]
    parts: list[Any] = []
    if found.note:
        parts.append(html.P(f"{found.note[:1].upper()}{found.note[1:]}.", className="mp-dim"))
    elif not late and not missing:
        parts.append(html.P("Nothing: its evidence came in time and in order.", className="mp-dim"))
    parts += [
        html.Div([_missing(one) for one in missing], className="mp-changes") if missing else None,
        html.Div([_change(one) for one in late[-LATEST:]], className="mp-changes") if late else None,
        fold("all-changes", f"All that became known, in its order: {words.many(len(found.changes), 'change')}",
              [html.Div([_change(one) for one in found.changes[:300]], className="mp-changes")]
              if len(found.changes) > len(late[-LATEST:]) else []),
    ]  # fmt: skip
    return card(parts, name="late", title="What late evidence changed", aside="times are of reception")


def _missing(one: Missing) -> html.Div:
    until = ["until ", ago(one.until, "time")] if one.until is not None else ["to this day"]
    length = f" ({words.span(one.until - one.since)})" if one.until is not None else ""
    then = [" · then ", *event_link(one.filled_by)] if one.filled_by is not None else []
    return html.Div(
        [
            html.Span(ago(one.since, "time"), className="mp-change-at"),
            html.Div(
                [
                    html.B(
                        f"{words.title(one.name)} was missing" if one.until else f"{words.title(one.name)} is missing"
                    ),
                    html.Span(
                        [f"while {words.title(one.beyond).lower()} was known, ", *until, length, *then],
                        className="mp-dim mp-small",
                    ),
                ]
            ),
        ],
        className="mp-change mp-change-missing",
    )


def _change(one: Change) -> html.Div:
    return html.Div(
        [
            html.Span(ago(one.at, "time"), className="mp-change-at"),
            html.Div(
                [
                    html.B(one.text[:1].upper() + one.text[1:]),
                    html.Span([*_times(one), *_cause(one)], className="mp-dim mp-small"),
                ]
            ),
        ],
        className=f"mp-change mp-change-{one.what}",
    )


def _times(one: Change) -> list[Any]:
    if one.was is not None and one.now is not None:
        return ["from ", ago(one.was, "time"), " to ", ago(one.now, "time"), ", "]
    if one.was is not None:
        return ["it had been reached ", ago(one.was, "time"), ", "]
    if one.now is not None:
        late = f", heard of {words.span(one.delay, coarse=True)} later" if one.notable else ""
        return ["at ", ago(one.now, "time"), f"{late}, "]
    return []


def _cause(one: Change) -> list[Any]:
    """The event that was received; where another one is the evidence, that had been received before."""
    if one.cause is None:
        return []
    if one.evidence is None or (one.evidence.source, one.evidence.id) == (one.cause.source, one.cause.id):
        return ["by ", *event_link(one.cause)]
    return ["by ", *event_link(one.evidence), ", which came in with ", *event_link(one.cause)]
