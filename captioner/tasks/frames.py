"""Labels for the frames of a video: read, encode, remember, smooth."""

from __future__ import annotations

import threading
import time
from typing import Any

import torch
from torch import Tensor

from captioner.bundle import Bundle, find_bundle
from captioner.errors import UserError
from captioner.models.frames import FrameLabeller
from captioner.models.video_labeller import FRAME_ENCODERS, VideoLabeller, frame_features
from captioner.tasks.caption import CaptionTask
from captioner.tasks.description import build, check_keys, wrong
from captioner.tasks.frame_captions import SegmentCaptions
from captioner.tasks.frame_decoding import Decider, FrameDecoding
from captioner.tasks.frame_options import FrameLabels, FrameOptions, FramesResult
from captioner.tasks.frame_stream import FrameStream
from captioner.tasks.named_options import named_options
from captioner.tasks.shared_encoder import shared_encoder
from captioner.vision.encoder import ResNetEncoder
from captioner.vision.sources import VideoFile
from captioner.vision.video import VideoLimits, open_video

# Frames that are encoded at once. On a CPU more are no faster, and a label would wait for them.
CPU_CHUNK, GPU_CHUNK = 4, 32


class FramesTask:
    """Videos to labels with one bundle.

    :meth:`stream` may be called, and its streams read, in many threads. ``workers``: threads that
    encode for one stream, by default as many as torch's operators would use.
    """

    def __init__(self, bundle: Bundle, *, device: str = "cpu", workers: int | None = None) -> None:
        self.bundle = bundle
        self.name, self.version = bundle.name, bundle.version
        self.model = f"{bundle.name}@{bundle.version}"
        self.card = bundle.card
        self.metrics = bundle.metrics
        self.labels = bundle.labels()
        self.preprocessing = bundle.preprocessing()
        self.device = torch.device(device)
        self.decoding = build(bundle, "decoding", FrameDecoding, bundle.decoding)
        model = video_labeller_of(bundle)
        multi_label = model.labeller.multi_label
        try:
            self.decider = Decider(self.decoding, self.labels, multi_label=multi_label)
        except (TypeError, ValueError, RuntimeError, UserError) as error:
            raise wrong(bundle, "decoding", f"cannot be used: {error}") from error
        self._encoder = shared_encoder(bundle, _frame_by_frame(bundle, model), self.device)
        self.labeller = model.labeller.eval().requires_grad_(False).to(self.device)
        cpu = self.device.type == "cpu"
        self.workers = workers or (torch.get_num_threads() if cpu else 1)
        self.chunk_frames = CPU_CHUNK if cpu else GPU_CHUNK
        self._captioner: CaptionTask | None = None
        self._loading = threading.Lock()
        self._captioning = threading.Lock()

    def __call__(
        self, video: VideoFile, *, limits: VideoLimits | None = None, **options: Any
    ) -> FramesResult:
        """Labels one video: a path, its bytes, or a file open in binary mode.

        Options are those of :class:`FrameOptions`. Raises the
        :class:`~captioner.errors.VideoError` family.
        """
        with self.stream(video, named_options(FrameOptions, options), limits=limits) as stream:
            frames = [event for event in stream if isinstance(event, FrameLabels)]
            return FramesResult(frames, stream.summary())

    def stream(
        self,
        video: VideoFile,
        options: FrameOptions = FrameOptions(),  # noqa: B008
        *,
        limits: VideoLimits | None = None,
    ) -> FrameStream:
        """Labels in order while the video is still being read; see :class:`FrameStream`.

        Opens the video and decodes its first frame, so that what is wrong with it, or with the
        options, is raised here and not on the way.
        """
        options.check()
        started = time.perf_counter()
        captions = self._segment_captions() if options.captions else None
        reader = open_video(
            video,
            every_s=self.every_s(options) or None,
            key_frames=options.key_frames,
            target_size=self.preprocessing.target_size(),
            limits=limits,
        )
        return FrameStream(self, reader, options, captions, started)

    def every_s(self, options: FrameOptions) -> float:
        """Seconds from one labelled frame to the next; 0 for every frame, or every key frame."""
        if options.fps is not None:
            return 1 / options.fps
        if options.every_s is not None:
            return options.every_s
        return 0.0 if options.key_frames else self.decoding.every_s

    def caption_with(self, captioner: CaptionTask) -> None:
        """Takes this captioner for the captions of segments, not the one that is installed."""
        self._captioner = captioner

    def encode(self, pixels: Tensor) -> Tensor:
        """uint8 ``(frames, 3, size, size)`` -> features ``(frames, feature)``."""
        pixels = pixels.to(self.device, memory_format=torch.channels_last)
        return frame_features(self._encoder, self.preprocessing.normalise(pixels))

    def _segment_captions(self) -> SegmentCaptions:
        with self._loading:
            if self._captioner is None:
                bundle = find_bundle("caption")
                same = bundle.encoder_path() is not None and all(
                    bundle.description.get(key) == self.bundle.description.get(key)
                    for key in ("encoder", "preprocessing")
                )
                shared = self._encoder if same and self._grid(bundle) else None
                self._captioner = CaptionTask(bundle, device=str(self.device), encoder=shared)
        return SegmentCaptions(self._captioner, self.preprocessing, self._captioning)

    def _grid(self, bundle: Bundle) -> bool:
        return bool(bundle.model["encoder"].get("output", "grid") == self._encoder.output)


def video_labeller_of(bundle: Bundle) -> VideoLabeller:
    """The bundle's model with its weights, as trained: for inference and for training on."""
    arguments = bundle.model
    check_keys(bundle, "model", VideoLabeller, arguments)
    encoder, kind = arguments["encoder"], "resnet"
    if isinstance(encoder, dict):
        kind = encoder.get("kind", kind)
        encoder = {name: value for name, value in encoder.items() if name != "kind"}
    if not isinstance(kind, str) or kind not in FRAME_ENCODERS:
        raise wrong(bundle, "model.encoder.kind", f"is {kind!r}, which this release does not know")
    check_keys(bundle, "model.encoder", FRAME_ENCODERS[kind], encoder)
    own = ("feature_size", "num_classes")  # VideoLabeller's to give
    check_keys(bundle, "model.labeller", FrameLabeller, arguments["labeller"], given=own)
    size, labels = arguments["num_classes"], len(bundle.labels())
    if size != labels:
        raise wrong(bundle, "model.num_classes", f"is {size!r}, but labels.json names {labels}")
    model = build(bundle, "model", VideoLabeller, arguments)
    bundle.load_into(model)
    return model.eval()


def _frame_by_frame(bundle: Bundle, model: VideoLabeller) -> ResNetEncoder:
    # Others look at a clip as a whole, and this task never has one.
    if not isinstance(model.encoder, ResNetEncoder):
        raise wrong(bundle, "model.encoder.kind", "needs whole clips; this task reads streams")
    return model.encoder
