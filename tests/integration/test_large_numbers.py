"""Numbers that no reader takes, in fields that nothing reads: refused, and harmless where they are stored already."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from collector.replay import Replayer
from milepost import contract, tolerant
from milepost.catalog import loader
from milepost.clock import to_us, utc_now
from milepost.errors import InvalidEvent
from milepost.inbox import identities, quarantine
from milepost.inbox.quarantine import Refusal
from milepost.inbox.quarantine.mend import Wanted
from tests.chain import Chain
from tests.dashboard import dashboard

LARGE = ["9" * 5000, "1e400", "-1e400", '[{"a": 1e400}]']


def body(number: int, value: str, where: str = "data") -> bytes:
    data, beside = ("", f',"x":{value}') if where == "event" else (f',"x":{value}', "")
    start = (
        f'{{"specversion":"1.0","id":"{number}","source":"wms","type":"order.received","time":"2026-11-20T10:00:00Z"'
    )
    return f'{start},"data":{{"keys":{{"order":"S{number}"}}{data}}}{beside}}}'.encode()


@pytest.mark.parametrize("value", LARGE)
@pytest.mark.parametrize("where", ["data", "event"])
def test_they_are_refused(value: str, where: str) -> None:
    with pytest.raises(InvalidEvent, match="too large; send it as text"):
        contract.decode(body(1, value, where))


def test_they_are_refused_in_attributes_of_cloudevents_and_in_links() -> None:
    link = b'"links":[{"parent":{"type":"order","key":"S1"},"child":{"type":"picking","key":"P1"},"note":1e400}]'
    for text in (body(1, "1")[:-1] + b',"subject":1e400}', body(1, "1").replace(b'"x":1', link)):
        with pytest.raises(InvalidEvent, match="too large"):
            contract.decode(text)


@pytest.mark.parametrize("value", ["9" * 300, "1e300", "1e-400", '"1e400"', '"' + "9" * 5000 + '"'])
def test_others_are_taken(value: str) -> None:
    assert contract.decode(body(1, value)).id == "1"


def test_stored_ones_hide_nothing(database: str, engine: sa.Engine) -> None:
    entries = [stored(number, value) for number, value in enumerate(["9" * 5000, "1e400", "1"], start=1)]
    chain = Chain(engine)
    chain.append(entries)
    chain.settle()
    with dashboard(database) as client:
        for number in (1, 2, 3):
            assert client.get(f"/v1/journeys/order/S{number}").status_code == 200
        for kind in ("ocel-json", "xes", "csv"):
            text = client.get(f"/v1/export/{kind}").text
            assert [f"S{number}" in text for number in (1, 2, 3)] == [True] * 3


def stored(number: int, value: str) -> contract.Entry:
    """As it was taken before."""
    event, at = contract.decode(body(number, "1")), utc_now() - timedelta(minutes=1)
    identity, content = contract.identity_of(event.source, event.id), contract.content_of(event)
    return contract.Entry(identity, content, to_us(at), body(number, value))


def test_a_replay_goes_on_beyond_them(engine: sa.Engine) -> None:
    catalog = loader.load(loader.default_texts())
    bodies = [body(number, value) for number, value in enumerate(("1", "1e400", "1"), start=1)]
    with engine.begin() as connection:
        identities.roll_over(connection, utc_now(), timedelta(days=30))
        quarantine.add(connection, [Refusal(utc_now(), "wms", "forbidden", "no", None, one, "k") for one in bodies])
    report = Replayer(engine, lambda _: catalog, utc_now).many(Wanted(source="wms"), actor="Otto", vouch=True)
    assert report.outcomes == {"accepted": 2, "refused": 1}


def test_what_python_can_not_read_stays_text() -> None:
    assert tolerant.loads(f'{{"a": [{"9" * 5000}, 1e400, 5, 0.5]}}') == {"a": ["9" * 5000, "1e400", 5, 0.5]}
