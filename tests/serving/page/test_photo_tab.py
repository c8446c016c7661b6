"""Photos on the page, as a person gives them and as a person reads the answers."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
import subprocess
import threading

import pytest

from captioner.errors import MissingBundle
from captioner.tasks import load
from captioner.vision.preprocess import Preprocessing

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert(1)>.jpg"
BROKEN = b"\xff\xd8\xff\xe0 no photo"


def answer_of(service, photo: bytes, **options) -> dict:
    headers = {"Content-Type": "application/octet-stream"}
    with service.client() as client:
        return client.post("/caption", content=photo, params=options, headers=headers).json()


def veil(visit) -> list[int]:
    """How dark the veil over the photo is, place by place; all 0 where nothing is shown."""
    return visit.page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas.veil");
          if (!canvas.classList.contains("lit")) return [];
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return Array.from(data).filter((_, place) => place % 1652 === 3);  // some of the alphas
        }"""
    )


@pytest.fixture
def shown(visit, site, astronaut):
    """The page with one photo that has its caption."""
    seen = visit(site)
    seen.drop(("astronaut.jpg", astronaut, "image/jpeg"))
    seen.page.locator(".caption").wait_for()
    return seen


def test_a_dropped_photo_gets_its_caption(shown, site, astronaut) -> None:
    answer = answer_of(site, astronaut, n=3)
    page = shown.page
    assert page.locator(".caption").inner_text() == answer["caption"]
    assert f"{round(100 * answer['confidence'])}%" in page.locator(".confidence").inner_text()
    assert page.locator(".facts .fine").inner_text().endswith((" ms", " s"))
    rows = page.locator(".ranks li")
    assert rows.locator(".text").all_inner_texts() == [one["text"] for one in answer["captions"]]
    scores = [float(text.replace("−", "-")) for text in rows.locator(".score").all_inner_texts()]
    assert scores == [pytest.approx(one["log_prob"], abs=0.006) for one in answer["captions"]]
    for warning in answer["warnings"]:
        assert warning in page.locator(".words").inner_text()
    rows.nth(1).locator("button").click()
    assert page.locator(".caption").inner_text() == answer["captions"][1]["text"]


def test_a_runner_up_that_is_chosen_brings_its_confidence_and_is_copied(
    shown, site, astronaut
) -> None:
    other = answer_of(site, astronaut, n=3)["captions"][1]
    page = shown.page
    page.locator(".ranks button").nth(1).click()
    page.locator(".facts").get_by_role("button", name="Copy").click()
    page.locator(".facts").get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == other["text"]
    confidence = math.exp(other["log_prob"] / (len(other["words"]) + 1))  # the end counts, too
    assert f"{round(100 * confidence)}%" in page.locator(".confidence").inner_text()


def test_the_light_moves_from_word_to_word(shown) -> None:
    page = shown.page
    assert veil(shown) == []
    words = page.locator(".word")
    words.nth(1).hover()
    first = veil(shown)
    words.nth(5).hover()
    second = veil(shown)
    assert max(first) > 100 > min(first), "some of the photo is dark, some is lit"
    assert first != second
    assert "probability" in page.locator(".readout").inner_text()
    assert words.nth(5).inner_text() in page.locator(".readout").inner_text()
    page.mouse.move(1, 1)
    assert veil(shown) == []


def test_the_light_falls_where_a_model_that_crops_has_looked(
    visit, kit, make_tiny_bundle, tmp_path
) -> None:
    crops = make_tiny_bundle(
        tmp_path,
        preprocessing=Preprocessing(fit="crop", resize=224),
        decoding={"num_beams": 3, "min_tokens": 4, "max_tokens": 8},
    )
    with kit.running(load("caption", model=str(crops))) as service:
        seen = visit(service)
        seen.drop(("wide.jpg", kit.photo((1024, 256)), "image/jpeg"))
        seen.page.locator(".word").first.hover()
        light = seen.page.locator("canvas.veil.lit").bounding_box()
        frame = seen.page.locator(".frame").bounding_box()
    assert light["x"] - frame["x"] == pytest.approx(0.375 * frame["width"], abs=1)
    assert light["width"] == pytest.approx(0.25 * frame["width"], abs=1)
    assert light["height"] == pytest.approx(frame["height"], abs=1)


def test_arrow_keys_step_through_the_words(shown) -> None:
    page = shown.page
    words = page.locator(".word").all_inner_texts()
    page.locator(".word").first.focus()
    seen = []
    for place, word in enumerate(words):
        assert page.evaluate("document.activeElement.textContent") == word
        assert f"“{word}”" in page.locator(".readout").inner_text()
        seen.append(tuple(veil(shown)))
        assert page.locator("#announcer").inner_text().startswith(f"“{word}”"), place
        page.keyboard.press("ArrowRight")
    assert len(set(seen)) > len(words) // 2
    page.keyboard.press("Escape")
    assert veil(shown) == []


