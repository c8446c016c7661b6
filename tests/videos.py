"""Small videos and a small model that labels them, made by code for the tests of all packages."""

from __future__ import annotations

import io
import json
import random
import struct
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (40, 60, 210)}


def write_frames_bundle(
    directory: Path,
    *,
    multi_label: bool = True,
    bidirectional: bool = False,
    encoder: dict[str, object] | None = None,
    **changed: object,
) -> Path:
    """A real bundle that tells red, green and blue frames apart.

    The encoder and the cell are random; only the head is fitted, by least squares. ``encoder``: the
    state of another encoder to take.
    """
    import torch

    from captioner.bundle import write_bundle
    from captioner.models.video_labeller import VideoLabeller, frame_features
    from captioner.vision.preprocess import Preprocessing

    torch.manual_seed(0)
    preprocessing = changed.get("preprocessing", Preprocessing(size=32))
    model = {
        "encoder": {"depth": 18, "output": "grid", "weights": None, "trainable_stages": 0},
        "labeller": {
            "cell": "lstm",
            "hidden_size": 16,
            "bidirectional": bidirectional,
            "multi_label": multi_label,
        },
        "num_classes": len(COLOURS),
    }
    labeller = VideoLabeller(**model).eval()
    if encoder is not None:
        labeller.encoder.load_state_dict(encoder)
    with torch.no_grad():
        truth = torch.randint(3, (400,)).repeat_interleave(3)
        colours = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)
        size = preprocessing.size
        pixels = colours.view(3, 3, 1, 1).expand(-1, -1, size, size)
        features = frame_features(labeller.encoder, preprocessing.normalise(pixels))
        for name, value in labeller.labeller.reader.named_parameters():
            value.mul_(1 if "weight_ih" not in name else 20 / features.abs().amax())
        hidden, _ = labeller.labeller.reader(features[truth].unsqueeze(0))
        inputs = torch.cat([hidden[0], torch.ones(len(truth), 1)], 1)
        wanted = torch.nn.functional.one_hot(truth).float() * 2 - 1
        fitted = torch.linalg.lstsq(inputs, wanted).solution.t() * 4
        labeller.labeller.head.weight.copy_(fitted[:, :-1])
        labeller.labeller.head.bias.copy_(fitted[:, -1])
    settings = {
        "name": "frames",
        "version": "0",
        "task": "frames",
        "model": model,
        "state": labeller.state_dict(),
        "assets": {"labels.json": json.dumps(list(COLOURS))},
        "preprocessing": preprocessing,
        "decoding": {"every_s": 0.1, "top_k": 2, "min_score": 0.1},
        "metrics": {},
        "card": {"licence": "none", "origin": "random numbers", "limits": ["knows three colours"]},
        "readme": "# tiny",
        "licence": "none",
    }
    return write_bundle(directory, **(settings | changed))


def write_clip(
    shots: Sequence[tuple[str, float]] = (("red", 1.0), ("blue", 1.0), ("green", 1.0)),
    *,
    fps: int = 10,
    size: tuple[int, int] = (96, 64),
    container: str = "mp4",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    sound: bool = False,
    noise: int = 0,
) -> bytes:
    """A video of plain colours: ``shots`` of a colour's name and its seconds, one after another.

    ``times``: of the frames, in milliseconds, in place of ``fps``. ``sound``: silence beside it.
    ``noise``: grey levels by which pixels differ; it makes a file larger.
    """
    # By its name, because to move the index to the front the muxer opens it once more.
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=container, container_options=options or {}) as output:
            fast = {"preset": "ultrafast", "bf": "0"} if codec == "libx264" else {}
            stream = output.add_stream(codec, rate=fps, options=fast)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            base = Fraction(1, fps) if times is None else Fraction(1, 1000)
            stream.codec_context.time_base = base
            stream.codec_context.gop_size = fps
            tone = output.add_stream("aac", rate=8000, layout="mono") if sound else None
            number, random_ = 0, np.random.default_rng(0)
            for colour, seconds in shots:
                for _ in range(round(seconds * fps)):
                    grain = random_.integers(-noise, noise + 1, (size[1], size[0], 1))
                    picture = np.clip(np.array(COLOURS[colour]) + grain, 0, 255).astype(np.uint8)
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    frame.pts = number if times is None else times[number]
                    frame.time_base = base
                    output.mux(stream.encode(frame))
                    number += 1
            output.mux(stream.encode(None))
            if tone is not None:
                for number in range(round(8000 * sum(s for _, s in shots)) // 1024):
                    quiet = np.zeros((1, 1024), np.float32)
                    silence = av.AudioFrame.from_ndarray(quiet, "fltp", "mono")
                    silence.rate, silence.pts = 8000, number * 1024
                    output.mux(tone.encode(silence))
                output.mux(tone.encode(None))
        return Path(file.name).read_bytes()


def bad_videos() -> dict[str, tuple[bytes, str]]:
    """By what is wrong with it: a file that is no video we label, and the code of its error."""
    mp4, matroska = write_clip(), write_clip(container="matroska")
    photo = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(photo, "JPEG")
    return {
        "empty": (b"", "empty_file"),
        "random bytes": (random.Random(0).randbytes(5000), "unsupported_video_format"),
        "a text": (b"this is no video\n" * 50, "unsupported_video_format"),
        "a JPEG": (photo.getvalue(), "unsupported_video_format"),
        "truncated without an index": (mp4[: len(mp4) // 2], "invalid_video"),
        "an index and nothing else": (_without_media(), "invalid_video"),
        "cut before its first frame": (matroska[:300], "invalid_video"),
        "only sound": (_only_sound(), "no_video_stream"),
        "8000 x 8000": (_claiming(8000, 8000), "video_too_large"),
        "ten hours": (_lasting(36_000), "video_too_long"),
        "a playlist": (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\nfile:///etc/hostname\n",
            "unsupported_video_format",
        ),
        "a list of files": (
            b"ffconcat version 1.0\nfile '/etc/hostname'\n",
            "unsupported_video_format",
        ),
    }


def _without_media() -> bytes:
    data = write_clip(options={"movflags": "faststart"})
    return data[: data.index(b"mdat") + 4]


def _only_sound() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.float32), "fltp", "mono")
        frame.rate, frame.pts = 8000, 0
        output.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def _claiming(width: int, height: int) -> bytes:
    """A small AVI whose header says that its frames have this size."""
    data = bytearray(write_clip(container="avi", codec="mjpeg"))
    place = data.index(b"strf") + 12
    data[place : place + 8] = struct.pack("<II", width, height)
    return bytes(data)


def _lasting(seconds: int) -> bytes:
    """Two frames so many seconds apart."""
    return write_clip([("red", 0.1), ("blue", 0.1)], times=[0, seconds * 1000])
