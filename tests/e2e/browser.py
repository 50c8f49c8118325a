"""A browser in the hands of a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.dashboard import PASSWORD


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
