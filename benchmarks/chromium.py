"""A headless Chromium, driven by Playwright (``pip install 'captioner[test]'``)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's own browser: CAPTIONER_CHROMIUM names it, else it is looked for."""
    found = (path for name in NAMES if (path := shutil.which(name)))
    path = os.environ.get("CAPTIONER_CHROMIUM") or next(found, None)
    if path is None:
        raise SystemExit("There is no Chromium: apt-get install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()
