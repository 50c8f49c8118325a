"""`traceparent`: the cases of the W3C's own test suite, and the edges of the grammar beside them."""

from __future__ import annotations

import pytest

from collector.trace import of_request, trace_id_of

TRACE = "12345678901234567890123456789012"
PARENT = "1234567890123456"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-ff",
        f" {GOOD}",
        f"\t{GOOD}",
        f"{GOOD} ",
        f"{GOOD}\t",
        f"01-{TRACE}-{PARENT}-00",
        f"cc-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-",
        f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like",
    ],
)
def test_valid(text: str) -> None:
    assert trace_id_of(text) == TRACE


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{GOOD}.",
        f"{GOOD}-",
        f"{GOOD}-what-the-future-will-be-like",
        f"cc-{TRACE}-{PARENT}-01.what-the-future-will-be-like",
        f"ff-{TRACE}-{PARENT}-01",
        f".0-{TRACE}-{PARENT}-01",
        f"0.-{TRACE}-{PARENT}-01",
        f"000-{TRACE}-{PARENT}-01",
        f"0000-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-.{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE[:-1]}.-{PARENT}-01",
        f"00-{TRACE}3-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-.{PARENT[1:]}-01",
        f"00-{TRACE}-{PARENT[:-1]}.-01",
        f"00-{TRACE}-{PARENT}7-01",
        f"00-{TRACE}-{PARENT[:-1]}-01",
        f"00-{TRACE}-{PARENT}-.0",
        f"00-{TRACE}-{PARENT}-0.",
        f"00-{TRACE}-{PARENT}-001",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{'A' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'A' * 16}-01",
        f"{GOOD}\n",
        f"00-{'١' * 32}-{PARENT}-01",
        f"{GOOD},{GOOD}",
    ],
)
def test_invalid(text: str) -> None:
    assert trace_id_of(text) is None


def test_one_header_only() -> None:
    header = (b"traceparent", GOOD.encode())
    assert of_request({}, []) is None
    assert of_request(dict([header]), [(b"host", b"x"), header]) == TRACE
    assert of_request(dict([header]), [header, header]) is None
    assert of_request({b"trace-parent": GOOD.encode()}, [(b"trace-parent", GOOD.encode())]) is None
