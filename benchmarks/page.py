"""What the page in the browser costs: ``python -m benchmarks.page``.

Bytes are those of its files. The time to a caption runs from the drop of a photo of 320 x 240 to
the screen's frame that has the caption, against the same request by curl (its own clock, without
the start of its process), in turns. Scripting is what Chromium spends in scripts while a video of
ten minutes with 3000 labelled frames plays; its labels are made up, since only their number counts.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Route

from benchmarks.caption import photos
from benchmarks.chromium import chromium
from benchmarks.measure import Timing, report, spread
from benchmarks.service import running
from benchmarks.video import write_clip
from serving.endpoints.page import PAGE

MINUTES, EVERY_S = 10, 0.2
LABELS = (
    "dog",
    "person",
    "running",
    "water",
    "grass",
    "child",
    "ball",
    "snow",
    "street",
    "jumping",
)
Row = tuple[str, float, str, dict[str, Timing]]

DROP = """(photo) => {
  const content = Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([content], "photo.jpg", { type: "image/jpeg" }));
  return new Promise((done) => {
    const began = performance.now();
    const seen = () => {
      if (document.querySelector(".caption")) {
        watch.disconnect();
        requestAnimationFrame(() => done(performance.now() - began));
      }
    };
    const watch = new MutationObserver(seen);
    watch.observe(document.getElementById("photo"), { childList: true, subtree: true });
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
  });
}"""


def time_to_caption(browser: Browser, url: str, photo: Path, rounds: int) -> Row:
    """Milliseconds on the page and by curl, in turns; the first turn warms up."""
    times: dict[str, list[float]] = {"page": [], "curl": []}
    content = b64encode(photo.read_bytes()).decode()
    page = browser.new_page(reduced_motion="reduce")
    for turn in range(rounds + 1):
        page.goto(url)
        page.locator("#served a").wait_for()
        found = page.evaluate(DROP, content)
        command = [
            "curl", "--silent", "--noproxy", "*", "--output", "/dev/null",
            "--write-out", "%{time_total}", "--data-binary", f"@{photo}",
            "-H", "Content-Type: application/octet-stream",
            f"{url}caption?n=3&attention=true",
        ]  # fmt: skip
        by_curl = 1000 * float(subprocess.run(command, capture_output=True, check=True).stdout)
        if turn:
            times["page"].append(found)
            times["curl"].append(by_curl)
    page.close()
    timings = {name: spread(found) for name, found in times.items()}
    more = timings["page"].median - timings["curl"].median
    return "drop to caption on screen above curl, ms", more, "at most 60", timings


def scripting(browser: Browser, url: str, clip: Path, seconds: int) -> list[Row]:
    """Milliseconds of script, and of all work of the page, for each second that plays."""
    page = browser.new_page()
    page.route("**/frames?*", _labels)
    page.route("**/models", _models)
    page.route("**/docs.json", _limits)
    page.goto(f"{url}#video")
    page.set_input_files("#video input[type=file]", clip)
    page.locator("#video .whole").wait_for(timeout=120_000)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    page.evaluate('document.querySelector("video").play()')
    page.wait_for_timeout(2000)  # the player's own start
    measured: dict[str, list[float]] = {"ScriptDuration": [], "TaskDuration": []}
    before = _metrics(session)
    for _ in range(seconds):
        page.wait_for_timeout(1000)
        after = _metrics(session)
        wall = after["Timestamp"] - before["Timestamp"]
        for name, found in measured.items():
            found.append(1000 * (after[name] - before[name]) / wall)
        before = after
    played = page.evaluate('document.querySelector("video").currentTime')
    assert played > seconds / 2, f"only {played:.1f} s have played"
    frames = page.locator("#video .status").inner_text()
    assert "3000 frames" in frames, frames
    page.close()
    script = spread(measured["ScriptDuration"])
    whole = spread(measured["TaskDuration"])
    return [
        ("scripting per second of playback, ms", script.median, "at most 50", {"script": script}),
        ("all of the page's work per second, ms", whole.median, "", {"tasks": whole}),
    ]


def _metrics(session: Any) -> dict[str, float]:
    found = session.send("Performance.getMetrics")["metrics"]
    return {one["name"]: one["value"] for one in found}


def _labels(route: Route) -> None:
    chance = random.Random(0)
    count = round(60 * MINUTES / EVERY_S)
    on = {label: chance.random() < 0.3 for label in LABELS}
    open_at: dict[str, int] = {}
    frames, segments = [], []
    for number in range(count + 1):
        for label in LABELS:
            on[label] ^= chance.random() < 0.03
            if on[label] and label not in open_at:
                open_at[label] = number
            if label in open_at and (not on[label] or number == count):
                start = open_at.pop(label)
                segments.append(
                    {"label": label, "start_s": start * EVERY_S, "end_s": number * EVERY_S,
                     "start_frame": start, "end_frame": number, "score": 0.8}
                )  # fmt: skip
        scores = [{"label": label, "score": 0.8} for label in LABELS if on[label]]
        if number < count:
            frames.append(
                {"type": "frame", "index": number, "time_s": number * EVERY_S, "labels": scores}
            )
    segments.sort(key=lambda one: one["start_s"])
    summary = {
        "type": "summary", "segments": segments, "clip": {"labels": []}, "truncated": False,
        "video": {"start_s": 0.0, "duration_s": 60.0 * MINUTES}, "model": "made up",
        "timing_ms": {"total": 0}, "warnings": [],
    }  # fmt: skip
    body = "".join(json.dumps(event) + "\n" for event in [*frames, summary])
    route.fulfill(body=body, content_type="application/x-ndjson")


def _models(route: Route) -> None:
    route.fulfill(json={"models": [{"task": "frames", "name": "made up", "version": "0"}]})


def _limits(route: Route) -> None:
    limits = {"frames_max_bytes": 1e9, "frames_max_s": 1e4, "frames_max_frames": 1e5}
    route.fulfill(json={"info": {"x-limits": limits}})


def main() -> None:
    """Prints all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="photos dropped")
    parser.add_argument("--seconds", type=int, default=15, help="of the video that are played")
    chosen = parser.parse_args()
    size = sum(len(file.content) for file in PAGE.values())
    rows: list[Row] = [("the page's files, kB", size / 1000, "at most 120", {})]
    with tempfile.TemporaryDirectory() as name, chromium() as browser, running() as service:
        url = f"http://127.0.0.1:{service.port}/"
        photo = Path(name) / "photo.jpg"
        photo.write_bytes(photos(1, (320, 240))[0])
        rows.append(time_to_caption(browser, url, photo, chosen.rounds))
        clip = write_clip(Path(name) / "clip.mp4", 60 * MINUTES, size=(160, 90), fps=5)
        rows += scripting(browser, url, clip, chosen.seconds)
    report("The page in the browser", rows)


if __name__ == "__main__":
    main()
