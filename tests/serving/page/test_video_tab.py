"""Videos on the page: labels while they come, the timeline, subtitles, jobs, files."""

from __future__ import annotations

import json
import re

import pytest

pytestmark = pytest.mark.browser
SHOTS = (("red", 2.0), ("blue", 1.5), ("green", 2.0))
DONE = "#video .whole"


@pytest.fixture(scope="module")
def clip(make_clip) -> bytes:
    """VP9, which every Chromium plays."""
    return make_clip(SHOTS, container="webm", codec="libvpx-vp9")


@pytest.fixture(scope="module")
def long(make_clip) -> bytes:
    """Longer than this service labels at once, and many frames."""
    return make_clip([("red", 60.0), ("blue", 60.0)])


def answer_of(service, video: bytes, form: str = "json", **options) -> str:
    with service.client() as client:
        answer = client.post("/frames", content=video, params={"format": form, **options},
                             headers={"Content-Type": "video/webm"})  # fmt: skip
    assert answer.status_code == 200, answer.text
    return answer.content.decode()


@pytest.fixture
def shown(visit, site, clip):
    """The page with a clip that has its labels."""
    seen = visit(site, "#video")
    seen.drop(("clip.webm", clip, "video/webm"))
    seen.page.locator(DONE).wait_for()
    return seen


def cues(page) -> list[list]:
    return page.evaluate(
        """() => Array.from(document.querySelector("video").textTracks[0].cues ?? [],
             (cue) => [cue.startTime, cue.endTime, cue.text])"""
    )


def test_segments_are_those_of_the_answer(shown, site, clip) -> None:
    page, answer = shown.page, json.loads(answer_of(site, clip))
    begin = answer["video"]["start_s"]
    assert [label for _, _, label in cues(page)] == [one["label"] for one in answer["segments"]]
    for (start, end, _), segment in zip(cues(page), answer["segments"], strict=True):
        assert (start, end) == pytest.approx(
            (segment["start_s"] - begin, segment["end_s"] - begin), abs=0.001
        )
    assert page.evaluate('document.querySelector("video").textTracks[0].mode') == "showing"
    page.locator(".segments summary").click()
    rows = page.locator(".segments tbody tr")
    rows.nth(len(answer["segments"]) - 1).wait_for()  # it is filled once it is open
    assert rows.count() == len(answer["segments"])
    for place, segment in enumerate(answer["segments"]):
        cells = rows.nth(place).locator("td").all_inner_texts()
        assert cells[1:] == [segment["label"], f"{round(100 * segment['score'])}%"]
    whole = page.locator(DONE).inner_text()
    assert all(one["label"] in whole for one in answer["clip"]["labels"][:3])


def test_the_timeline_has_the_segments_colours(shown, site, clip) -> None:
    answer = json.loads(answer_of(site, clip))
    length = answer["video"]["duration_s"]
    colours = []
    for segment in answer["segments"]:
        middle = (segment["start_s"] + segment["end_s"]) / 2 / length
        colours.append(
            shown.page.evaluate(
                """(share) => {
                  const canvas = document.querySelector(".lane canvas");
                  const x = Math.floor(share * canvas.width);
                  return Array.from(canvas.getContext("2d").getImageData(x, 3, 1, 1).data);
                }""",
                middle,
            )
        )
    assert len({tuple(colour) for colour in colours}) == 3
    assert all(colour[3] > 100 for colour in colours)


def test_what_is_saved_is_what_the_service_writes(shown, site, clip) -> None:
    for button, form in (("WebVTT", "vtt"), ("SRT", "srt"), ("CSV", "csv")):
        name, text = shown.downloaded(button)
        assert name == f"clip.{form}"
        assert text == answer_of(site, clip, form)
    name, text = shown.downloaded("JSON")
    assert name == "clip.json"
    page, service = json.loads(text), json.loads(answer_of(site, clip))
    assert page.pop("timing_ms").keys() == service.pop("timing_ms").keys() - {"queue"}
    assert page == service


def test_a_click_jumps_and_the_label_of_the_frame_stands_beside(shown) -> None:
    page = shown.page
    box = page.locator(".over").bounding_box()
    for share, label in ((0.9, "green"), (0.5, "blue"), (0.1, "red")):
        page.locator(".over").click(position={"x": share * box["width"], "y": 5})
        page.locator(".beside li", has_text=label).first.wait_for()
        seconds = page.evaluate('document.querySelector("video").currentTime')
        assert seconds == pytest.approx(share * 5.5, abs=0.15)
        assert page.locator(".tip").inner_text().split()[1] == label
    page.evaluate('document.querySelector("video").play()')
    page.locator(".beside li:not([hidden])", has_text="blue").first.wait_for()


