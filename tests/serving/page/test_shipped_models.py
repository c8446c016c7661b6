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
        assert set(lanes.locator("span").all_inner_texts()) <= labels


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
    page.get_by_role("button", name="Turn round").click()
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


def test_no_command_names_a_config_that_is_not_there(kit) -> None:
    text = (kit.root / "serving" / "page" / "notice.js").read_text("utf-8")
    named = [line.split('"')[1] for line in text.splitlines() if '"configs/' in line]
    assert len(named) == 4
    assert [name for name in named if not Path(kit.root / name).is_file()] == []
