"""What annotation tools export: Label Studio's JSON and CVAT's XML -> stretches by video.

Label Studio: ``TimelineLabels`` (ranges of frames, the first is 1, the last belongs to it), regions
with ``start`` and ``end`` in seconds, and ``Choices`` for the whole video. CVAT, for video: a label
lasts while any shape of a track bears it; for images: tags and shapes of a video's frames.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from captioner.errors import DataError
from training.data.stretches import Stretch, runs_of_frames

# Label Studio puts eight hexadecimal digits before the names of files that are uploaded to it.
UPLOADED = re.compile(r"^[0-9a-f]{8}-")


def read_label_studio(path: Path) -> dict[str, list[Stretch]]:
    """Stretches by video. A task without annotations is a video of which nothing is said.

    Of several annotations of a task the last that was not cancelled counts. Raises ``DataError``
    for what is no export of videos.
    """
    try:
        tasks = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise DataError(
            f"{path.name} is no list of tasks.", hint="Export from Label Studio as JSON."
        )
    found: dict[str, list[Stretch]] = {}
    for task in tasks:
        name = _video_of(task, path)
        done = [a for a in task.get("annotations", []) if not a.get("was_cancelled")]
        stretches = found.setdefault(name, [])
        if done:
            for region in done[-1].get("result", []):
                stretches += _region(region)
    return found


def read_cvat(path: Path) -> dict[str, list[Stretch]]:
    """Stretches by video, in frames. Raises ``DataError`` for what is no export of videos."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from None
    if root.tag != "annotations":
        raise DataError(
            f"{path.name} is no export of CVAT.", hint="Choose 'CVAT for video 1.1' there."
        )
    tasks = {
        task.findtext("id", ""): PurePosixPath(task.findtext("source", "")).name
        for task in root.iter("task")
    }
    tasks = {number: name for number, name in tasks.items() if name}
    if not tasks:
        raise DataError(f"{path.name} names no video: its task has no <source>.")
    found: dict[str, list[tuple[float, str]]] = {name: [] for name in tasks.values()}
    only = next(iter(tasks.values()))
    for element in (*root.iter("track"), *root.iter("image")):
        name = tasks.get(element.get("task_id", ""), only)
        try:
            found[name] += _track(element) if element.tag == "track" else _image(element)
        except ValueError:
            raise DataError(f"{path.name} has a frame without a number.") from None
    return {name: runs_of_frames(sorted(set(f)), True) for name, f in found.items()}


def _video_of(task: dict[str, Any], path: Path) -> str:
    data = task.get("data")
    values = list(data.values()) if isinstance(data, dict) else []
    named = data.get("video") or data.get("video_url") if isinstance(data, dict) else None
    link = named or next((v for v in values if isinstance(v, str) and "." in v), None)
    if not isinstance(link, str):
        raise DataError(f"{path.name}: task {task.get('id')} names no video.")
    parts = urlsplit(link)
    local = parse_qs(parts.query).get("d", [parts.path])[0]  # /data/local-files/?d=…
    return UPLOADED.sub("", PurePosixPath(unquote(local)).name)


def _region(region: dict[str, Any]) -> Iterator[Stretch]:
    kind, value = region.get("type"), region.get("value", {})
    if kind == "timelinelabels":
        for span in value.get("ranges", []):
            for label in value.get("timelinelabels", []):
                yield Stretch(label, float(span["start"]) - 1, float(span["end"]), True)
    elif kind == "choices":
        yield from (Stretch(label) for label in value.get("choices", []))
    elif "start" in value and "end" in value:
        for label in value.get(kind, value.get("labels", [])):
            yield Stretch(label, float(value["start"]), float(value["end"]))


def _track(track: ElementTree.Element) -> list[tuple[float, str]]:
    label = track.get("label", "")
    shapes = [shape for shape in track if shape.get("frame") is not None]
    return [(int(shape.get("frame", "")), label) for shape in shapes if shape.get("outside") != "1"]


def _image(image: ElementTree.Element) -> list[tuple[float, str]]:
    labels = {shape.get("label", "") for shape in image} - {""}
    return [(int(image.get("id", "")), label) for label in labels]
