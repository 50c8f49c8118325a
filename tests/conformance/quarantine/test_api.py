"""The quarantine over HTTP: exact status codes, and what each answer holds."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.inbox import identities, log, quarantine
from milepost.inbox.quarantine import Kind, Refusal
from tests.dashboard import Dashboard, dashboard
from tests.databases import Databases

FIRST = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
REASON = "data.keys: an event needs at least one key or a correlationid"


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Dashboard]:
    with databases.fresh() as url, dashboard(url) as made:
        with made.engine.begin() as connection:
            identities.roll_over(connection, utc_now(), timedelta(days=30))
        yield made


def body(number: int, **changes: Any) -> bytes:
    whole = {"specversion": "1.0", "id": f"e{number}", "source": "/s", "type": "order.received", "data": {}}
    return json.dumps(whole | changes).encode()


KEYS = {"keys": {"order": "S1"}}


def put(
    served: Dashboard, *bodies: bytes, kind: Kind = "malformed", source: str = "/s", reason: str = REASON, **more: Any
) -> list[int]:
    q = t.quarantine.c
    with served.engine.begin() as connection:
        before = connection.scalar(sa.select(sa.func.max(q.quarantine_id))) or 0
        quarantine.add(connection, [Refusal(FIRST, source, kind, reason, None, one, "wms", **more) for one in bodies])
        return list(connection.scalars(sa.select(q.quarantine_id).where(q.quarantine_id > before)))


def post(served: Dashboard, path: str, key: str = "mend", **content: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {served.keys[key]}"} if key else {}
    return served.client.post(f"/v1/quarantine/{path}", json=content, headers=headers)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return dict(answer.json())


def logged(served: Dashboard) -> list[str]:
    with served.engine.begin() as connection:
        return [json.loads(entry.body)["id"] for batch in log.consume(connection, 100) for entry in batch.entries]


# --- who --------------------------------------------------------------------------------------------------------------

ACTS = [("{}/edit", {"body": "{}"}), ("{}/replay", {}), ("{}/discard", {"reason": "x"}), ("replay", {"source": "/s"}),
        ("discard", {"source": "/s", "reason": "x"})]  # fmt: skip


@pytest.mark.parametrize(("path", "content"), ACTS, ids=[path for path, _ in ACTS])
@pytest.mark.parametrize(("key", "status"), [("", 401), ("revoked", 401), ("send", 403), ("read", 403)])
def test_who_may_not(served: Dashboard, path: str, content: dict[str, Any], key: str, status: int) -> None:
    (number,) = put(served, body(1))
    problem(post(served, path.format(number), key, **content), status)


def test_bodies_are_for_those_who_mend(served: Dashboard) -> None:
    (number,) = put(served, body(1))
    assert "quarantine" in problem(served.get(f"/v1/quarantine/{number}"), 403)["detail"]
    assert served.get(f"/v1/quarantine/{number}", key="mend").status_code == 200
    for name, status in (("Vera", 403), ("Otto", 200), ("Ada", 200)):
        with served.session(name) as client:
            assert client.get(f"/v1/quarantine/{number}").status_code == status


def test_only_administrators_vouch(served: Dashboard) -> None:
    (number,) = put(served, body(2, data=KEYS, source="/other"), kind="forbidden")
    problem(post(served, f"{number}/replay", vouch=True), 403)
    problem(post(served, "replay", ids=[number], vouch=True), 403)
    assert problem(post(served, f"{number}/replay"), 422)["outcome"] == "refused"
    with served.session("Ada") as client:
        assert client.post(f"/v1/quarantine/{number}/replay", json={"vouch": True}).status_code == 202
    assert logged(served) == ["e2"]


def test_another_site_may_not_act(served: Dashboard) -> None:
    (number,) = put(served, body(1))
    with served.session("Otto") as client:
        answer = client.post(f"/v1/quarantine/{number}/replay", headers={"origin": "https://evil.example"})
        assert answer.status_code == 403


# --- one --------------------------------------------------------------------------------------------------------------


def test_edit_and_replay(served: Dashboard) -> None:
    (number,) = put(served, body(3))
    again = problem(post(served, f"{number}/replay"), 422)
    assert (again["title"], again["detail"], again["outcome"]) == ("It is refused again", REASON, "refused")
    edited = post(served, f"{number}/edit", set={"data.keys.order": "S1"})
    assert (edited.status_code, edited.json()) == (201, {"id": number, "revision": 1})
    accepted = post(served, f"{number}/replay")
    assert (accepted.status_code, accepted.json()) == (
        202, {"id": number, "outcome": "accepted", "note": "", "events": ["e3"]},
    )  # fmt: skip
    assert logged(served) == ["e3"]
    detail = problem(post(served, f"{number}/replay"), 409)["detail"]
    assert detail == f"{number} was replayed already, by key mend"
    assert logged(served) == []
    shown = served.get(f"/v1/quarantine/{number}", key="mend").json()
    assert (shown["state"], shown["outcome"], shown["acted_by"]) == ("replayed", "accepted", "key mend")
    assert json.loads(shown["body"])["data"] == {}
    assert [json.loads(one["body"])["data"] for one in shown["revisions"]] == [KEYS]


def test_a_duplicate_and_a_conflict(served: Dashboard) -> None:
    numbers = put(served, body(4, data=KEYS), body(4, data=KEYS), body(4, data=KEYS, type="order.cancelled"))
    assert post(served, f"{numbers[0]}/replay").status_code == 202
    (entry,) = _entries(served)
    with served.engine.begin() as connection:
        identities.claim(connection, {entry.identity: entry.content})
    assert (post(served, f"{numbers[1]}/replay").status_code, logged(served)) == (200, [])
    assert problem(post(served, f"{numbers[2]}/replay"), 409)["outcome"] == "conflict"
    answer = post(served, f"{numbers[2]}/replay", new_id=True)
    assert answer.status_code == 202
    assert logged(served) == answer.json()["events"]


def _entries(served: Dashboard) -> list[Any]:
    with served.engine.begin() as connection:
        return [entry for batch in log.consume(connection, 100) for entry in batch.entries]


def test_bytes_that_are_no_text(served: Dashboard) -> None:
    (number,) = put(served, b"\xff\x00")
    assert served.get(f"/v1/quarantine/{number}", key="mend").json()["body_base64"] == "/wA="
    text = base64.b64encode(body(5, data=KEYS)).decode()
    assert post(served, f"{number}/edit", body_base64=text).status_code == 201
    assert post(served, f"{number}/replay").status_code == 202
    assert logged(served) == ["e5"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({}, 400),
        ({"body": "a", "set": {"a": "b"}}, 400),
        ({"body_base64": "?"}, 400),
        ({"set": {"type.x": "b"}}, 400),
        ({"body": 1}, 422),
        ({"unknown": 1}, 422),
        ({"body": "x" * (512 * 1024 + 1)}, 422),
    ],
)
def test_edits_that_can_not_be(served: Dashboard, content: dict[str, Any], status: int) -> None:
    (number,) = put(served, body(6))
    problem(post(served, f"{number}/edit", **content), status)


def test_discard(served: Dashboard) -> None:
    (number,) = put(served, body(7))
    problem(post(served, f"{number}/discard"), 422)
    problem(post(served, f"{number}/discard", reason=""), 422)
    answer = post(served, f"{number}/discard", reason="test data")
    assert (answer.status_code, answer.json()) == (200, {"discarded": 1, "more": False})
    problem(post(served, f"{number}/discard", reason="again"), 409)
    problem(post(served, f"{number}/edit", body="{}"), 409)


@pytest.mark.parametrize("number", ["999999999", "9223372036854775807"])
def test_what_is_not_there(served: Dashboard, number: str) -> None:
    problem(served.get(f"/v1/quarantine/{number}", key="mend"), 404)
    for path, content in (("edit", {"body": "{}"}), ("replay", {}), ("discard", {"reason": "x"})):
        problem(post(served, f"{number}/{path}", **content), 404)


@pytest.mark.parametrize("number", ["0", "-1", "x", "9223372036854775808"])
def test_what_is_no_number(served: Dashboard, number: str) -> None:
    problem(served.get(f"/v1/quarantine/{number}", key="mend"), 422)


# --- many -------------------------------------------------------------------------------------------------------------


def test_a_group_is_tried_replayed_and_discarded(served: Dashboard) -> None:
    put(served, *(body(100 + number, data=KEYS) for number in range(7)), source="/many")
    put(served, *(body(200 + number) for number in range(3)), source="/many")
    (group,) = served.get("/v1/quarantine/groups", source="/many").json()["items"]
    assert (group["kind"], group["rule"], group["open"]) == ("malformed", REASON, 10)
    wanted = {"group": group["group"]}
    with served.engine.begin() as connection:
        connection.execute(sa.update(t.quarantine).where(t.quarantine.c.group_id == group["group"]).values(source="/s"))
    tried = post(served, "replay", **wanted, dry_run=True)
    expected = {"accepted": 7, "duplicate": 0, "conflict": 0, "refused": 3, "more": False}
    assert tried.status_code == 200
    assert tried.json() == {**expected, "notes": [{"note": REASON, "rows": 3}]}
    assert logged(served) == []
    first = post(served, "replay", **wanted, limit=4).json()
    assert (first["accepted"], first["more"]) == (4, True)
    second = post(served, "replay", **wanted).json()
    assert (second["accepted"], second["refused"], second["more"]) == (3, 3, False)
    assert len(logged(served)) == 7
    assert post(served, "discard", **wanted, reason="old", limit=2).json() == {"discarded": 2, "more": True}
    assert post(served, "discard", **wanted, reason="old").json() == {"discarded": 1, "more": False}
    (group,) = served.get("/v1/quarantine/groups", source="/many", state="any").json()["items"]
    assert (group["open"], group["replayed"], group["discarded"]) == (0, 7, 3)


def test_what_fails_alike_is_mended_alike(served: Dashboard) -> None:
    put(served, *(body(300 + number, data={"outcome": "fine"}) for number in range(3)), b"no json", source="/alike")
    wanted = {"source": "/alike"}
    answer = post(served, "edit", **wanted, set={"data.outcome": "ok", "data.keys": {"order": "S9"}})
    assert (answer.status_code, answer.json()) == (200, {"edited": 3, "of": 4, "more": False})
    assert post(served, "edit", **wanted, set={"data.outcome": "ok"}).json()["edited"] == 0
    assert post(served, "edit", **wanted, set={"source": "/alike"}, limit=2).json() == {
        "edited": 2, "of": 2, "more": True,
    }  # fmt: skip
    report = post(served, "replay", **wanted).json()
    assert (report["accepted"], report["refused"]) == (2, 2)
    assert logged(served) == ["e300", "e301"]
    problem(post(served, "edit", **wanted, set={}), 422)
    problem(post(served, "edit", "read", **wanted, set={"data.outcome": "ok"}), 403)


@pytest.mark.parametrize("path", ["replay", "discard"])
@pytest.mark.parametrize(
    ("content", "status"),
    [({}, 400), ({"kind": "other"}, 422), ({"ids": ["x"]}, 422), ({"group": 0}, 422), ({"group": 1, "limit": 0}, 422)],
)  # fmt: skip
def test_filters_that_can_not_be(served: Dashboard, path: str, content: dict[str, Any], status: int) -> None:
    more = {"reason": "x"} if path == "discard" else {}
    problem(post(served, path, **content, **more), status)


def test_lists_come_in_pages(served: Dashboard) -> None:
    numbers = put(served, *(body(number) for number in range(25)), source="/pages")
    found: list[int] = []
    cursor = ""
    while True:
        page = served.get("/v1/quarantine", source="/pages", state="open", limit=10, cursor=cursor).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == sorted(numbers, reverse=True)
    problem(served.get("/v1/quarantine", cursor="?"), 400)
    problem(served.get("/v1/quarantine/groups", cursor="?"), 400)


def test_clock_skew_is_told_apart(served: Dashboard) -> None:
    """Such an event is stored and counts as of its reception; it is no refusal."""
    columns = {"outcome": "ok", "type": "order.received", "body": {}, "occurred_at": FIRST, "received_at": FIRST}
    rows = [
        {**columns, "event_no": number, "source": "/skew", "event_id": str(number), "flags": flags,
         "claimed_at": FIRST + timedelta(hours=2)}
        for number, flags in ((1, 0), (2, 2), (3, 6))
    ]  # fmt: skip
    with served.engine.begin() as connection:
        connection.execute(sa.insert(t.events), rows)
    found = served.get("/v1/skewed", source="/skew").json()["items"]
    assert [(item["id"], item["ahead_seconds"]) for item in found] == [("3", 7200.0), ("2", 7200.0)]
    assert served.get("/v1/skewed", source="/none").json() == {"items": [], "next_cursor": None}
