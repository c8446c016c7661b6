"""The pictures of the page in README: ``python -m benchmarks.screenshots``.

The service with the bundles that ship, in a headless Chromium. The photos are scikit-image's:
``astronaut`` (NASA, public domain), ``rocket`` (SpaceX, CC0), ``chelsea`` (Stefan van der Walt,
CC0) and ``coffee`` (Rachel Michetti, CC0); the clip is that of ``make demo``. A tab whose bundle
is not installed gets no picture, and is named.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page
from skimage import data

from benchmarks.chromium import chromium
from benchmarks.service import running
from serving.demo_clip import demo_clip

SIZE = {"width": 1200, "height": 860}
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
QUALITY = 72
MOST_BYTES = 200_000
PATIENCE_MS = 120_000


def photo(page: Page, place: Path) -> None:
    """A gallery, and where the network looked for one word."""
    files = []
    for name in PHOTOS:
        files.append(place / f"{name}.jpg")
        Image.fromarray(getattr(data, name)()).save(files[-1], quality=90)
    page.set_input_files("#photo input[multiple]", files)
    page.locator(".cards li.done").nth(len(files) - 1).wait_for()
    page.locator(".word").last.hover()


def video(page: Page, place: Path) -> None:
    """Labels of a clip, and the one of a moment."""
    clip = place / "clip.mp4"
    clip.write_bytes(demo_clip())
    page.set_input_files("#video input[type=file]", clip)
    page.locator("#video .whole").wait_for()
    width = page.locator(".over").bounding_box()["width"]
    page.locator(".over").click(position={"x": 0.5 * width, "y": 5})
    page.locator(".beside li:not([hidden])").first.wait_for()


def translate(page: Page, place: Path) -> None:
    """A sentence, its translations and the grid."""
    page.locator("#translate-source").fill("Ein Hund rennt durch den tiefen Schnee.")
    page.keyboard.press("Control+Enter")
    page.locator(".translation").wait_for()
    page.locator(".grid tbody button").nth(2).hover()


def write(page: Page, place: Path) -> None:
    """A text that was written, in the colours of its probabilities."""
    page.locator("#write-prompt").fill("ROMEO:\n")
    page.locator("#write-length").fill("500")
    page.locator("#write-seed").fill("1")
    page.get_by_role("button", name="Write", exact=True).click()
    page.locator("#write .status p").wait_for()


TABS: dict[str, Callable[[Page, Path], None]] = {
    "photo": photo, "video": video, "translate": translate, "write": write,
}  # fmt: skip


def main() -> None:
    """Writes ``page-photo.webp`` and so on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, chromium() as browser, running() as service:
        for tab, fill in TABS.items():
            page = browser.new_page(viewport=SIZE, locale="en-US", reduced_motion="reduce")
            page.set_default_timeout(PATIENCE_MS)
            page.goto(f"http://127.0.0.1:{service.port}/#{tab}")
            page.locator("#served a").wait_for()
            page.locator(f"#{tab} > *").first.wait_for()
            if page.locator(f"#{tab} > .missing").count():
                print(f"{tab}: no bundle is installed, no picture")
                continue
            fill(page, Path(name))
            page.wait_for_timeout(500)  # what fades has faded
            picture = Image.open(io.BytesIO(page.screenshot()))
            picture.convert("RGB").save(out / f"page-{tab}.webp", quality=QUALITY, method=6)
            print(f"{tab}: {(out / f'page-{tab}.webp').stat().st_size / 1000:.1f} kB")
            page.close()
    size = sum(path.stat().st_size for path in out.glob("page-*.webp"))
    print(f"together {size / 1000:.1f} kB, at most {MOST_BYTES / 1000:.0f}")
    if size > MOST_BYTES:
        raise SystemExit("That is too much.")


if __name__ == "__main__":
    main()
