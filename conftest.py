"""Tests that need a real service are skipped without it, or refused: `pytest --require-services`, as CI does.

`tests/integration/services/up` starts the services and writes the variables into a file to source.
"""

import os

import pytest

SERVICES = {
    "timescale": "MILEPOST_TEST_TIMESCALE_URL",
    "odoo": "MILEPOST_TEST_ODOO_URL",
    "browser": "MILEPOST_TEST_CHROMIUM",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --require-services."""
    parser.addoption(
        "--require-services",
        action="store_true",
        help="fail, rather than skip, where the variable of a service is missing",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what can't run here; with --require-services stop before the first test instead."""
    needed = {mark: variable for mark, variable in SERVICES.items() if not os.environ.get(variable)}
    without = [(item, mark) for item in items for mark in needed if item.get_closest_marker(mark)]
    if without and config.getoption("--require-services"):
        missing = ", ".join(sorted({needed[mark] for _, mark in without}))
        raise pytest.UsageError(f"--require-services: {missing} must be set (tests/integration/services/up)")
    for item, mark in without:
        item.add_marker(pytest.mark.skip(reason=f"needs {needed[mark]}"))