def test_by_itself_it_walks_through_the_words_once(visit, site, astronaut) -> None:
    """Unless less movement was asked for, which the other tests do."""
    seen = visit(site, reduced_motion="no-preference")
    seen.drop(("astronaut.jpg", astronaut, "image/jpeg"))
    seen.page.locator(".word.lit").wait_for()
    seen.page.locator(".word.lit").filter(
        has_text=seen.page.locator(".word").nth(2).inner_text()
    ).first.wait_for()


def test_pasted_chosen_and_taken_photos(visit, site, astronaut) -> None:
    seen = visit(site)
    page = seen.page
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose photos").click()
    assert chooser.value.is_multiple()
    photo = {"name": "chosen.jpg", "mimeType": "image/jpeg", "buffer": astronaut}
    chooser.value.set_files([photo])
    page.locator("figcaption", has_text="chosen.jpg").wait_for()
    page.evaluate(
        """() => {
          const canvas = document.createElement("canvas");
          canvas.width = canvas.height = 40;
          canvas.getContext("2d").fillRect(0, 0, 20, 40);
          return new Promise((done) => canvas.toBlob((photo) => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([photo], "pasted.png", { type: "image/png" }));
            const paste = new ClipboardEvent("paste", { clipboardData, bubbles: true });
            document.body.dispatchEvent(paste);
            done();
          }));
        }"""
    )
    page.locator("figcaption", has_text="pasted.png").wait_for()
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the photo").click()
    page.locator("figcaption", has_text="camera-").wait_for()
    page.locator(".cards li.done").nth(2).wait_for()
    assert page.locator("dialog").count() == 0