def test_keys_step_from_frame_to_frame(shown) -> None:
    page = shown.page
    slider = page.get_by_role("slider", name=re.compile("Labels over time"))
    slider.focus()
    page.keyboard.press("End")
    page.locator(".beside li", has_text="green").first.wait_for()
    page.keyboard.press("Home")
    page.locator(".beside li", has_text="red").first.wait_for()
    page.keyboard.press("ArrowRight")
    page.locator(".over[aria-valuetext^='0:00.1']").wait_for()
    page.keyboard.press("ArrowRight")
    page.locator(".over[aria-valuetext^='0:00.2']").wait_for()
    assert "red" in slider.get_attribute("aria-valuetext")


def test_labels_appear_while_the_video_is_worked_on(visit, site, make_clip) -> None:
    seen = visit(site, "#video")
    seen.drop(("slow.mp4", make_clip([("red", 30.0), ("blue", 25.0)]), "video/mp4"))
    seen.page.locator(".lane").first.wait_for()
    assert seen.page.locator(DONE).count() == 0, "the answer has not ended"
    assert "Labelling" in seen.page.locator("#video .status").inner_text()
    (first, *_) = cues(seen.page)
    assert (first[0], first[2]) == (0, "red"), "subtitles come with the labels"
    seen.page.evaluate(
        """(end) => new Promise((grown) => {
          const [cue] = document.querySelector("video").textTracks[0].cues;
          const look = () => (cue.endTime > end ? grown() : requestAnimationFrame(look));
          look();
        })""",
        first[1],
    )
    seen.page.locator("#video").get_by_role("button", name="Cancel").click()
    seen.page.get_by_text("Stopped.").wait_for()
    assert seen.page.locator(".lane").count() > 0, "what came stays"


def test_a_job_survives_a_reload_and_plays_with_its_file(visit, site, make_clip) -> None:
    shots = [("red", 2.0), ("blue", 2.0)]
    video = make_clip(shots, container="webm", codec="libvpx-vp9", size=(160, 96), noise=60)
    assert len(video) > 100_000
    seen = visit(site, "#video")
    page = seen.page
    seen.drop(("long.webm", video, "video/webm"))
    page.locator("#video .link a").wait_for()
    place = page.url
    assert re.search("#video/[0-9a-f]{32}$", place)
    assert page.locator("#video .link a").get_attribute("href") == place
    page.reload()
    page.locator(DONE).wait_for()
    assert page.url == place
    page.get_by_text("Drop the file here to watch it").wait_for()
    text = seen.downloaded("JSON")[1]
    with site.client() as client:
        path = f"/frames/jobs/{place.rpartition('/')[2]}"
        result = client.get(f"{path}/result").json()
        assert json.loads(text) == result
        seen.drop(("long.webm", video, "video/webm"))
        page.locator("video").wait_for()
        assert [label for *_, label in cues(page)] == [one["label"] for one in result["segments"]]
        assert page.url == place, "the file belongs to these labels; nothing is asked again"
        assert client.delete(path).status_code == 204
    page.reload()
    page.locator("#video .failure").wait_for()
    assert "no job" in page.locator("#video .failure").inner_text()


def test_labels_of_a_job_appear_while_it_runs(visit, site, long) -> None:
    seen = visit(site, "#video")
    page = seen.page
    seen.drop(("long.mp4", long, "video/mp4"))
    page.locator("#video:has(progress) .lane").first.wait_for()
    assert cues(page)[0][2] == "red"
    page.locator(DONE).wait_for()
    with site.client() as client:
        result = client.get(f"/frames/jobs/{page.url.rpartition('/')[2]}/result").json()
    assert json.loads(seen.downloaded("JSON")[1]) == result, "no frame is lost, none comes twice"


def test_a_job_is_cancelled(visit, site, long) -> None:
    seen = visit(site, "#video")
    page = seen.page
    seen.drop(("long.mp4", long, "video/mp4"))
    page.get_by_role("progressbar").wait_for()
    job = page.url.rpartition("/")[2]
    page.locator("#video .job").get_by_role("button", name="Cancel").click()
    page.get_by_text("The job was cancelled.").wait_for()
    with site.client() as client:
        assert client.get(f"/frames/jobs/{job}").json()["job"]["state"] == "cancelled"
    assert page.url.endswith("#video")


def test_what_is_no_video_is_told_beside_it(visit, site) -> None:
    seen = visit(site, "#video")
    seen.drop(("<b>no.mp4", b"not a video at all" * 100, "video/mp4"))
    failure = seen.page.locator("#video .failure")
    failure.wait_for()
    assert "video" in failure.inner_text()
    assert seen.page.locator("#video figcaption").inner_text() == "<b>no.mp4"
    seen.page.get_by_text("This browser cannot play the file").wait_for()


def test_options_are_sent(visit, site, clip) -> None:
    seen = visit(site, "#video")
    seen.drop(("clip.webm", clip, "video/webm"))
    page = seen.page
    page.locator(DONE).wait_for()
    page.locator("#video .options summary").click()
    page.get_by_label("Seconds between frames").fill("0.5")
    page.get_by_label("Seconds between frames").press("Enter")
    page.locator("#video .status", has_text="11 frames in").wait_for()
    assert "POST /frames?every_s=0.5&format=ndjson" in seen.asked
    assert "every_s=0.5" in page.locator("#video .curl code").text_content()
