"""A browser, and a dashboard with data for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from milepost.clock import utc_now
from sla.objective.job import judge_once
from tests.dashboard import CATALOG, Dashboard, dashboard
from tests.databases import Databases
from tests.e2e.browser import Browser
from tests.seed import seed_with_a_cut

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,900",
)  # fmt: skip


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Dashboard]:
    with databases.fresh() as url, dashboard(url) as made:
        seed_with_a_cut(made.engine)
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
