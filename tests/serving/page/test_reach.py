"""For everybody: keys alone, a screen reader, a narrow screen, light and dark, two languages."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser
TABS = ("photo", "video", "translate", "write", "units")


@pytest.fixture
def filled(visit, site, kit, astronaut, make_clip):
    """Opens a page whose tabs hold what they can hold."""

    def open_page(**options):
        seen = visit(site, **options)
        page = seen.page
        photo = ("a_very_long_name_" * 6 + ".jpg", astronaut, "image/jpeg")
        seen.drop(photo, ("broken.jpg", b"\xff\xd8\xff", "image/jpeg"))
        page.locator(".caption").wait_for()
        page.locator(".cards li.failed").wait_for()
        page.locator("#tab-video").click()
        seen.drop(("clip.mp4", make_clip(), "video/mp4"))
        page.locator(".whole").wait_for()
        for fold in page.locator("#video details").all():
            if fold.is_visible():
                fold.locator("summary").click()
        page.locator("#tab-photo").click()
        for fold in page.locator("#photo details").all():
            fold.locator("summary").click()
        return seen

    return open_page


def test_nothing_serious_for_a_screen_reader_in_light_and_dark(filled, check_access) -> None:
    seen = filled()
    for tab in TABS:
        seen.page.locator(f"#tab-{tab}").click()
        seen.page.locator(f"#{tab} > *").first.wait_for()
        if tab == "photo":
            seen.page.locator(".word").nth(1).hover()
        for scheme in ("light", "dark"):
            seen.page.emulate_media(color_scheme=scheme)
            check_access(seen)


def test_neither_a_narrow_screen_nor_a_wide_one_needs_sideways_scrolling(filled) -> None:
    seen = filled(viewport={"width": 360, "height": 740})
    for language in ("English", "한국어"):
        seen.page.get_by_role("button", name=language).click()
        for tab in TABS:
            seen.page.locator(f"#tab-{tab}").click()
            seen.page.locator(f"#{tab} > *").first.wait_for()
            for width in (360, 1600):
                seen.page.set_viewport_size({"width": width, "height": 740})
                assert not seen.is_wider_than_the_screen(), (tab, language, width)


def test_keys_alone_lead_from_the_first_tab_to_a_word_s_light(visit, site, astronaut) -> None:
    seen = visit(site)
    page = seen.page
    page.locator("#served a").wait_for()

    def focus(words: str) -> None:
        """Presses Tab until what has the focus says this; it has to be seen."""
        for _ in range(30):
            page.keyboard.press("Tab")
            at = page.evaluate("document.activeElement.textContent")
            if at.strip() == words:
                style = "getComputedStyle(document.activeElement)"
                assert page.evaluate(f"{style}.outlineStyle") != "none", words
                return
        raise AssertionError(f"Tab does not lead to {words!r}")

    focus("Skip to the content")
    focus("Photo")
    page.keyboard.press("ArrowRight")
    assert page.locator("#tab-video").get_attribute("aria-selected") == "true"
    page.locator("#video .drop").wait_for()
    page.keyboard.press("ArrowLeft")
    focus("English")
    focus("한국어")
    with page.expect_file_chooser() as chooser:
        focus("Choose photos")
        page.keyboard.press("Enter")
    photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": astronaut}
    chooser.value.set_files([photo])
    page.locator(".caption").wait_for()
    focus(page.locator(".word").first.inner_text())
    page.keyboard.press("ArrowRight")
    assert page.locator(".word.lit").inner_text() == page.locator(".word").nth(1).inner_text()
    page.locator("canvas.veil.lit").wait_for()
    focus("Word by word")
    focus("Copy")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator(".caption").inner_text()
    focus(
        page.locator(".ranks .text").nth(0).inner_text() + page.locator(".score").first.inner_text()
    )
    focus("Options")
    page.keyboard.press("Enter")
    page.get_by_label("Beams").wait_for()


def test_the_browser_s_language_is_taken_and_can_be_changed(visit, site) -> None:
    seen = visit(site, locale="ko-KR")
    page = seen.page
    page.get_by_text("여기에 사진을 놓으세요").wait_for()
    assert page.evaluate("document.documentElement.lang") == "ko"
    page.get_by_role("button", name="English").click()
    page.get_by_text("Drop a photo here").wait_for()
    assert page.evaluate("document.documentElement.lang") == "en"
    page.reload()
    page.get_by_text("Drop a photo here").wait_for()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_the_address_leads_to_a_tab_and_back(visit, site) -> None:
    page = visit(site, "#write").page
    page.locator("#write").wait_for()
    page.locator("#tab-video").click()
    page.locator("#video .drop").wait_for()
    page.go_back()
    page.locator("#write").wait_for()
    assert page.locator("#video").is_hidden()


def test_the_policy_holds(visit, site) -> None:
    """What the other tests never do is tried here: a script and a style in the page, and eval."""
    seen = visit(site)
    seen.page.locator("#served a").wait_for()
    tried = seen.page.evaluate(
        """async () => {
          const refused = [];
          try { document.body.innerHTML = "<p>"; } catch { refused.push("markup"); }
          try { await import("data:text/javascript,1"); } catch { refused.push("import"); }
          try { await fetch("http://127.0.0.1:9/"); } catch { refused.push("fetch"); }
          return refused;
        }"""
    )
    assert tried == ["markup", "import", "fetch"]
    assert len(seen.violations()) >= 3
    seen.faults.clear()
    seen.elsewhere.clear()
    seen.page.close()
