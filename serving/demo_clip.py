"""The clip of ``make demo``: a camera pans and zooms over three of scikit-image's photos."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

WIDTH, HEIGHT, RATE, SECONDS = 320, 240, 10, 3
# Photo, and the camera's box at the beginning and end of its shot, as shares of the photo.
Box = tuple[float, float, float, float]
SHOTS: tuple[tuple[str, Box, Box], ...] = (
    ("chelsea", (0.0, 0.0, 0.8, 1.0), (0.2, 0.0, 1.0, 1.0)),
    ("astronaut", (0.0, 0.0, 1.0, 1.0), (0.15, 0.0, 0.75, 0.6)),
    ("rocket", (0.0, 0.2, 0.7, 1.0), (0.3, 0.0, 1.0, 0.8)),
)


def demo_clip() -> bytes:
    """An MP4 of 9 seconds, 10 frames a second."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=RATE, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in _frames():
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture))))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def _frames() -> Iterator[Image.Image]:
    from skimage import data

    for name, begin, end in SHOTS:
        photo = Image.fromarray(getattr(data, name)())
        size = (photo.width, photo.height, photo.width, photo.height)
        for number in range(RATE * SECONDS):
            share = number / (RATE * SECONDS - 1)
            left, top, right, bottom = (
                length * ((1 - share) * a + share * b)
                for length, a, b in zip(size, begin, end, strict=True)
            )
            box = left, top, right, bottom
            yield photo.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=box)
