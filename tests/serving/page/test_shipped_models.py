"""Each tab with the bundles that ship, and an input as people have them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from skimage import data

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def shipped(kit, tmp_path_factory: pytest.TempPathFactory):
    """A service as ``make serve`` starts it."""
    from serving.app import load_task

    state = str(tmp_path_factory.mktemp("state"))
    with kit.running(load=load_task, state_dir=state) as service:
        yield service


def installed(service, task: str) -> None:
    with service.client() as client:
        models = client.get("/models").json()["models"]
    if not any(one["task"] == task and one["state"] == "ready" for one in models):
        pytest.skip(f"no bundle for {task} ships")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Six seconds over two of scikit-image's photos."""
    path = tmp_path_factory.mktemp("clip") / "photos.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=4, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for name in ("astronaut", "coffee"):
            photo = Image.fromarray(getattr(data, name)()).resize((400, 300))
            for step in range(12):
                part = photo.crop((6 * step, 4 * step, 320 + 6 * step, 240 + 4 * step))
                frame = av.VideoFrame.from_ndarray(np.asarray(part), format="rgb24")
                output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path.read_bytes()


def test_a_photo(visit, shipped) -> None:
    installed(shipped, "caption")
    buffer = io.BytesIO()
    Image.fromarray(data.rocket()).save(buffer, "JPEG")
    seen = visit(shipped)
    seen.drop(("rocket.jpg", buffer.getvalue(), "image/jpeg"))
    seen.page.locator(".caption").wait_for()
    assert len(seen.page.locator(".caption").inner_text().split()) >= 4
    seen.page.locator(".word").last.hover()
    seen.page.locator("canvas.veil.lit").wait_for()


def test_a_video_has_a_lane_for_each_label(visit, shipped, clip) -> None:
    installed(shipped, "frames")
    seen = visit(shipped, "#video")
    seen.drop(("photos.mp4", clip, "video/mp4"))
    page = seen.page
    page.locator("#video .whole").wait_for()
    with shipped.client() as client:
        answer = client.post("/frames", files={"video": clip}).json()
    assert json.loads(seen.downloaded("JSON")[1])["segments"] == answer["segments"]
    labels = {segment["label"] for segment in answer["segments"]}
    lanes = page.locator(".lane")
    if lanes.count() > 1:
        assert lanes.count() == min(10, len(labels))
        names = lanes.locator("span").all_inner_texts()
        assert set(names) <= labels
        segment = max(answer["segments"], key=lambda one: one["score"])
        lane = lanes.nth(names.index(segment["label"])).locator("canvas").bounding_box()
        middle = (segment["start_s"] + segment["end_s"]) / 2 / answer["video"]["duration_s"]
        page.mouse.move(lane["x"] + middle * lane["width"], lane["y"] + lane["height"] / 2)
        lines = page.locator(".tip p").all_inner_texts()
        assert [line.rsplit(" ", 1)[0] for line in lines[1:]] == [segment["label"]]


def test_subtitles_leave_the_picture_to_be_seen(visit, shipped, clip) -> None:
    """However many labels a frame has: all of them are in the file that is saved."""
    installed(shipped, "frames")
    seen = visit(shipped, "#video")
    seen.drop(("photos.mp4", clip, "video/mp4"))
    page = seen.page
    page.locator("#video .whole").wait_for()
    cues = page.evaluate(
        """() => Array.from(document.querySelector("video").textTracks[0].cues,
             (cue) => [cue.startTime, cue.endTime, cue.text])"""
    )
    shares = [sum(start <= time < end for start, end, _ in cues) for time, _, _ in cues]
    assert 1 <= max(shares) <= 3
    summary = json.loads(seen.downloaded("JSON")[1])
    likeliest = max(summary["segments"], key=lambda one: one["score"])
    assert likeliest["label"] in [text for _, _, text in cues]
    assert seen.downloaded("WebVTT")[1].count("-->") == len(summary["segments"])


def test_a_sentence(visit, shipped) -> None:
    installed(shipped, "translate")
    page = visit(shipped, "#translate").page
    page.locator("#translate-pair option").first.wait_for(state="attached")
    page.get_by_label("Text to translate").fill("Ein Hund rennt durch den Schnee.")
    page.keyboard.press("Control+Enter")
    page.locator(".translation").wait_for()
    assert "dog" in page.locator(".translation").inner_text()
    page.locator(".grid tbody button").nth(1).hover()
    assert "looked most at" in page.locator("#translate .readout").inner_text()


