"""The browser Chromium, for tests of pages."""

import shutil
from collections.abc import Iterator

import pytest
from playwright import sync_api

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is a system package and is not installed: apt-get install chromium"
)


def launched() -> Iterator[sync_api.Browser]:
    """Yield a headless browser; for a fixture."""
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()
