"""What senders are told of their rates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from collector import rates
from collector.rates import Rates
from milepost.errors import ConfigurationError, RateLimited

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


@dataclass
class Key:
    key_id: str
    name: str


def test_the_fields_follow_the_bucket() -> None:
    limits, key = Rates(10, {"shop": 2}), Key("a", "wms")
    limits.check(key, NOW)
    limits.take(key, 4, NOW)
    assert rates.told() == [
        (b"ratelimit-policy", b'"events";q=10;w=1;milepost-unit="event"'),
        (b"ratelimit", b'"events";r=6;t=1'),
    ]
    limits.take(key, 30, NOW)
    with pytest.raises(RateLimited) as caught:
        limits.check(key, NOW)
    assert caught.value.retry_after == pytest.approx(2.5)
    assert rates.told()[1] == (b"ratelimit", b'"events";r=0;t=3'), "not later than Retry-After"
    limits.check(key, NOW + timedelta(seconds=3))


def test_a_named_key_has_its_own_rate() -> None:
    limits = Rates(10, rates.named(" wms north=500, a=b=2 "))
    limits.check(Key("a", "a=b"), NOW)
    assert rates.told()[1] == (b"ratelimit", b'"events";r=2;t=1')
    limits.check(Key("b", "wms north"), NOW)
    assert rates.told()[1] == (b"ratelimit", b'"events";r=500;t=1')


@pytest.mark.parametrize("text", ["shop", "shop=", "=5", "shop=0", "shop=-1", "shop=1.5"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="MILEPOST_RATES_OF_KEYS"):
        rates.named(text)
