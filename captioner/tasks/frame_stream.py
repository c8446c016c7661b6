"""The labels of one video, one after the other, while it is being read."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioner.recurrent import State
from captioner.tasks.frame_captions import KeptPictures, SegmentCaptions
from captioner.tasks.frame_decoding import Run, Runs
from captioner.tasks.frame_options import (
    FrameLabels,
    FrameOptions,
    FramesSummary,
    LabelScore,
    LabelSegment,
    video_dict,
)
from captioner.tasks.frame_pipeline import encoded
from captioner.vision.video import VideoInfo, VideoReader

if TYPE_CHECKING:
    from captioner.tasks.frames import FramesTask

Event = FrameLabels | FramesSummary
Place = tuple[int, float]  # index and seconds of a frame

# Frames further apart, or nearer, than this many times what the model was trained on.
_OTHER_RATE = 2.0


class FrameStream(Iterator[Event]):
    """A :class:`FrameLabels` for each labelled frame of a video, and a :class:`FramesSummary` last.

        with task.stream("clip.mp4") as stream:
            print(stream.info.duration_s)
            for found in stream:
                print(found)

    ``info``: what is known of the video after its first frame. Memory does not grow with the
    length of the video, but for the segments themselves; a model that has to know the whole video
    (``viterbi``, or a bidirectional one) keeps the scores, or the features, of each labelled frame.

    Iterating raises the :class:`~captioner.errors.VideoError` family, after the labels before it.
    Close it, or use ``with``: no thread, decoder or file is left then, also in the middle.
    """

    info: VideoInfo

    def __init__(
        self,
        task: FramesTask,
        reader: VideoReader,
        options: FrameOptions,
        captions: SegmentCaptions | None,
        started: float,
    ) -> None:
        self.info = reader.info
        self._reader = reader
        # It knows nothing of this stream, so that a stream that is dropped is closed at once.
        self._labelling = _Labelling(task, reader, options, captions, started)
        self._events = self._labelling.events()

    def __iter__(self) -> FrameStream:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads, free the decoder, and close the file if it was opened here."""
        self._events.close()
        self._reader.close()

    def summary(self) -> FramesSummary:
        """The last event; frames that are left are read now."""
        for _ in self:
            pass
        if self._labelling.summary is None:
            raise ValueError("the stream was closed before its end")
        return self._labelling.summary


