"""The page that ``captioner units`` writes, opened from the disk as a person opens it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from captioner.bundle import find_bundle
from captioner.explain.units.pages import units_page
from captioner.tasks.units import UnitStudy, study_units

pytestmark = pytest.mark.browser
VERSE = "ROMEO:\nBut soft, what light?\n\nJULIET:\nAy me!\n\n"


@pytest.fixture(scope="module")
def study(text_bundles: Path) -> UnitStudy:
    return study_units(find_bundle("generate", str(text_bundles / "generate")), VERSE * 8)


@pytest.fixture
def page(browser: Any, study: UnitStudy, tmp_path: Path) -> Any:
    path = tmp_path / "units.html"
    path.write_text(
        units_page(
            study.text, study.recording, study.findings, list(study.characters), title="Units"
        ),
        encoding="utf-8",
    )
    page = browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda one: one.url.startswith("file:") or faults.append(one.url))
    page.goto(path.as_uri())
    yield page
    assert faults == []
    page.close()


def colours(page: Any) -> list[str]:
    found: list[str] = page.locator("#text span").evaluate_all(
        "spans => spans.map((span) => span.style.backgroundColor)"
    )
    return found


def test_any_unit_colours_the_text(page: Any, study: UnitStudy) -> None:
    best = study.findings[0].best.unit
    assert page.locator("#unit").input_value() == best
    first = colours(page)
    assert len(first) == len(study.text)
    page.locator("nav button").nth(1).click()
    assert (
        page.locator("nav button[aria-pressed=true]")
        .first.inner_text()
        .startswith(study.findings[0].fits[1].unit)
    )
    assert colours(page) != first
    page.locator("#unit").fill("c1.7")
    page.locator("#unit").press("Enter")
    values = study.recording.shown([study.recording.column("c1.7")])[:, 0]
    for value, colour in zip(values, colours(page), strict=True):
        red, _, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
        assert (red > blue) == (value > 0) or abs(value) < 0.01


def test_a_character_tells_its_value_and_the_likeliest_next_ones(
    page: Any, study: UnitStudy
) -> None:
    page.locator("#unit").fill("c1.7")
    page.locator("#unit").press("Enter")
    page.locator("#text span").nth(2).hover()
    said = page.locator("#reading").inner_text()
    value = study.recording.shown([study.recording.column("c1.7")])[2, 0]
    assert float(re.search(r"c1\.7 = (-?[\d.]+)", said)[1]) == pytest.approx(value, abs=0.02)
    likeliest = [study.characters[number] for number in study.recording.likeliest[2]]
    shown = page.locator("#reading code").all_inner_texts()
    assert shown == ["M", *({"\n": "⏎", " ": "␣"}.get(one, one) for one in likeliest)]
    page.locator("#text").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#reading code").first.inner_text() == "E"
