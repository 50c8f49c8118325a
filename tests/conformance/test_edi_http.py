"""/v1/edi/{source}: status codes and bodies, on a real collector and a real database."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from milepost import settings
from tests.conformance.edi_samples import ACME, ORDER, US, x12
from tests.databases import Databases
from tests.served import Served, collector

GOOD = x12(ACME, US, 17, "PO", ORDER)
BROKEN = GOOD.replace("SE*5", "SE*6")
ERROR = "segment 7 (SE), element 1: 6 segments announced, 5 found"


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Served]:
    limits = settings.Ingest(max_body_bytes=100_000, max_batch_events=40)
    with databases.fresh() as url, collector(url, limits=limits) as running:
        yield running


def post(served: Served, text: str, *, source: str = "edi", key: str = "anybody", **headers: str) -> httpx.Response:
    given = {"content-type": "application/edi-x12", "authorization": f"Bearer {served.keys[key]}"}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    body = gzip.compress(text.encode()) if more.get("content-encoding") == "gzip" else text.encode("latin-1")
    return served.client.post(f"/v1/edi/{source}", content=body, headers=given | more)


@pytest.mark.parametrize("media", ["application/edi-x12", "application/edifact", "text/plain; charset=utf-8"])
def test_interchanges_are_taken_whatever_they_are_called(served: Served, media: str) -> None:
    answer = post(served, GOOD, content_type=media)
    documents = [{"type": "850", "control": "0001", "events": 2}]
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "rejected": [], "documents": documents})
    assert [msgspec.json.decode(entry.body)["source"] for entry in served.taken()] == ["edi", "edi"]


def test_the_healthy_ones_are_taken_and_the_broken_one_is_kept(served: Served) -> None:
    answer = post(served, BROKEN + GOOD, content_encoding="gzip")
    assert answer.status_code == 202
    assert answer.json()["rejected"] == [{"index": 0, "id": None, "error": ERROR}]
    assert len(served.taken()) == 2
    (held,) = served.quarantined()
    assert (held["reason"], held["body"], held["way"], held["source"]) == (ERROR, BROKEN.encode(), "edi", "edi")


def test_nothing_accepted_is_told_as_such(served: Served) -> None:
    answer = post(served, BROKEN.replace("000000017", "000000018"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["rejected"] == [{"index": 0, "id": None, "error": ERROR}]
    served.quarantined()


@pytest.mark.parametrize(
    ("status", "text", "more"),
    [
        (400, " \r\n", {}),
        (401, GOOD, {"authorization": "Bearer mp_x_y"}),
        (403, GOOD, {"key": "north"}),
        (413, GOOD * 400, {}),
        (413, "".join(x12(ACME, US, number, "PO", ORDER) for number in range(1, 22)), {}),
        (415, GOOD, {"content_type": "application/json"}),
        (415, GOOD, {"content_encoding": "lzma"}),
        (422, "hello", {}),
    ],
)
def test_what_is_refused(served: Served, status: int, text: str, more: dict[str, str]) -> None:
    answer = post(served, text, **more)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert served.taken() == []
    served.quarantined()


def test_a_slash_that_begins_the_sources_name_may_be_left_out(served: Served) -> None:
    assert post(served, GOOD, source="wms/north", key="north").status_code == 202
    assert {msgspec.json.decode(entry.body)["source"] for entry in served.taken()} == {"/wms/north"}