class _Labelling:
    """What goes on between the frames of one video and its events."""

    def __init__(
        self,
        task: FramesTask,
        reader: VideoReader,
        options: FrameOptions,
        captions: SegmentCaptions | None,
        started: float,
    ) -> None:
        self._task = task
        self._reader = reader
        self._captions = captions
        self._started = started
        decoding = task.decoding
        self._every_s = task.every_s(options)
        self._uneven = options.key_frames
        self._top_k = min(options.top_k or decoding.top_k, len(task.labels))
        self._least = options.min_score
        self._min_score = decoding.min_score if options.min_score is None else options.min_score
        self._timing = {"open": (time.perf_counter() - started) * 1000}
        self._runs = Runs()
        self._segments: list[LabelSegment] = []
        self._sum = torch.zeros(len(task.labels), dtype=torch.float64)
        self._labelled = 0
        self._last: Place = (0, reader.info.start_s)
        self._on: Tensor | None = None
        self.summary: FramesSummary | None = None

    def events(self) -> Generator[Event, None, None]:
        """All of them, once."""
        task, timing = self._task, self._timing
        causal, later = task.labeller.causal, task.decoding.whole or not task.labeller.causal
        pictures = KeptPictures() if self._captions and later else None
        places: list[Place] = []
        features: list[Tensor] = []
        scores: list[Tensor] = []
        state: State | None = None
        chunks = encoded(
            self._reader,
            task.preprocessing,
            task.encode,
            workers=task.workers,
            chunk_frames=task.chunk_frames,
            timing=timing,
        )
        with closing(chunks):
            for chunk in chunks:
                if pictures is not None:
                    for pixels in chunk.pixels:
                        pictures.show(pixels)
                if later:
                    places += chunk.frames
                if not causal:
                    features.append(chunk.features)
                    continue
                probabilities, state = self._label(chunk.features, state)
                yield from self._frames(chunk.frames, probabilities)
                if later:
                    scores.append(probabilities)
                else:
                    kept = [pixels.clone() for pixels in chunk.pixels] if self._captions else None
                    self._collect(chunk.frames, probabilities, kept)
        if not causal:
            probabilities, _ = self._label(torch.cat(features), None)
            yield from self._frames(places, probabilities)
            scores.append(probabilities)
        if later:
            kept_some = None if pictures is None else pictures.all()
            self._collect(places, torch.cat(scores), kept_some)
        self.summary = self._finish()
        yield self.summary

    def _label(self, features: Tensor, state: State | None) -> tuple[Tensor, State]:
        """``(T, D)`` -> probabilities ``(T, L)``, and the state after them."""
        started = time.perf_counter()
        labeller = self._task.labeller
        with torch.inference_mode():
            logits, state = labeller(features.unsqueeze(0), None, state)
            probabilities = labeller.probabilities(logits)[0].float().cpu()
        self._count("label", started)
        return probabilities, state

    def _frames(self, places: Sequence[Place], probabilities: Tensor) -> Iterator[FrameLabels]:
        self._timing.setdefault("first_label", (time.perf_counter() - self._started) * 1000)
        best = probabilities.topk(self._top_k)
        self._sum += probabilities.double().sum(0)
        self._labelled += len(places)
        self._last = places[-1]
        for (index, time_s), scores, labels in zip(
            places, best.values.tolist(), best.indices.tolist(), strict=True
        ):
            yield FrameLabels(index, time_s, self._scores(labels, scores))

    def _collect(
        self,
        places: Sequence[Place],
        probabilities: Tensor,
        pictures: Sequence[Tensor | None] | None,
    ) -> None:
        on = self._task.decider.decide(probabilities, self._on)
        self._on = on[-1]
        self._add(list(self._runs.feed(on, probabilities, places, pictures)))

    def _add(self, runs: Sequence[Run]) -> None:
        least = self._least or 0.0
        kept = [r for r in runs if r.frames >= self._task.decider.shortest and r.score >= least]
        captions: dict[int, str] = {}
        shown = [run for run in kept if run.keepsake is not None]
        if self._captions is not None and shown:
            started = time.perf_counter()
            texts = self._captions.captions([run.keepsake for run in shown])
            captions = {id(run): text for run, text in zip(shown, texts, strict=True)}
            self._count("caption", started)
        for run in kept:
            self._segments.append(
                LabelSegment(
                    self._task.labels[run.label],
                    run.start_s,
                    run.end_s,
                    run.start_frame,
                    run.end_frame,
                    run.score,
                    captions.get(id(run)),
                )
            )

    def _finish(self) -> FramesSummary:
        reader = self._reader
        end_frame = self._last[0] + 1 if self._uneven else reader.frames_read
        self._add(list(self._runs.close(end_frame, reader.end_s)))
        mean = self._sum / max(1, self._labelled)
        best = mean.topk(self._top_k)
        read = {
            "end_s": round(reader.end_s, 4),
            "frames_read": reader.frames_read,
            "frames_labelled": self._labelled,
        }
        self._timing["total"] = (time.perf_counter() - self._started) * 1000
        return FramesSummary(
            segments=sorted(self._segments, key=lambda found: (found.start_s, found.start_frame)),
            clip=self._scores(best.indices.tolist(), best.values.tolist()),
            video=video_dict(reader.info) | read,
            truncated=reader.truncated,
            model=self._task.model,
            timing_ms=self._timing,
            warnings=self._warnings(),
        )

    def _warnings(self) -> list[str]:
        reader, found = self._reader, []
        if reader.truncated:
            found.append(
                f"the video is cut off or damaged after {reader.end_s:.2f} s; "
                "what comes before is labelled"
            )
        if reader.decode_errors:
            found.append(f"{reader.decode_errors} damaged pieces of the video were left out")
        if reader.guessed_times:
            found.append(f"{reader.guessed_times} frames had no usable timestamp")
        trained, taken = self._task.decoding.every_s, self._every_s
        taken = taken or (1 / reader.info.fps if reader.info.fps else trained)
        if trained and not self._uneven and not trained / _OTHER_RATE <= taken <= trained * 2:
            found.append(
                f"a frame every {taken:.3g} s was labelled; the model was made for one "
                f"every {trained:g} s, and its labels are less reliable so"
            )
        return found

    def _scores(self, labels: Sequence[int], scores: Sequence[float]) -> list[LabelScore]:
        return [
            LabelScore(self._task.labels[label], score)
            for label, score in zip(labels, scores, strict=True)
            if score >= self._min_score
        ]

    def _count(self, what: str, started: float) -> None:
        self._timing[what] = self._timing.get(what, 0.0) + (time.perf_counter() - started) * 1000
