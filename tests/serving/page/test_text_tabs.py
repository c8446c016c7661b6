"""Translation and writing on the page, with small models whose answers are known."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
SENTENCE = "Ein Hund rennt durch den Schnee."
VERSE = "\nBut soft, what light?\n\nJULIET:\nAy me!\n\n"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def texts(kit, bundles: Path):
    """A service with two translators and two models that write."""
    paths = ("/", "/page/{name}", "/models", "/docs.json", "/translate", "/generate")
    with kit.running(**kit.load_from(bundles), endpoints=kit.only(*paths)) as service:
        yield service


def answer_of(service, path: str, **body) -> dict:
    with service.client() as client:
        answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def body_of(line: str) -> dict:
    """What a curl line would send."""
    words = shlex.split(line)
    return json.loads(words[words.index("-d") + 1])


@pytest.fixture
def translated(visit, texts):
    seen = visit(texts, "#translate")
    page = seen.page
    page.get_by_label("Languages").select_option("German → English")
    page.get_by_label("Text to translate").fill(SENTENCE)
    page.get_by_role("button", name="Translate", exact=True).click()
    page.locator(".translation").wait_for()
    return seen


def test_pairs_come_from_the_models(visit, texts) -> None:
    page = visit(texts, "#translate").page
    options = page.locator("#translate-pair option")
    options.nth(1).wait_for(state="attached")
    assert sorted(options.all_inner_texts()) == ["English → German", "German → English"]
    page.get_by_role("button", name="한국어").click()
    assert sorted(options.all_inner_texts()) == ["독일어 → 영어", "영어 → 독일어"]


def test_a_text_is_translated_n_best(translated, texts) -> None:
    wanted = {"text": SENTENCE, "source": "de", "target": "en", "n": 3}
    (answer,) = answer_of(texts, "/translate", **wanted)["translations"]
    page = translated.page
    assert page.locator(".translation").text_content() == answer["text"]
    others = page.locator(".others li")
    assert others.locator("span[lang]").all_text_contents() == [
        one["text"] for one in answer["alternatives"]
    ]
    scores = [float(text.replace("−", "-")) for text in others.locator(".score").all_inner_texts()]
    assert scores == [pytest.approx(one["log_prob"], abs=0.006) for one in answer["alternatives"]]


def test_the_grid_is_the_attention(translated, texts) -> None:
    wanted = {"text": SENTENCE, "source": "de", "target": "en", "attention": True}
    (answer,) = answer_of(texts, "/translate", **wanted)["translations"]
    (part,) = answer["attention"]
    page = translated.page
    rows = page.locator(".grid tbody tr")
    assert rows.count() == len(part["target"])
    assert page.locator(".grid thead th").count() == len(part["source"])
    shades = page.evaluate(
        """() => Array.from(document.querySelectorAll(".grid tbody tr"), (row) =>
          Array.from(row.querySelectorAll("td"), (cell) =>
            parseFloat(cell.style.getPropertyValue("--weight"))))"""
    )
    for row, shown in enumerate(shades):
        own = [100 * column[row] for column in part["weights"]]
        assert shown == pytest.approx(own, abs=0.51)
    rows.nth(0).locator("button").focus()
    first = page.locator("#translate .readout").inner_text()
    page.keyboard.press("ArrowDown")
    assert page.locator("#translate .readout").inner_text() != first
    assert (
        page.locator("#announcer").inner_text() == page.locator("#translate .readout").inner_text()
    )


def test_turned_round_the_translation_is_the_text(translated) -> None:
    page = translated.page
    said = page.locator(".translation").text_content()
    with page.expect_request("**/translate") as asked:
        page.get_by_role("button", name="Swap").click()
    body = asked.value.post_data_json
    assert (body["text"], body["source"], body["target"]) == (said, "en", "de")


def test_the_translation_s_curl_line_does_the_same(translated, texts) -> None:
    page = translated.page
    page.locator("#translate .curl summary").click()
    line = page.locator("#translate .curl code").inner_text()
    run = subprocess.run(
        [*shlex.split(line), "--silent", "--noproxy", "*"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    (answer,) = json.loads(run.stdout)["translations"]
    assert answer["text"] == page.locator(".translation").text_content()


def test_an_error_stands_beside_the_text_which_stays(visit, texts) -> None:
    seen = visit(texts, "#translate")
    page = seen.page
    long = "Wort " * 40_000
    page.get_by_label("Text to translate").fill(long)
    page.keyboard.press("Control+Enter")
    page.locator("#translate .failure").wait_for()
    assert "characters" in page.locator("#translate .failure").inner_text()
    assert page.get_by_label("Text to translate").input_value() == long


def test_models_that_could_not_be_asked_for_are_asked_for_again(visit, texts) -> None:
    page = visit(texts, "#translate").page
    page.route("**/models", lambda route: route.abort())
    page.reload()
    failure = page.locator("#translate .failure")
    failure.wait_for()
    assert "cannot be reached" in failure.inner_text()
    page.get_by_label("Text to translate").fill(SENTENCE)
    page.unroute("**/models")
    failure.get_by_role("button", name="Try again").click()
    page.locator("#translate-pair option").first.wait_for(state="attached")
    page.get_by_text("The translation appears here.").wait_for()
    assert page.get_by_label("Text to translate").input_value() == SENTENCE


@pytest.fixture
def desk(visit, texts):
    seen = visit(texts, "#write")
    seen.page.get_by_label("Model").wait_for()
    return seen


def write(page, prompt: str, length: int, temperature: float = 0) -> None:
    page.get_by_label("Beginning of the text").fill(prompt)
    page.get_by_label("Length in characters").fill(str(length))
    page.get_by_label("Temperature").fill(str(temperature))
    page.get_by_role("button", name="Write", exact=True).click()


def surprises(page) -> list[float]:
    """How deep the colour of each character is that was written, 0 to 1."""
    return page.locator(".page span:not(.given)").evaluate_all(
        "spans => spans.map((span) => Number(span.style.getPropertyValue('--surprise')))"
    )


def test_a_text_goes_on_in_the_colours_of_its_probabilities(desk, texts) -> None:
    page = desk.page
    write(page, "ROMEO:", 40)
    page.locator("#write .status", has_text="40 characters in").wait_for()
    wanted = {"prompt": "ROMEO:", "max_tokens": 40, "temperature": 0}
    assert page.locator(".page").text_content() == "ROMEO:" + VERSE[:40]
    assert answer_of(texts, "/generate", **wanted)["text"] == VERSE[:40]
    assert len(surprises(page)) == 40
    assert max(surprises(page)) < 0.5, "it says what it has learnt"
    page.get_by_label("Beginning of the text").fill("JULIET:")  # of the next text, not of this one
    page.get_by_role("button", name="Go on").click()
    page.locator("#write .status", has_text="80 characters in").wait_for()
    assert page.locator(".page").text_content().startswith("ROMEO:" + VERSE[:40])
    page.get_by_role("button", name="Copy", exact=True).first.click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".page").text_content()


def test_bold_texts_have_surprises_and_a_seed_repeats_them(desk) -> None:
    page = desk.page
    page.get_by_label("Seed").fill("3")
    said = []
    for _ in range(2):
        write(page, "JULIET:", 200, temperature=2)
        page.locator("#write .status", has_text="200 characters in").wait_for()
        said.append(page.locator(".page").text_content())
        page.get_by_label("Beginning of the text").fill("")
    assert said[0] == said[1]
    assert max(surprises(page)) == 1, "something was improbable"


def test_text_is_there_before_the_answer_ends_and_stop_stops_it(desk) -> None:
    page = desk.page
    write(page, "ROMEO:", 20_000)
    page.locator(".page span:not(.given)").nth(20).wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    status = page.locator("#write .status", has_text="Stopped after")
    status.wait_for()
    count = page.locator(".page span:not(.given)").count()
    assert 20 <= count < 20_000
    assert f"Stopped after {count} characters" in status.inner_text()
    page.get_by_role("button", name="Write", exact=True).wait_for()


def test_a_stop_and_the_curl_line(desk, texts) -> None:
    page = desk.page
    page.get_by_label("Stop at").fill("soft")
    write(page, "ROMEO:", 100)
    page.locator("#write .status", has_text="the place to stop").wait_for()
    assert page.locator(".page").text_content() == "ROMEO:\nBut "
    body = body_of(page.locator("#write .curl code").text_content())
    assert body.pop("stream") is True
    assert answer_of(texts, "/generate", **body)["text"] == "\nBut "


def test_a_text_in_the_colours_of_a_hidden_unit(visit, texts) -> None:
    page = visit(texts, "#units").page
    page.get_by_label("Model").wait_for()
    page.get_by_label("Hidden unit").fill("c1.3")
    write(page, "ROMEO:", 30)
    letters = page.locator("#units .page span:not(.given)")
    letters.nth(29).wait_for()
    wanted = {"prompt": "ROMEO:", "max_tokens": 30, "temperature": 0, "units": ["c1.3"]}
    values = answer_of(texts, "/generate", **wanted)["units"]["c1.3"]
    style = "spans => spans.map((span) => span.style.backgroundColor)"
    colours = letters.evaluate_all(style)
    for value, colour in zip(values, colours, strict=True):
        red, _, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
        assert (red > blue) == (value > 0) or abs(value) < 0.01
    assert body_of(page.locator("#units .curl code").text_content())["units"] == ["c1.3"]


def test_a_prompt_that_looks_like_markup_stays_text(desk) -> None:
    page = desk.page
    write(page, HOSTILE, 10)
    page.locator("#write .failure").wait_for()  # the small model has never seen these characters
    assert page.locator(".page").text_content() == HOSTILE
    assert page.locator("img[src='x']").count() == 0
    assert page.get_by_label("Beginning of the text").input_value() == HOSTILE


def test_nothing_serious_for_a_screen_reader(translated, check_access) -> None:
    page = translated.page
    page.locator("#translate .options summary").click()
    check_access(translated)
    page.locator("#tab-write").click()
    write(page, "ROMEO:", 100, temperature=2)
    page.locator("#write .status", has_text="100 characters in").wait_for()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        check_access(translated)
    page.set_viewport_size({"width": 360, "height": 740})
    assert not translated.is_wider_than_the_screen()
    page.locator("#tab-translate").click()
    assert not translated.is_wider_than_the_screen()