def test_a_gallery_of_twenty_photos_of_which_three_are_broken(visit, site, kit, astronaut) -> None:
    photos = [kit.photo((64, 48), (12 * i, 90, 255 - 12 * i)) for i in range(17)]
    photos[3:3] = [BROKEN]
    photos[9:9] = [astronaut[: len(astronaut) // 2]]
    photos[15:15] = [b"hello, I am no photo"]
    names = [f"photo, {i}.jpg" for i in range(20)]
    seen = visit(site)
    seen.drop(*((name, body, "image/jpeg") for name, body in zip(names, photos, strict=True)))
    page = seen.page
    page.get_by_text("17 of 20 photos, 3 could not be used").wait_for()
    cards = page.locator(".cards li")
    assert cards.locator(".name").all_inner_texts() == names
    assert page.locator(".cards li.done").count() == 17
    for place in (3, 9, 15):
        message = answer_of(site, photos[place])["error"]["message"]
        assert cards.nth(place).locator(".bad").inner_text() == message
        assert cards.nth(place).get_by_role("button", name="Try again").count() == 1
    name, text = seen.downloaded("JSONL")
    lines = [json.loads(line) for line in text.splitlines()]
    assert name == "captions.jsonl"
    assert [line["image"] for line in lines] == names
    assert lines[0]["caption"] == answer_of(site, photos[0], n=3)["caption"]
    assert [bool(line.get("error")) for line in lines].count(True) == 3
    name, text = seen.downloaded("CSV")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["image"] for row in rows] == names
    assert [row["caption"] for row in rows] == [line.get("caption", "") for line in lines]
    cards.nth(1).get_by_role("button", name="Copy").click()
    cards.nth(1).get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == lines[1]["caption"]
    cards.nth(9).locator(".thumb").click()
    page.locator(".shown .failure").wait_for()
    assert not seen.is_wider_than_the_screen()


def test_options_are_sent_and_the_curl_line_does_the_same(shown, site, astronaut, tmp_path) -> None:
    page = shown.page
    page.locator("#photo .options summary").click()
    page.get_by_label("Captions", exact=True).fill("2")
    with page.expect_request(lambda one: "num_beams=4" in one.url) as asked:
        page.get_by_label("Beams").fill("4")
        page.get_by_label("Beams").press("Enter")
    assert "n=2" in asked.value.url
    page.locator(".shown:not(.working) .ranks li").nth(1).wait_for()
    page.locator("#photo .curl summary").click()
    line = page.locator("#photo .curl code").inner_text()
    (tmp_path / "astronaut.jpg").write_bytes(astronaut)
    run = subprocess.run(
        [*shlex.split(line), "--silent", "--noproxy", "*"],
        cwd=tmp_path, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    answer = json.loads(run.stdout)
    assert [one["text"] for one in answer["captions"]] == (
        page.locator(".ranks .text").all_inner_texts()
    )
    assert answer["captions"][0]["words"][0]["weights"]


def test_options_hold_for_every_photo(visit, site, kit) -> None:
    seen = visit(site)
    photos = [kit.photo((64, 48), (12, 90, 80 * i)) for i in range(3)]
    seen.drop(*((f"{i}.jpg", photo, "image/jpeg") for i, photo in enumerate(photos)))
    page = seen.page
    page.locator(".cards li.done").nth(2).wait_for()
    page.locator("#photo .options summary").click()
    page.get_by_label("Captions", exact=True).fill("2")
    page.get_by_label("Captions", exact=True).press("Enter")
    page.locator(".ranks:not(:has(li:nth-child(3)))").wait_for()
    page.locator(".cards li.done").nth(2).wait_for()
    page.locator(".cards .thumb").last.click()
    assert page.locator("figcaption").inner_text() == "2.jpg"
    assert page.locator(".ranks li").count() == 2
    assert seen.asked.count("POST /caption?n=2&attention=true") == 3


def test_a_name_that_looks_like_markup_stays_text(visit, site, astronaut) -> None:
    seen = visit(site)
    seen.drop((HOSTILE, astronaut, "image/jpeg"), (f"2{HOSTILE}", BROKEN, "image/jpeg"))
    page = seen.page
    page.locator(".cards li.done").wait_for()
    page.locator(".cards li.failed").wait_for()
    assert page.locator("figcaption").inner_text() == HOSTILE
    assert page.locator(".cards .name").first.inner_text() == HOSTILE
    assert page.locator("img[src='x']").count() == 0
    line = page.locator("#photo .curl code").text_content()
    assert shlex.split(line)[2] == f"@{HOSTILE}"


def test_a_refused_photo_is_told_beside_it_and_stays(visit, site, astronaut) -> None:
    seen = visit(site)
    seen.drop(("broken.jpg", BROKEN, "image/jpeg"))
    failure = seen.page.locator(".shown .failure")
    failure.wait_for()
    assert failure.locator("p").inner_text() == answer_of(site, BROKEN)["error"]["message"]
    assert seen.page.locator("figcaption").inner_text() == "broken.jpg"
    seen.drop(("good.jpg", astronaut, "image/jpeg"))
    seen.page.locator(".caption").wait_for()


def test_a_busy_service_is_asked_again_when_it_says_so(visit, kit, astronaut) -> None:
    task, free = kit.task(), threading.Event()
    with kit.running(task, max_queue=1, max_batch=1) as service:
        task.before = lambda photos: free.wait(60) and None
        warmed = len(task.batches)

        def occupy() -> None:
            answer_of(service, kit.photo())

        others = [threading.Thread(target=occupy) for _ in range(2)]
        others[0].start()
        kit.wait_until(lambda: len(task.batches) > warmed)
        others[1].start()
        kit.wait_until(lambda: service.runtime.models["caption"].waiting == 1)
        seen = visit(service)
        seen.drop(("photo.jpg", astronaut, "image/jpeg"))
        waiting = seen.page.locator(".shown .wait")
        waiting.wait_for()
        assert "Trying again in" in waiting.inner_text()
        faded = "getComputedStyle(document.querySelector('.shown .words')).opacity"
        assert seen.page.evaluate(faded) == "1", "what is said meanwhile can be read"
        free.set()
        seen.page.locator(".caption").wait_for()
        for thread in others:
            thread.join(60)
    assert seen.asked.count("POST /caption?n=3&attention=true") >= 2


def test_a_service_that_is_gone_loses_nothing(visit, kit, astronaut) -> None:
    with kit.running() as service:
        seen = visit(service)
        seen.page.locator("#served a").wait_for()
    seen.drop(("photo.jpg", astronaut, "image/jpeg"))
    failure = seen.page.locator(".shown .failure")
    failure.wait_for()
    assert "cannot be reached" in failure.inner_text()
    assert seen.page.locator("figcaption").inner_text() == "photo.jpg"
    assert failure.get_by_role("button", name="Try again").is_visible()


def test_what_is_not_installed_is_shown_as_such(visit, kit) -> None:
    def nothing(task: str, model: str | None):
        raise MissingBundle(f"No bundle for {task!r} is installed.")

    with kit.running(load=nothing) as service:
        seen = visit(service)
        for place, words in (
            ("photo", "No model for photos is installed"),
            ("video", "No model for videos is installed"),
            ("translate", "No model for translation is installed"),
            ("write", "No model that writes is installed"),
            ("units", "No model that writes is installed"),
        ):
            seen.page.locator(f"#tab-{place}").click()
            panel = seen.page.locator(f"#{place}")
            panel.get_by_text(words).wait_for()
            assert "python -m training fit" in panel.inner_text()
            assert panel.locator(".failure").count() == 0
