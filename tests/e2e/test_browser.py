"""Every page in a real browser: wide and narrow, light and dark, with data and without; no error, no other host.

Screenshots go to MILEPOST_SCREENSHOTS, or a temporary folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.decisions import correlation
from milepost.inbox import identities, log
from sla.objective.job import judge_once
from tests.dashboard import CATALOG, PASSWORD, Dashboard, dashboard
from tests.databases import Databases
from tests.seed import seed

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
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,900",
)  # fmt: skip


class Browser:
    """A new browser on one dashboard."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, path: str) -> None:
        """Go to a path and wait until the page shows its data."""
        self.driver.get(self.url + path)
        self.settled()

    def login(self, name: str, to: str = "/") -> None:
        self.driver.get(f"{self.url}/login?next={to}")
        self.one("[name=name]").send_keys(name)
        self.one("[name=password]").send_keys(PASSWORD)
        self.one("form").submit()
        self.settled()

    def settled(self) -> None:
        """The frame stands, the body is no longer a ghost, and charts and grids are drawn."""
        self.until(
            lambda: self.driver.execute_script(
                "const body = document.getElementById('body');"
                "return !!document.title.includes(' · ') && body && body.children.length > 0"
                " && !body.querySelector('.mp-ghosts')"
                " && [...body.querySelectorAll('.dash-graph')].every(one => one.querySelector('.main-svg'))"
                " && [...body.querySelectorAll('.mp-rows')].every(one => one.querySelector('.ag-row'))"
            )
        )

    def until(self, true: Callable[[], Any], seconds: float = 20) -> Any:
        """Poll. What the page draws anew in between is looked for again."""
        redrawn = (StaleElementReferenceException, ElementClickInterceptedException)
        wait = WebDriverWait(self.driver, seconds, poll_frequency=0.05, ignored_exceptions=redrawn)
        return wait.until(lambda _: true())

    def one(self, selector: str) -> Any:
        return self.until(lambda: (self.all(selector) or [None])[0])

    def click(self, selector: str) -> None:
        self.until(lambda: [one.click() or one for one in self.all(selector)[:1]])

    def text(self, selector: str) -> str:
        return str(self.until(lambda: [one.text for one in self.all(selector)[:1]])[0])

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def rows(self) -> list[str]:
        """Keys in the grid, top down."""
        script = "return [...document.querySelectorAll('.ag-row .mp-key')].map(one => one.firstChild.textContent)"
        return list(self.driver.execute_script(script))

    def size(self, width: int, height: int = 900) -> None:
        metrics = {
            "width": width,
            "height": height,
            "deviceScaleFactor": 1 if width > 600 else 2,
            "mobile": width < 600,
        }
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def paint(self, scheme: str) -> None:
        self.driver.execute_script(f"localStorage.setItem('mantine-color-scheme-value', '{scheme}')")

    def shoot(self, path: Path) -> None:
        """The whole page, as far as a picture makes sense."""
        width = self.driver.execute_script("return innerWidth")
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        self.size(width, min(max(height, 800), 3000))
        self.driver.execute_async_script("const [done] = arguments; setTimeout(() => requestAnimationFrame(done), 250)")
        self.settled()
        self.driver.save_screenshot(str(path))

    def complaints(self) -> list[str]:
        """What the console says that it should not."""
        return [one["message"] for one in self.driver.get_log("browser") if one["level"] in ("SEVERE", "WARNING")]

    def hosts(self) -> set[str]:
        """Addresses outside the dashboard that were asked for."""
        asked = (json.loads(one["message"])["message"] for one in self.driver.get_log("performance"))
        urls = {one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"}
        return {url for url in urls if not url.startswith((self.url, "data:", "blob:", "chrome"))}


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Dashboard]:
    with databases.fresh() as url, dashboard(url) as made:
        with made.engine.begin() as connection:
            seed(connection, utc_now())
            ends = correlation.pair(connection, 1001, 1004)
            correlation.decide(connection, "cut", *ends, actor="test", reason="typed wrongly", now=utc_now())
        judge_once(made.engine, CATALOG, now=utc_now(), through=utc_now())
        yield made


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = os.environ["MILEPOST_TEST_CHROMIUM"]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield made
    made.quit()


@pytest.fixture
def browser(served: Dashboard, driver: webdriver.Chrome) -> Browser:
    return Browser(driver, served.url)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("MILEPOST_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
