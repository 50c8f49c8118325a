"""An oracle for correlation: the rules of docs/explanation/correlation.md in plain Python, slow and literal.

It knows wire events (dicts) and the journey models' YAML, and nothing of the product's code.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from itertools import product
from typing import Any

Obj = tuple[str, str, str]  # type, namespace, key
Wire = dict[str, Any]
JUNK = ["N/A", "NA", "TBD", "0", "-", "NONE", "NULL", "UNKNOWN", "TEST"]


def us(text: str) -> int:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


class Oracle:
    """Journeys from a set of stored events, each with its receive time (microseconds), and of decisions: (act, first
    object, second object), those that count; a split has, in the place of a second object, its time as ISO 8601."""

    def __init__(
        self,
        journeys: dict[str, Any],
        events: list[tuple[Wire, int]],
        decisions: list[tuple[str, Obj, Any]] | None = None,
    ) -> None:
        decisions = decisions or []
        self.limit = journeys.get("hub_limit", 1000)
        self.into = {other: one for act, one, other in decisions if act == "merge"}
        self.cuts = {frozenset((self.same(one), self.same(other))) for act, one, other in decisions if act == "cut"}
        self.excluded = {(self.same(one), self.same(other)) for act, one, other in decisions if act == "exclude"}
        self.splits = sorted((us(since), since, one) for act, one, since in decisions if act == "split")
        self.lifted = {one for act, one, _ in decisions if act == "lift"}
        self.models = journeys["models"]
        self.keys = journeys["keys"]
        self.rules = journeys.get("exceptions", {})
        self.below, self.kinds = cache(self._below), cache(self._kinds)
        self.junk = journeys.get("junk", JUNK)
        self.aliases = journeys.get("aliases", {})
        self.events = [self.parse(wire, received) for wire, received in events]
        self.pairs: set[tuple[Obj, Obj]] = set()  # unordered: both directions
        self.links: set[tuple[Obj, Obj]] = set()  # parent, child
        self.naming: set[tuple[str, Obj]] = set()
        for event in self.events:
            self.relate(event)
        self.hubs = {obj for obj in self.everything() | self.threads() if obj not in self.lifted and self.is_hub(obj)}

    # --- hubs and decisions ---

    def threads(self) -> set[Obj]:
        return {("correlation", "", name) for name, _ in self.naming}

    def is_hub(self, obj: Obj) -> bool:
        """More distinct direct parents of one type than the limit."""
        if len(self.everything()) <= self.limit:
            return False  # there are not so many that could be its parents
        for model in self.models:
            if obj[0] == "correlation":
                above = {
                    other for name, other in self.naming if name == obj[2] and other[0] in self.models[model]["roots"]
                }
            else:
                above = {other for other in self.everything() if obj in self.related_below(model, other)}
            if any(sum(other[0] == kind for other in above) > self.limit for kind in {other[0] for other in above}):
                return True
        return False

    def counts(self, upper: Obj, lower: Obj) -> bool:
        return lower not in self.hubs and frozenset((self.same(upper), self.same(lower))) not in self.cuts

    def same(self, obj: Obj) -> Obj:
        return self.into.get(obj, obj)

    def mates(self, obj: Obj) -> set[Obj]:
        if obj in self.hubs:
            return set()
        group = {other for other in {*self.into, *self.into.values()} if self.same(other) == self.same(obj)}
        return group - {obj} - self.hubs

    def parse(self, wire: Wire, received: int) -> dict[str, Any]:
        data = wire["data"]
        claimed = us(wire["time"]) if "time" in wire else None
        at = received if claimed is None or claimed > received + 300_000_000 else claimed
        named: dict[str, list[Obj]] = {}
        for kind, keys in data.get("keys", {}).items():
            for key in keys if isinstance(keys, list) else [keys]:
                obj = self.obj(kind, str(key), wire)
                if obj and obj not in named.setdefault(kind, []):
                    named[kind].append(obj)
        named = {kind: group for kind, group in named.items() if group}
        links = []
        for link in data.get("links", []):
            parent = self.obj(link["parent"]["type"], link["parent"]["key"], wire)
            child = self.obj(link["child"]["type"], link["child"]["key"], wire)
            if parent and child and parent != child:
                links.append((parent, child))
        named = {kind: [self.meant(obj, at) for obj in group] for kind, group in named.items()}
        links = [(self.meant(parent, at), self.meant(child, at)) for parent, child in links]
        return {
            "order": (at, wire["source"], wire["id"]),
            "at": at,
            "received": received,
            "type": wire["type"],
            "named": named,
            "links": links,
            "correlation": self.correlation(wire, at),
            "outcome": data.get("outcome", "ok"),
            "code": data.get("code"),
            "reason": data.get("reason"),
            "attributes": data.get("attributes", {}),
        }

    def correlation(self, wire: Wire, at: int) -> str | None:
        found = self.obj("correlation", wire.get("correlationid", ""), wire)
        return found and self.meant(found, at)[2]

    def meant(self, obj: Obj, at: int) -> Obj:
        """What a name means at a time: after a split, another thing."""
        begun = [since for moment, since, one in self.splits if one == obj and moment <= at]
        if not begun:
            return obj
        day, time = begun[-1].removesuffix("+00:00").split("T")
        return (*obj[:2], f"{obj[2]} (since {day})" if time == "00:00:00" else f"{obj[2]} (since {day} {time}Z)")

    def obj(self, kind: str, key: str, wire: Wire) -> Obj | None:
        rule = self.keys.get(kind, {})
        steps = rule.get("normalise", ["strip"])
        key = self.comparable(key, steps)
        junk = [word for word in self.junk + rule.get("junk", []) if word not in rule.get("not_junk", [])]
        if not key or key.lower() in [form.lower() for word in junk for form in (word, self.comparable(word, steps))]:
            return None
        by = rule.get("namespace", "none")
        if by == "none":
            return (kind, "", key)
        if by == "source":
            return (kind, f"source={wire['source']}", key)
        value = wire["data"].get("attributes", {}).get(by)
        for name, spellings in self.aliases.get(by, {}).items():
            if value and value.strip().lower() in [spelling.lower() for spelling in (name, *spellings)]:
                value = name
        return (kind, f"{by}={value}" if value else f"source={wire['source']}", key)

    def comparable(self, key: str, steps: list[Any]) -> str:
        """A key after the steps of its rule, again and again until they leave it alone."""
        before = None
        while key != before:
            before = key
            for step in steps:
                key = self.taken(key, step) if isinstance(step, dict) else self.tidied(key, step)
        return key

    def tidied(self, key: str, step: str) -> str:
        if step == "alphanumeric":
            return "".join(character for character in key if character.isalnum())
        if step == "strip_zeros":
            while len(key) > 1 and key[0] == "0":
                key = key[1:]
            return key
        return {"strip": key.strip(), "upper": key.upper(), "lower": key.lower()}[step]

    def taken(self, key: str, step: dict[str, Any]) -> str:
        if "drop" in step:
            return "".join(character for character in key if character not in step["drop"])
        if "replace" in step:
            return re.sub(step["replace"], step.get("with", ""), key)
        prefixes = [step["prefix"]] if isinstance(step["prefix"], str) else step["prefix"]
        fitting = [one for one in prefixes if key.startswith(one) and key != one]
        return key[len(max(fitting, key=len)) :] if fitting else key

    # --- types ---

    def _below(self, model: str, kind: str) -> set[str]:
        tree = self.models[model].get("tree", {})
        found: set[str] = set()
        todo = [kind]
        while todo:
            for child in tree.get(todo.pop(), []):
                if child not in found:
                    found.add(child)
                    todo.append(child)
        return found

    def _kinds(self, model: str) -> set[str]:
        tree = self.models[model].get("tree", {})
        return {*self.models[model]["roots"], *tree, *(child for group in tree.values() for child in group)}

    def ordered(self, one: str, other: str) -> bool:
        return any(other in self.below(m, one) or one in self.below(m, other) for m in self.models)

    # --- relations ---

    def relate(self, event: dict[str, Any]) -> None:
        named = event["named"]
        own: set[tuple[Obj, Obj]] = set()
        for kind, other in product(named, named):
            if self.ordered(kind, other) and (len(named[kind]) == 1 or len(named[other]) == 1):
                own |= set(product(named[kind], named[other]))
        self.pairs |= own
        self.links |= set(event["links"])
        if event["correlation"]:
            self.naming |= {(event["correlation"], obj) for group in named.values() for obj in group}
        subjects = self.subjects(event)
        if subjects is not None:
            tied = {one for one, _ in own}
            rest = {obj for group in named.values() for obj in group} - set(subjects)
            event["subjects"] = subjects
            event["about"] = set(subjects) | {obj for obj in rest if obj not in tied}
        else:
            event["about"] = {obj for group in named.values() for obj in group}
            event["subjects"] = []
            if event["correlation"]:
                event["subjects"] = [("correlation", "", event["correlation"])]
                event["about"] |= set(event["subjects"])
            elif not event["about"]:
                event["about"] = {obj for link in event["links"] for obj in link}

    def subjects(self, event: dict[str, Any]) -> list[Obj] | None:
        kind = event["type"].split(".")[0]
        if kind in event["named"]:
            return list(event["named"][kind])
        for model in self.models.values():
            if model["roots"][0] == kind:
                for lesser in model["roots"][1:]:
                    if lesser in event["named"]:
                        return list(event["named"][lesser])
        return None

    # --- journeys ---

    def owner(self, model: str, correlation: str) -> Obj | None:
        roots = self.models[model]["roots"]
        thread = ("correlation", "", correlation)
        if thread in self.hubs:
            return None
        named = {
            self.same(obj)
            for name, obj in self.naming
            if name == correlation and obj[0] in roots and self.counts(thread, obj)
        }
        for kind in roots:
            if sum(obj[0] == kind for obj in named) > 1:
                return None
        return min(named, key=lambda obj: roots.index(obj[0]), default=None)

    def under(self, model: str, obj: Obj) -> set[Obj]:
        kinds, roots = self.kinds(model), self.models[model]["roots"]
        if obj[0] == "correlation":
            owner = self.owner(model, obj[2])
            if owner is None:
                return set()
            return {
                other
                for name, other in self.naming
                if name == obj[2] and other != owner and other[0] in kinds and self.counts(obj, other)
            }
        if obj in self.hubs:
            return set()
        found = {other for other in self.related_below(model, obj) if self.counts(obj, other)} | self.mates(obj)
        if obj[0] in roots:
            for name, other in self.naming:
                thread = ("correlation", "", name)
                if other == obj and self.counts(obj, thread) and self.owner(model, name) in (None, self.same(obj)):
                    found.add(thread)
        return found

    def related_below(self, model: str, obj: Obj) -> set[Obj]:
        kinds = self.kinds(model)
        if obj[0] not in kinds:
            return set()
        found = {other for one, other in self.pairs if one == obj and other[0] in self.below(model, obj[0])}
        for parent, child in self.links:
            for one, other, forward in ((parent, child, True), (child, parent, False)):
                if one != obj or other[0] not in kinds:
                    continue
                down, up = other[0] in self.below(model, obj[0]), obj[0] in self.below(model, other[0])
                if down or (forward and not up):
                    found.add(other)
        return found

    def absorbed(self, model: str, obj: Obj) -> bool:
        if obj in self.hubs or obj in self.into:
            return True
        return any(self.contained(model, one) for one in {obj} | self.mates(obj))

    def contained(self, model: str, obj: Obj) -> bool:
        """Whether something of a preferred root type stands directly above, and no journey that this is in excludes
        the object or the correlation that joins them."""
        roots = self.models[model]["roots"]
        rank = roots.index(obj[0])
        above = {(other, other) for other in self.everything() if obj in self.under(model, other)}
        for name, other in self.naming:
            thread = ("correlation", "", name)
            if other == obj and self.counts(thread, obj):
                above.add((self.owner(model, name) or obj, thread))
        return any(
            other[0] in roots
            and roots.index(other[0]) < rank
            and other not in self.hubs
            and (not self.excluded or self.held(model, {other, by, obj}, rank))
            for other, by in above
        )

    def held(self, model: str, objs: set[Obj], rank: int) -> bool:
        """Whether a journey of a root type preferred to this rank has all of these."""
        preferred = self.models[model]["roots"][:rank]
        roots = [obj for obj in self.everything() if obj[0] in preferred and not self.absorbed(model, obj)]
        return any(objs <= self.members(model, root) for root in roots)

    def everything(self) -> set[Obj]:
        objs = {obj for event in self.events for group in event["named"].values() for obj in group}
        return objs | {obj for link in self.links for obj in link}

    def members(self, model: str, root: Obj) -> set[Obj]:
        """What is below the root, without what people excluded from its journey or that of a root in it."""
        roots = {self.same(obj) for obj in self.reach(model, root, {root}) if obj[0] in self.models[model]["roots"]}
        return self.reach(model, root, {root, *roots}) if self.excluded else self.reach(model, root, set())

    def reach(self, model: str, root: Obj, by: set[Obj]) -> set[Obj]:
        """What is below the root, and excluded from the journey of none of these."""
        found, todo = {root}, [root]
        while todo:
            for child in self.under(model, todo.pop()):
                if child not in found and not any((self.same(one), self.same(child)) in self.excluded for one in by):
                    found.add(child)
                    todo.append(child)
        return found

    def journeys(self) -> dict[tuple[str, Obj], dict[str, Any]]:
        result = {}
        for name, model in self.models.items():
            for obj in self.everything() | {*self.into.values()}:
                if obj[0] in model["roots"] and not self.absorbed(name, obj):
                    journey = self.journey(name, obj)
                    if journey:
                        result[name, obj] = journey
        return result

    def journey(self, name: str, root: Obj) -> dict[str, Any] | None:
        members = self.members(name, root)
        told = [event for event in self.events if event["about"] & members]
        if not told:
            return None
        milestones = {}
        for milestone in self.models[name]["milestones"]:
            reached = self.milestone(name, milestone, members)
            if reached:
                milestones[milestone["name"]] = reached
        values = {self.same(obj): self.values(obj, members) for obj in members if not self.shared(name, obj)}
        others: dict[str, set[Any]] = {}
        for obj in values.keys() - {root}:
            for key, value in values[obj].items():
                if value is not None:
                    others.setdefault(key, set()).add(value)
        own = {key: value for key, value in values[root].items() if value is not None}
        attributes = {key: next(iter(vs)) for key, vs in others.items() if len(vs) == 1} | own
        return {
            "members": members,
            "milestones": milestones,
            "state": self.state(name, root, members, milestones),
            "attributes": attributes,
            "amount": values[root].get("amount"),
            "started": min(event["at"] for event in told),
            "last": max(event["at"] for event in told),
            "received": (min(event["received"] for event in told), max(event["received"] for event in told)),
        }

    def shared(self, model: str, obj: Obj) -> bool:
        """A correlation that is nobody's own: its events show, and count for nothing."""
        return obj[0] == "correlation" and self.owner(model, obj[2]) is None

    def milestone(
        self, model: str, milestone: dict[str, Any], members: set[Obj]
    ) -> tuple[int, int, int, str, str] | None:
        """(reached, last, count, source, id of the evidence)."""
        found: dict[Obj, list[tuple[int, str, str]]] = {}
        for event in self.events:
            if event["type"] in milestone["events"] and event["outcome"] == "ok":
                for obj in event["subjects"]:  # one that names a thing by both its names counts for each
                    if obj in members and not self.shared(model, obj):
                        found.setdefault(self.same(obj), []).append(event["order"])
        if not found:
            return None
        kind = milestone.get("all")
        wanted = {self.same(obj) for obj in members if obj[0] == kind}
        if kind is None or not wanted:
            orders = [order for group in found.values() for order in group]
            first = min(orders)
            return (first[0], max(orders)[0], len(orders), first[1], first[2])
        wanted = {obj for obj in wanted if not self.cancelled(obj, members)}
        if not wanted or not wanted <= set(found):
            return None
        last = max(min(found[obj]) for obj in wanted)
        orders = [order for obj in wanted for order in found[obj]]
        return (last[0], max(orders)[0], len(orders), last[1], last[2])

    def told_of(self, event: dict[str, Any], obj: Obj, members: set[Obj]) -> bool:
        return any(one in members and self.same(one) == self.same(obj) for one in event["subjects"])

    def cancelled(self, obj: Obj, members: set[Obj]) -> bool:
        return any(
            event["type"] == f"{obj[0]}.cancelled" and event["outcome"] == "ok" and self.told_of(event, obj, members)
            for event in self.events
        )

    def values(self, obj: Obj, members: set[Obj]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in sorted(self.events, key=lambda event: event["order"]):
            if self.told_of(event, obj, members):
                found.update(event["attributes"])
        return found

    def state(self, name: str, root: Obj, members: set[Obj], milestones: dict[str, Any]) -> str:
        model = self.models[name]
        rank = model["roots"].index(root[0])
        own = [obj for obj in members if obj == root or obj[0] in model["roots"][rank + 1 :]]
        for event in self.events:
            if (
                event["type"] in model.get("cancelled_by", [])
                and event["outcome"] == "ok"
                and any(self.told_of(event, obj, members) for obj in own)
            ):
                return "cancelled"
        for way in model["complete_when"]:
            without = set(way.get("without", []))
            if all(step in milestones for step in way["reached"]) and not any(obj[0] in without for obj in members):
                return "completed"
        return "open"

    # --- exceptions ---

    def exceptions(self) -> dict[Obj, list[tuple[Any, ...]]]:
        """For each object that had some, by the name that stays: (type, kind, opening event, what the last event says,
        events, resolved at, resolved by), in the order in which they were opened."""
        result = {}
        concerned = [{self.same(obj) for obj in event["subjects"] or event["about"]} for event in self.events]
        for obj in {obj for group in concerned for obj in group}:
            told = [event for event, group in zip(self.events, concerned, strict=True) if obj in group]
            own = self.own_cancelled(obj)
            found = [item for kind in {event["type"] for event in told} for item in self.exceptions_of(kind, told, own)]
            if found:
                result[obj] = sorted(found, key=lambda item: (item[2], item[0]))
        return result

    def own_cancelled(self, obj: Obj) -> list[str]:
        """The types of events that cancelled this object, as their subject; nothing cancels a correlation."""
        if obj[0] == "correlation":
            return []
        subject_of = [event for event in self.events if obj in [self.same(one) for one in event["subjects"]]]
        return [e["type"] for e in subject_of if e["type"].split(".")[-1] == "cancelled" and e["outcome"] == "ok"]

    def exceptions_of(self, kind: str, told: list[dict[str, Any]], own: list[str]) -> list[tuple[Any, ...]]:
        rule = self.rules.get(kind)
        of_type = [event for event in told if event["type"] == kind]
        bad = [event for event in of_type if event["outcome"] != "ok"]
        cancelled = [*own, f"{kind.split('.')[0]}.cancelled"]
        if rule is None:
            return self.spells(kind, None, bad, [kind, *cancelled], told)
        ends = [*rule["resolved_by"], *cancelled]
        if rule.get("kind") != "held":
            return self.spells(kind, rule.get("kind", "business"), of_type, ends, told)
        held = [event for event in of_type if event["outcome"] == "ok"]
        return self.spells(kind, "held", held, ends, told) + self.spells(kind, None, bad, [kind, *cancelled], told)

    def spells(
        self, kind: str, said: str | None, opening: list[dict[str, Any]], ends: list[str], told: list[dict[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """Go through time: what opens comes before what resolves at the same moment."""
        resolving = [event for event in told if event["type"] in ends and event["outcome"] == "ok"]
        moments = [(event["at"], 0, event["order"], event) for event in opening]
        moments += [(event["at"], 1, (event["type"],), event) for event in resolving]
        found: list[tuple[list[dict[str, Any]], tuple[Any, Any]]] = []
        is_open = False
        for at, ending, _, event in sorted(moments, key=lambda moment: moment[:3]):
            if not ending:
                found += [] if is_open else [([], (None, None))]
                found[-1][0].append(event)
                is_open = True
            elif is_open:
                found[-1] = (found[-1][0], (at, event["type"]))
                is_open = False
        return [self.spell(kind, said, events, resolved) for events, resolved in found]

    def spell(self, kind: str, said: str | None, events: list[dict[str, Any]], resolved: Any) -> tuple[Any, ...]:
        last = events[-1]
        by_outcome = "business" if last["outcome"] == "rejected" else "technical"
        word = (last["at"], last["order"][1], last["outcome"], last["code"], last["reason"])
        return (kind, said or by_outcome, events[0]["order"], word, len(events), *resolved)
