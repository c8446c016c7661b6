"""A real Chromium in front of the real service, and what every visit to the page has to keep to.

Nothing here sleeps: Playwright waits for what a person would wait for.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
AXE = Path(__file__).with_name("node_modules") / "axe-core" / "axe.min.js"
PATIENCE_MS = 120_000  # a busy machine is slow, not wrong
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
]  # fmt: skip
# Runs before the page's own scripts in every document.
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(event.violatedDirective + " " + event.blockedURI));
"""


def find_chromium() -> str | None:
    named = os.environ.get("CAPTIONER_CHROMIUM")
    names = ("chromium", "chromium-browser", "google-chrome")
    return named or next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One a module: while it is there, nothing else may run an event loop in this thread."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = find_chromium()
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium, or CAPTIONER_CHROMIUM=path")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page that is open, and what was seen of it."""

    page: Any
    url: str
    elsewhere: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def drop(self, *files: tuple[str, bytes, str]) -> None:
        """Drops files, each (name, bytes, media type), anywhere on the page."""
        transfer = self.page.evaluate_handle(
            """(files) => {
              const transfer = new DataTransfer();
              for (const [name, bytes, type] of files) {
                const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([content], name, { type }));
              }
              return transfer;
            }""",
            [[name, _base64(content), kind] for name, content, kind in files],
        )
        for event in ("dragenter", "dragover", "drop"):
            self.page.dispatch_event("main", event, {"dataTransfer": transfer})

    def downloaded(self, click: str) -> tuple[str, str]:
        """Name and text of the file that a click on the button saves."""
        with self.page.expect_download() as waiting:
            self.page.get_by_role("button", name=click, exact=True).click()
        saved = waiting.value
        return saved.suggested_filename, Path(saved.path()).read_bytes().decode()

    def violations(self) -> list[str]:
        found: list[str] = self.page.evaluate("window.violations")
        return found

    def is_wider_than_the_screen(self) -> bool:
        wide: bool = self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        return wide


def _base64(content: bytes) -> str:
    from base64 import b64encode

    return b64encode(content).decode()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    """``visit(service, "#video", locale="ko-KR")``: the page in a fresh context.

    At the end: no request has left the origin, the policy was never violated, no script has failed.
    """
    contexts: list[Any] = []
    visits: list[Visit] = []

    def open_page(service: Any, place: str = "", **options: Any) -> Visit:
        context = browser.new_context(**({"locale": "en-US", "reduced_motion": "reduce"} | options))
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.grant_permissions(["camera", "clipboard-read", "clipboard-write"])
        context.add_init_script(WATCH)
        page = context.new_page()
        seen = Visit(page, service.url)
        visits.append(seen)

        def request(one: Any) -> None:
            seen.asked.append(f"{one.method} {one.url.removeprefix(service.url)}")
            if not one.url.startswith((f"{service.url}/", "blob:")):
                seen.elsewhere.append(one.url)

        def console(message: Any) -> None:
            if "Content Security Policy" in message.text or "Trusted" in message.text:
                seen.faults.append(message.text)

        page.on("request", request)
        page.on("console", console)
        page.on("pageerror", lambda error: seen.faults.append(str(error)))
        page.on("dialog", lambda dialog: (seen.faults.append("a dialog"), dialog.dismiss()))
        page.goto(f"{service.url}/{place}")
        return seen

    yield open_page
    for one in visits:
        assert one.elsewhere == [], "requests that left the origin"
        assert one.faults == []
        if not one.page.is_closed():
            assert one.violations() == []
    for context in contexts:
        context.close()


@pytest.fixture
def check_access() -> Callable[[Visit], None]:
    """Fails on what axe-core finds serious or critical."""
    if not AXE.exists():
        pytest.skip(
            f"there is no axe-core: npm install --prefix {AXE.parents[2].relative_to(ROOT)}"
        )
    source = AXE.read_text("utf-8")

    def check(visit: Visit) -> None:
        visit.page.evaluate(f"() => {{ {source} }}")
        found = visit.page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
        bad = [
            (rule["id"], [node["html"][:200] for node in rule["nodes"]])
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
        ]
        assert not bad, json.dumps(bad, indent=1)

    return check


def _bundle_or(task: str, small: Path) -> str:
    shipped = ROOT / "bundles" / task
    return str(shipped if shipped.is_dir() else small / task)


@pytest.fixture(scope="session")
def site(kit: Any, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The service with the shipped captioner, and a small labeller that knows three colours.

    What is larger than 100 kB is a job, so that jobs are short here.
    """
    from captioner.tasks import load

    models = {"caption": _bundle_or("caption", bundles), "frames": str(bundles / "frames")}
    with kit.running(
        load=lambda task, model: load(task, model=model),
        models=models,
        frames_max_bytes=100_000,
        state_dir=str(tmp_path_factory.mktemp("state")),
    ) as service:
        yield service


@pytest.fixture(scope="session")
def astronaut() -> bytes:
    """scikit-image's photo, 320 pixels wide, as JPEG."""
    from skimage import data

    image = Image.fromarray(data.astronaut())
    image.thumbnail((320, 320))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
