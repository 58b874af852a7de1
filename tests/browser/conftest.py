"""A browser for each test that drives one."""

from collections.abc import Iterator

import pytest
from selenium import webdriver

from benchmarks.pictures import chromium


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium, without a window."""
    with chromium() as driver:
        yield driver
