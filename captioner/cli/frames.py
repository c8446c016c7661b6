"""``captioner frames``: videos, or folders of them, to labels, subtitles and pictures of both."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner.cli.files import already_done, expand, output, progress
from captioner.cli.frame_files import (
    FORMATS,
    Wanted,
    new_file,
    replacing,
    wanted_of_many,
    wanted_of_one,
)
from captioner.errors import BundleError, UserError

if TYPE_CHECKING:
    from captioner.tasks import FramesTask
    from captioner.tasks.frame_options import FrameOptions

SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg"),
    ".gif",
}
KEYS = ("file", "segments", "clip")  # of a line of --out FILE.jsonl
Bad = list[tuple[str, UserError]]


def add(commands: Any) -> None:
    """The command's arguments."""
    frames = commands.add_parser("frames", help="label videos, or a folder of them")
    frames.add_argument("videos", nargs="+", metavar="VIDEO|DIR")
    frames.add_argument(
        "--out",
        metavar="FILE|DIR|FILE.jsonl",
        help="of one video, a file (.vtt .srt .csv .json .ndjson); of many, a folder with one for "
        "each, or one object a line; resumes",
    )
    frames.add_argument("--format", choices=FORMATS, help="of files in a folder, or of what prints")
    frames.add_argument("--overlay", metavar="FILE.mp4|DIR", help="the video with its labels in it")
    frames.add_argument("--strip", metavar="FILE.png|DIR", help="a strip of colour for each label")
    frames.add_argument("--every-s", type=float, help="seconds between labelled frames; 0: all")
    frames.add_argument("--fps", type=float, help="labelled frames a second")
    frames.add_argument("--key-frames", action="store_true", help="only frames stored in full")
    frames.add_argument("--top-k", type=int, help="labels a frame at most")
    frames.add_argument("--min-score", type=float, help="less likely ones are left out")
    frames.add_argument("--captions", action="store_true", help="a caption for each segment")
    frames.add_argument("--model", help="a bundle's name or directory")
    frames.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exit code 2: the one video was bad; 1: some of many were."""
    from captioner.tasks import load

    chosen = _options(options)
    videos, many = expand(options.videos, SUFFIXES, "videos")
    bad: Bad = []
    if many:
        wanted, lines = wanted_of_many(options, videos)
    else:
        wanted, lines = [wanted_of_one(options, videos[0])], None
    task = load("frames", model=options.model)
    if many:
        _label_many(task, wanted, lines, options, chosen, bad)
    else:
        _label_one(task, wanted[0], options.format, chosen)
    for name, error in bad:
        print(f"captioner: {name}: {error}", file=sys.stderr)
    return 1 if bad else 0


def _options(options: argparse.Namespace) -> FrameOptions:
    from captioner.tasks.frame_options import FrameOptions

    names = {field.name for field in fields(FrameOptions)}
    given = {name: value for name, value in vars(options).items() if name in names}
    return FrameOptions(**given).check()


# ---- one video


def _label_one(task: FramesTask, wanted: Wanted, kind: str | None, options: FrameOptions) -> None:
    if wanted.labels:
        kind = Path(wanted.labels).suffix.lower().removeprefix(".")
    shown = any((wanted.labels, wanted.overlay, wanted.strip))
    body = _label(task, wanted, kind, options, bars=shown)
    for file in (wanted.labels, wanted.overlay, wanted.strip):
        if file is not None:
            print(file, file=sys.stderr)
    if not shown and kind is None:
        _print(body)
    for warning in body["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


def _print(body: dict[str, Any]) -> None:
    for found in body["segments"]:
        caption = f"  {found['caption']}" if found.get("caption") else ""
        times = f"{found['start_s']:8.2f} - {found['end_s']:8.2f} s"
        print(f"{times}  {found['score']:.2f}  {found['label']}{caption}")
    if not body["segments"]:
        print("no label is on for long enough, or likely enough, to make a segment")
    whole = ", ".join(f"{found['label']} {found['score']:.2f}" for found in body["clip"]["labels"])
    print(f"the whole: {whole or 'no label'}")
    seconds = body["timing_ms"]["total"] / 1000
    print(f"{body['video']['frames_labelled']} frames labelled in {seconds:.1f} s")


# ---- many


def _label_many(
    task: FramesTask,
    wanted: Sequence[Wanted],
    lines: str | None,
    asked: argparse.Namespace,
    options: FrameOptions,
    bad: Bad,
) -> None:
    files = bool(asked.out and not lines) or bool(asked.overlay or asked.strip)
    done = already_done(lines, KEYS) if lines else set()
    waiting = [w for w in wanted if (w.name not in done if lines else w.missing() or not files)]
    kind = asked.format or ("json" if asked.out and not lines else None)

    def results() -> Iterator[tuple[Wanted, dict[str, Any]]]:
        for one in waiting:
            try:
                yield one, _label(task, one, kind, options, bars=False)
            except BundleError:
                raise
            except UserError as error:
                bad.append((one.name, error))

    found = results()
    if asked.out or files:
        found = progress(found, len(waiting), unit="video", desc="labels")
    written = 0
    with output(lines) as out:
        for one, body in found:
            written += 1
            if out is not None:
                row = {"file": one.name} | {k: v for k, v in body.items() if k != "frames"}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                out.flush()
            elif not files and kind is None:
                print(one.name)
                _print(body)
            for warning in body["warnings"]:
                print(f"{one.name}: warning: {warning}", file=sys.stderr)
    if asked.out or files:
        known = len(wanted) - len(waiting)
        there = f", {known} were there already" if known else ""
        print(f"{written} videos labelled{there}.", file=sys.stderr)


# ---- both


def _label(
    task: FramesTask, wanted: Wanted, kind: str | None, options: FrameOptions, *, bars: bool
) -> dict[str, Any]:
    """Labels a video and writes its files; the plain form of its result."""
    from captioner.explain.label_strip import strip_picture
    from captioner.explain.video_overlay import write_overlay
    from captioner.tasks import frame_formats
    from captioner.tasks.frame_options import FrameLabels

    keep = kind == "json" or wanted.overlay is not None
    live = kind == "ndjson"
    frames: list[dict[str, Any]] = []
    with new_file(wanted.labels, kind) as out:
        with task.stream(wanted.video, options) as stream:
            info = stream.info
            with _seconds_bar("labels", info.start_s, info.duration_s, shown=bars) as seen:
                for event in stream:
                    if live and out is not None:
                        out.write(frame_formats.event_line(event))
                    if isinstance(event, FrameLabels):
                        seen(event.time_s)
                        if keep:
                            frames.append(event.to_dict())
            body = {"frames": frames, **stream.summary().to_dict()}
        if kind is not None and not live and out is not None:
            out.write(frame_formats.FORMATS[kind].write(body))
    if wanted.strip is not None:
        with replacing(wanted.strip) as path:
            strip_picture(body).save(path, "PNG")
    if wanted.overlay is not None:
        with (
            replacing(wanted.overlay) as path,
            _seconds_bar("overlay", info.start_s, info.duration_s, shown=bars) as seen,
        ):
            body["warnings"] += write_overlay(wanted.video, body, path, seen=seen)
    return body


@contextmanager
def _seconds_bar(
    desc: str, start_s: float, duration_s: float | None, *, shown: bool
) -> Iterator[Callable[[float], object]]:
    if not shown:
        yield lambda time_s: None
        return
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s [{elapsed}<{remaining}]"
    form = form if duration_s else "{desc}: {n:.1f} s [{elapsed}]"
    with tqdm(total=duration_s, desc=desc, bar_format=form) as bar:

        def seen(time_s: float) -> None:
            passed = time_s - start_s - bar.n
            bar.update(max(0.0, min(passed, duration_s - bar.n) if duration_s else passed))

        yield seen
        if duration_s:
            bar.update(max(0.0, duration_s - bar.n))
