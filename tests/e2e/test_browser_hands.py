"""What a reader does in a real browser and may meet: a server that is gone, a keyboard, a phone, odd addresses."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from dashboards.components.parts import journey_href
from milepost.db import tables as t
from tests.dashboard import Dashboard
from tests.e2e.browser import Browser

pytestmark = pytest.mark.browser

CALLBACKS = "*/_dash-update-component*"
ASK = "dash_clientside.set_props('pulse', {data: Math.random()})"
PHONE = 390
CONTRAST = 4.5
"""Of WCAG, for text of this size."""
FAINT = """
const channels = (text) => text.match(/[\\d.]+/g).map(Number);
const linear = (one) => one / 255 <= .04045 ? one / 255 / 12.92 : ((one / 255 + .055) / 1.055) ** 2.4;
const light = ([red, green, blue]) => .2126 * linear(red) + .7152 * linear(green) + .0722 * linear(blue);
const up = (one) => one ? [one, ...up(one.parentElement)] : [];
const contrast = (one) => {
  const styles = up(one).map((each) => getComputedStyle(each));
  const under = styles.map((each) => channels(each.backgroundColor)).find((each) => each[3] !== 0);
  const [low, high] = [light(channels(styles[0].color)), light(under)].sort((a, b) => a - b);
  return styles.some((each) => each.opacity < 1) ? 0 : (high + .05) / (low + .05);
};
const shown = [...document.querySelectorAll(arguments[0])].filter((one) => one.textContent.trim() && one.offsetParent);
return shown.map((one) => [one.className || one.tagName, contrast(one)]);
"""


def test_it_says_that_the_server_is_gone(browser: Browser) -> None:
    browser.login("Vera", "/alerts")
    assert browser.text("#live") == "Live"
    _block(browser, CALLBACKS)
    browser.driver.execute_script(ASK)
    browser.until(lambda: browser.text("#live").startswith("No connection since "))
    _block(browser)
    browser.driver.execute_script(ASK)
    browser.until(lambda: browser.text("#live") == "Live")


def test_it_says_that_the_server_fails(browser: Browser, served: Dashboard) -> None:
    browser.login("Vera", "/alerts")
    _rename(served, t.alerts.fullname, "alerts_away")
    try:
        browser.driver.execute_script(ASK)
        browser.until(lambda: browser.text("#live").startswith("Server error since "))
    finally:
        _rename(served, t.alerts.fullname.replace("alerts", "alerts_away"), "alerts")
    browser.driver.execute_script(ASK)
    browser.until(lambda: browser.text("#live") == "Live")


def _rename(served: Dashboard, table: str, name: str) -> None:
    with served.engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table} RENAME TO {name}"))


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


def test_a_phone_has_its_width_for_every_card(browser: Browser) -> None:
    browser.size(PHONE)
    browser.login("Vera")
    widths = [one.rect["width"] for one in browser.all(".mp-columns .mp-card")]
    assert len(widths) > 3
    assert min(widths) > 300


def test_nothing_runs_over_on_a_phone(browser: Browser) -> None:
    browser.size(PHONE)
    browser.login("Otto", "/alerts/3")
    assert all(one.rect["x"] + one.rect["width"] < PHONE for one in browser.all(".mp-acts > *"))
    for path in ("/objectives", "/reconciliation"):
        browser.open(path)
        spills = (
            "return [...document.querySelectorAll('.mp-alert-row > *')].filter(one => one.scrollWidth > one.clientWidth"
        )
        assert browser.driver.execute_script(spills + " + 1).map(one => one.textContent)") == [], path


def test_keys_are_shown_whole(browser: Browser) -> None:
    cut = "return [...document.querySelectorAll('.ag-cell .mp-key, .ag-cell .mp-clip')].filter(one => one.scrollWidth >"
    browser.size(1440)
    browser.login("Vera", "/alerts/3")
    assert browser.driver.execute_script(cut + " one.clientWidth).map(one => one.textContent)") == []
    assert min(one.rect["width"] for one in browser.all(".ag-cell[col-id=key]")) >= 160


def test_a_keyboard_goes_into_a_grid_and_out(browser: Browser) -> None:
    """Tab leads to the first row, arrows to others, Enter to what it is about; the next Tab to what is below."""
    browser.login("Vera", "/journeys")
    keys = browser.rows()
    browser.until(lambda: _tab(browser).get_attribute("col-id") == "key")
    _press(browser, Keys.ARROW_DOWN)
    browser.until(lambda: keys[1] in browser.driver.switch_to.active_element.text)
    assert _tab(browser).get_attribute("title") == "Next page"
    ActionChains(browser.driver).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    browser.until(lambda: browser.driver.switch_to.active_element.get_attribute("col-id") is not None)
    row = next(key for key in keys if key in browser.driver.execute_script(ROW))
    _press(browser, Keys.ENTER)
    browser.until(lambda: browser.driver.current_url.endswith(f"/journeys/order/{row}"))


ROW = "return document.activeElement.closest('.ag-row').textContent"


def _tab(browser: Browser) -> Any:
    _press(browser, Keys.TAB)
    return browser.driver.switch_to.active_element


def _press(browser: Browser, keys: str) -> None:
    ActionChains(browser.driver).send_keys(keys).perform()


def test_back_leads_to_the_same_place_of_a_list(browser: Browser) -> None:
    browser.login("Vera", "/journeys")
    rows = browser.rows()
    browser.driver.execute_script("window.scrollTo(0, 700)")
    browser.until(lambda: browser.driver.execute_script("return scrollY") == 700)
    browser.driver.execute_script("document.querySelectorAll('.ag-row .mp-row-link')[18].click()")
    browser.until(lambda: browser.all(".mp-head h2"))
    assert browser.driver.execute_script("return scrollY") == 0
    browser.driver.back()
    browser.until(lambda: browser.rows() == rows)
    browser.until(lambda: browser.driver.execute_script("return scrollY") == 700)


@pytest.mark.parametrize("path", ["/journeys?q=%00", "/journeys/order/a%00b", "/journeys/order/%E0%A4%A"])
def test_an_odd_address_has_its_page(browser: Browser, path: str) -> None:
    browser.login("Vera", "/sources")
    browser.open(path)
    assert browser.text("#live") == "Live"
    assert browser.complaints() == []


def test_a_key_with_steps_up_has_its_page(browser: Browser, served: Dashboard) -> None:
    key = "a/../b"
    with served.engine.begin() as connection:
        first = sa.select(sa.func.min(t.journeys.c.journey_id)).scalar_subquery()
        connection.execute(sa.update(t.journeys).where(t.journeys.c.journey_id == first).values(key=key))
    browser.login("Vera", "/sources")
    browser.open(journey_href("order", key))
    assert browser.text(".mp-head h2") == key


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_small_text_can_be_read(browser: Browser, scheme: str) -> None:
    browser.login("Vera")
    browser.paint(scheme)
    small = (
        ".mp-nav-count, .mp-flow-name, .mp-flow-count, .mp-note, .mp-pager > span, .mp-downloads > span, .mp-empty p"
    )
    for path in ("/", "/journeys", "/objectives", "/journeys?q=nothing-like-it"):
        browser.open(path)
        faint = browser.driver.execute_script(FAINT, small)
        assert faint
        assert [one for one in faint if one[1] < CONTRAST] == [], path
