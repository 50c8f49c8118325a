"""Addresses of pages: what a browser and PostgreSQL make of odd ones."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest

from dashboards.components.parts import journey_href
from dashboards.view import params_of, path_of


@pytest.mark.parametrize("key", ["S00001", "WH/OUT/1", "a/../b", "./x", "x/..", "100 %", "a..b/c"])
def test_a_browser_leaves_the_key_in_an_address(key: str) -> None:
    gone_to = urlsplit(urljoin("https://milepost.example/alerts/3", journey_href("order", key))).path
    assert path_of(gone_to) == f"/journeys/order/{key}"


def test_an_address_holds_no_nul() -> None:
    assert path_of("/journeys/order/a%00b") == "/journeys/order/ab"
    assert params_of("?q=%00x&a%00=b") == {"q": "x", "a": "b"}
