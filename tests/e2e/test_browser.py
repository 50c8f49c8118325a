"""Every page in a real browser: wide and narrow, light and dark, with data and without; no error, no other host.

Screenshots go to MILEPOST_SCREENSHOTS, or a temporary folder.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.inbox import identities, log
from tests.dashboard import Dashboard, dashboard
from tests.e2e.browser import Browser

pytestmark = pytest.mark.browser

WIDE, NARROW = 1280, 390
PAGES = {
    "overview": "/", "journeys": "/journeys", "journey": "/journeys/order/S00003", "alerts": "/alerts",
    "alert": "/alerts/3", "anomalies": "/anomalies", "anomaly": "/anomalies/2", "sources": "/sources",
    "quarantine": "/quarantine", "quarantine-group": "/quarantine/groups/1", "quarantined": "/quarantine/1",
    "objectives": "/objectives", "objective": "/objectives/promised-delivery",
    "decisions": "/decisions", "decision": "/decisions/1", "decide": "/decisions/new/merge?first=1001",
    "silences": "/silences", "silence": "/silences/1", "silence-new": "/silences/new?what=warehouse%3Dnorth",
}  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_page_shows_itself_without_an_error(browser: Browser, pictures: Path, width: int, scheme: str) -> None:
    browser.size(width)
    browser.login("Ada")
    browser.paint(scheme)
    for name, path in PAGES.items():
        browser.size(width)
        browser.open(path)
        assert browser.driver.execute_script("return document.documentElement.dataset.mantineColorScheme") == scheme
        wider = browser.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0, f"{name} is {wider} pixels wider than the screen"
        browser.shoot(pictures / f"{name}-{width}-{scheme}.png")
        assert browser.complaints() == [], name
    assert browser.hosts() == set()


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_first_run_says_what_to_do(database: str, driver: webdriver.Chrome, pictures: Path, width: int) -> None:
    with dashboard(database) as served:
        browser = Browser(driver, served.url)
        browser.size(width)
        driver.get(served.url + "/login")
        driver.save_screenshot(str(pictures / f"login-{width}.png"))
        browser.login("Ada")
        line = browser.text("#curl")
        assert line.startswith("curl -sS https://milepost.example/v1/events")
        browser.shoot(pictures / f"first-run-{width}.png")
        for path in ("/journeys", "/alerts", "/anomalies", "/sources", "/quarantine"):
            browser.open(path)
            assert browser.all(".mp-empty h3"), path
        browser.open("/")
        assert browser.text("#curl") == line
        assert browser.complaints() == []


def test_the_address_carries_the_filters(browser: Browser) -> None:
    browser.login("Vera", "/journeys%3Fhealth%3Dbreached")
    breached = browser.rows()
    _segment(browser, "At risk").click()
    browser.until(lambda: "health=at_risk" in browser.driver.current_url)
    browser.until(lambda: browser.rows() != breached)
    browser.driver.back()
    browser.until(lambda: browser.rows() == breached)
    browser.until(lambda: _chosen(browser) == "Breached")
    browser.one(".mp-search input").send_keys(breached[0].lower())
    browser.until(lambda: browser.rows() == breached[:1])
    assert "health=breached" in browser.driver.current_url
    assert f"q={breached[0].lower()}" in browser.driver.current_url


def _segment(browser: Browser, text: str) -> Any:
    return next(one for one in browser.all(".mp-segments label") if one.text == text)


def _chosen(browser: Browser) -> str:
    return browser.text(".mp-segments label[data-active]")


def test_pages_go_on_and_back(browser: Browser) -> None:
    browser.login("Vera", "/journeys")
    first = browser.rows()
    browser.click("a[title='Next page']")
    browser.until(lambda: browser.rows() and browser.rows()[0] not in first)
    assert not set(browser.rows()) & set(first)
    browser.click("a[title='Previous page']")
    browser.until(lambda: browser.rows() == first)


def test_a_row_leads_to_its_journey_and_back(browser: Browser) -> None:
    browser.login("Vera", "/journeys")
    rows = browser.rows()
    browser.click(".ag-row .ag-cell[col-id=warehouse]")
    browser.until(lambda: browser.driver.current_url.endswith(f"/journeys/order/{rows[0]}"))
    browser.until(lambda: browser.driver.title.startswith(rows[0]))
    assert browser.text(".mp-head h2") == rows[0]
    browser.driver.back()
    browser.until(lambda: browser.rows() == rows)


def test_a_member_is_taken_out_by_keyboard(browser: Browser) -> None:
    """From the three dots beside it to the decision, without a mouse; what is typed stays while the page refreshes."""
    browser.login("Otto", "/journeys/order/S00003")
    browser.one(".mp-correct summary[aria-label='Correct WH/OUT/00003']").send_keys(Keys.ENTER, Keys.TAB, Keys.TAB)
    offer = browser.driver.switch_to.active_element
    assert offer.text == "Take it out of this journey"
    offer.send_keys(Keys.ENTER)
    browser.until(lambda: "WH/OUT/00003 is not in the journey of order S00003" in browser.text(".mp-sentence"))
    reason = browser.one(".mp-reason input")
    reason.send_keys("another truck")
    reason.send_keys(Keys.TAB)
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.until(lambda: "/decisions/new" not in browser.driver.current_url)
    browser.until(lambda: "another truck" in browser.text("#body"))


def test_any_key_is_found_from_everywhere(browser: Browser) -> None:
    browser.login("Vera", "/sources")
    browser.one("#find").send_keys("WH/OUT/00003\n")
    browser.until(lambda: browser.rows() == ["S00003"])


def test_a_refresh_touches_only_what_has_changed(browser: Browser, served: Dashboard) -> None:
    """The page asks anew every few seconds; what it shows stays in place unless it changed."""
    browser.login("Vera", "/journeys%3Fstate%3Dopen")
    key = browser.rows()[-1]
    browser.driver.execute_script(
        "window.asked = 0; const fetched = fetch; window.fetch = (...call) => fetched(...call).then((answer) => {"
        " if (String(call[1] && call[1].body).includes('update.data')) window.asked += 1; return answer; });"
    )
    browser.until(lambda: browser.driver.execute_script("return window.asked") >= 1, 30)
    browser.driver.execute_script(
        "window.touched = []; new MutationObserver((all) => all.forEach((one) => {"
        " window.touched.push(one.target.className || one.target.tagName); }))"
        ".observe(document.getElementById('body'), { childList: true, subtree: true });"
    )
    browser.until(lambda: browser.driver.execute_script("return window.asked") >= 3, 30)
    assert browser.driver.execute_script("return window.touched") == []
    row = next(one for one in browser.all(".ag-row") if key in one.text)
    with served.engine.begin() as connection:
        connection.execute(sa.update(t.journeys).where(t.journeys.c.key == key).values(stage="packed"))
    browser.until(lambda: "Packed" in row.text, 20)


def test_an_operator_acknowledges(browser: Browser, served: Dashboard) -> None:
    browser.login("Otto", "/alerts/3")
    browser.click(".mp-acts .mp-primary")
    browser.until(lambda: any("Acknowledged" in one.text for one in browser.all(".mantine-Notification-root")))
    with served.engine.connect() as connection:
        acts = connection.scalars(sa.select(t.signals.c.body).where(t.signals.c.action == "acknowledge")).all()
    assert [act["actor"] for act in acts] == ["Otto"]


def test_an_operator_mends_and_replays(browser: Browser, served: Dashboard) -> None:
    """What is typed stays while the page refreshes."""
    with served.engine.begin() as connection:
        identities.roll_over(connection, utc_now(), timedelta(days=30))
    browser.login("Otto", "/quarantine/4")
    event = {"specversion": "1.0", "id": "bad-3", "source": "/wms/north", "type": "picking.packed"}
    typed = json.dumps({**event, "data": {"keys": {"picking": "WH/OUT/1"}}})
    area = browser.one(".mp-editor textarea")
    area.send_keys(Keys.CONTROL, "a")
    area.send_keys(typed)
    asked = "return performance.getEntriesByType('resource').filter(e => e.name.includes('update-component')).length"
    before = browser.driver.execute_script(asked)
    browser.until(lambda: browser.driver.execute_script(asked) >= before + 2, 30)
    assert browser.one(".mp-editor textarea").get_attribute("value") == typed
    browser.click(".mp-acts .mp-primary")
    browser.until(lambda: any("Replayed" in one.text for one in browser.all(".mp-head-badges")), 30)
    with served.engine.begin() as connection:
        sent = [entry.body for batch in log.consume(connection, 10) for entry in batch.entries]
    assert [json.loads(body) for body in sent] == [json.loads(typed)]
    assert browser.complaints() == []


def test_light_and_dark_are_remembered(browser: Browser) -> None:
    browser.login("Vera")
    scheme = "return document.documentElement.dataset.mantineColorScheme"
    before = browser.driver.execute_script(scheme)
    browser.click("#scheme")
    browser.until(lambda: browser.driver.execute_script(scheme) != before)
    browser.open("/alerts")
    assert browser.driver.execute_script(scheme) != before


def test_a_phone_folds_the_navigation_away(browser: Browser) -> None:
    browser.size(NARROW)
    browser.login("Vera")
    link = browser.one(".mp-nav-link[href='/sources']")
    assert link.rect["x"] < 0
    browser.click("#burger")
    browser.until(lambda: link.rect["x"] >= 0)
    link.click()
    browser.until(lambda: browser.driver.title.startswith("Sources"))
    browser.until(lambda: link.rect["x"] < 0)


def test_an_ended_session_leads_to_the_login(browser: Browser) -> None:
    browser.login("Vera", "/alerts")
    browser.driver.delete_all_cookies()
    browser.until(lambda: "/login?next=%2Falerts" in browser.driver.current_url, 30)


def test_the_menu_logs_out(browser: Browser) -> None:
    browser.login("Vera")
    browser.click(".mp-avatar")
    browser.click(".mp-leave")
    browser.until(lambda: browser.driver.current_url.endswith("/login"))