def test_an_example_is_there_for_who_has_no_text(visit, shipped) -> None:
    installed(shipped, "translate")
    page = visit(shipped, "#translate").page
    page.get_by_role("button", name="Try an example").click()
    page.locator(".translation").wait_for()
    assert len(page.locator(".translation").inner_text().split()) >= 5
    assert page.get_by_label("Text to translate").input_value()


def test_a_sentence_there_and_back(visit, shipped) -> None:
    installed(shipped, "translate")
    page = visit(shipped, "#translate").page
    pairs = page.locator("#translate-pair option")
    pairs.first.wait_for(state="attached")
    names = {"German → English", "English → German"}
    if not names <= set(pairs.all_inner_texts()):
        pytest.skip("only one of both directions ships")
    page.get_by_label("Languages").select_option("German → English")
    page.get_by_label("Text to translate").fill("Ein Hund rennt durch den Schnee.")
    page.keyboard.press("Control+Enter")
    page.locator(".translation[lang=en]").wait_for()
    said = page.locator(".translation").inner_text()
    page.get_by_role("button", name="Swap").click()
    page.locator(".translation[lang=de]").wait_for()
    assert page.locator("#translate-pair").evaluate("pair => pair.value") == "English → German"
    assert page.get_by_label("Text to translate").input_value() == said
    assert "Hund" in page.locator(".translation").inner_text()


def test_a_text(visit, shipped) -> None:
    installed(shipped, "generate")
    page = visit(shipped, "#write").page
    page.get_by_label("Beginning of the text").fill("The ")
    page.get_by_label("Length in characters").fill("300")
    page.get_by_role("button", name="Write", exact=True).click()
    page.locator("#write .status", has_text="300 characters in").wait_for()
    assert len(page.locator(".page").text_content()) == 4 + 300


def written(page, model: str, prompt: str, length: int) -> list[tuple[str, float]]:
    """Characters of a text on the tab for units, each with the unit's value."""
    page.get_by_label("Model").select_option(model)
    page.get_by_label("Beginning of the text").fill(prompt)
    page.get_by_label("Length in characters").fill(str(length))
    page.get_by_label("Seed").fill("1")
    page.get_by_role("button", name="Write", exact=True).click()
    page.locator("#units .status", has_text=f"{length} characters in").wait_for()
    spans = "spans => spans.map((span) => [span.textContent, span.unit])"
    return page.locator("#units .page span:not(.given)").evaluate_all(spans)


def test_the_unit_that_is_proposed_does_what_is_said_of_it(visit, shipped) -> None:
    installed(shipped, "generate")
    page = visit(shipped, "#units").page
    page.locator("#units-model option").first.wait_for(state="attached")
    models = page.locator("#units-model option").all_inner_texts()
    if "shakespeare" in models:
        starts, ends = [], []
        line: list[float] = []
        for letter, value in written(page, "shakespeare", "ROMEO:\n", 1000):
            if letter == "\n" and len(line) >= 30:
                starts += line[:5]
                ends += line[-5:]
            line = [] if letter == "\n" else [*line, value]
        page.get_by_text("from blue to red along each line").wait_for()
        assert np.mean(starts) < -0.2
        assert np.mean(ends) > 0.2
    if "source-c" in models:
        tested, depth = [], 1
        for letter, value in written(page, "source-c", "\tif (", 40):
            depth += {"(": 1, ")": -1}.get(letter, 0)
            if not depth:
                break
            tested.append(value)
        code = written(page, "source-c", "static int init(void)\n{\n\tint err;\n\n\terr = ", 20)
        page.get_by_text("blue in conditions and red elsewhere").wait_for()
        assert np.mean(tested) < -0.2
        assert np.mean([value for _, value in code]) > 0.2


def test_no_command_names_a_config_that_is_not_there(kit) -> None:
    text = (kit.root / "serving" / "page" / "notice.js").read_text("utf-8")
    named = [line.split('"')[1] for line in text.splitlines() if '"configs/' in line]
    assert len(named) == 4
    assert [name for name in named if not Path(kit.root / name).is_file()] == []
