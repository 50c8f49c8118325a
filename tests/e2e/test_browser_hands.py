"""What a reader does in a real browser and may meet: a server that is gone, a keyboard, a phone, odd addresses."""

from __future__ import annotations

import pytest

from tests.e2e.browser import Browser

pytestmark = pytest.mark.browser

CALLBACKS = "*/_dash-update-component*"
ASK = "dash_clientside.set_props('pulse', {data: Math.random()})"


def test_it_says_that_the_server_is_gone(browser: Browser) -> None:
    browser.login("Vera", "/alerts")
    assert browser.text("#live") == "Live"
    _block(browser, CALLBACKS)
    browser.driver.execute_script(ASK)
    browser.until(lambda: browser.text("#live").startswith("No connection since "))
    _block(browser)
    browser.driver.execute_script(ASK)
    browser.until(lambda: browser.text("#live") == "Live")


def test_a_page_that_never_came_says_so_and_comes_later(browser: Browser) -> None:
    browser.login("Vera", "/alerts")
    _block(browser, CALLBACKS)
    browser.driver.get(browser.url + "/journeys")
    assert browser.text("#body h3") == "The page can't be shown"
    assert browser.one("#body a").get_attribute("href") == browser.url + "/journeys"
    _block(browser)
    browser.driver.execute_script(ASK)
    browser.until(browser.rows)


def _block(browser: Browser, *urls: str) -> None:
    browser.driver.execute_cdp_cmd("Network.enable", {})
    browser.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": list(urls)})
