from __future__ import annotations

import csv
import io
import os
import random
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from captioner.errors import (
    EmptyVideo,
    InvalidOption,
    NoVideoStream,
    UnsupportedVideo,
    VideoError,
    VideoTimeout,
    VideoTooLarge,
    VideoTooLong,
)
from captioner.vision import decoder as decoder_module
from captioner.vision.claims import MAX_SAMPLES
from captioner.vision.containers import FORMATS, can_be_read_in_order, sniff_container
from captioner.vision.frame_picture import FramePictures
from captioner.vision.timeline import FrameTimes, Ticks
from captioner.vision.video import VideoLimits, VideoReader, open_video

# How each container is written: FFmpeg's muxer, codec, and its pixel format.
WRITTEN = {
    "MP4": ("mp4", "libx264", "yuv420p"),
    "MATROSKA": ("matroska", "libx264", "yuv420p"),
    "AVI": ("avi", "mpeg4", "yuv420p"),
    "MPEG-TS": ("mpegts", "libx264", "yuv420p"),
    "MPEG-PS": ("mpeg", "mpeg2video", "yuv420p"),
    "GIF": ("gif", "gif", "rgb8"),
}
INDEX_FIRST, FRAGMENTS = "faststart", "frag_keyframe+empty_moov"


def grey(number: int) -> int:
    """The brightness by which ``number_of`` knows a frame again."""
    return 20 + 7 * (number % 30)


def number_of(image: Image.Image) -> int:
    return round((np.asarray(image).mean() - 20) / 7)


def scene(width: int, height: int) -> np.ndarray:
    """A smooth picture without any symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    channels = x * 220 // width + 20, y * 220 // height + 20, 60 + (x * 2 + y) % 60
    return np.stack(channels, -1).astype(np.uint8)


def video(
    container: str = "MP4",
    *,
    frames: int = 24,
    size: tuple[int, int] = (64, 48),
    rate: int = 10,
    times: list[int] | None = None,
    picture: np.ndarray | None = None,
    codec: str | None = None,
    pixel_format: str | None = None,
    movflags: str = "",
    key_every: int = 8,
    b_frames: int = 2,
    prepare: Callable[[av.VideoStream], object] | None = None,
    sound: bool = False,
) -> bytes:
    """A small video; ``times`` of its frames in milliseconds, else ``rate`` frames per second."""
    muxer, usual_codec, usual_format = WRITTEN[container]
    codec = codec or usual_codec
    options = {"movflags": movflags} if movflags else {}
    # By its name, because to move the index to the front the muxer opens it once more.
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=muxer, container_options=options) as output,
    ):
        good = {"preset": "ultrafast", "crf": "10", "bf": str(b_frames)}
        if not codec.startswith("libx26"):
            # No key frames but those asked for, although every frame is a cut.
            good = {"qmax": "3", "sc_threshold": "1000000000"} if "mpeg" in codec else {}
        stream = output.add_stream(codec, rate=rate, options=good)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format or usual_format
        stream.gop_size = key_every
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if prepare:
            prepare(stream)
        tone = output.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number in range(frames):
            pixels = np.full((*size[::-1], 3), grey(number), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels if picture is None else picture)
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate) if times is None else Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if tone is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
            silence.rate, silence.pts = 8000, 0
            output.mux([*tone.encode(silence), *tone.encode(None)])
        output.close()
        return Path(file.name).read_bytes()


@cache
def plain(container: str = "MP4", movflags: str = "") -> bytes:
    return video(container, movflags=movflags)


def only_sound() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.float32), "fltp", "mono")
        frame.rate, frame.pts = 8000, 0
        output.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


class InOrder:
    """A file as an upload gives it: no seeking, and never more than ``piece`` bytes at once."""

    def __init__(self, data: bytes, piece: int = 700) -> None:
        self._file = io.BytesIO(data)
        self._piece = piece
        self.given = 0

    def seekable(self) -> bool:
        return False

    def read(self, count: int = -1) -> bytes:
        part = self._file.read(min(count, self._piece) if count >= 0 else self._piece)
        self.given += len(part)
        return part


def read(data: object, **options: object) -> tuple[list[int], list[float], VideoReader]:
    """The numbers and the times of all frames taken, and the reader, closed."""
    with open_video(data, **options) as reader:
        frames = [(frame.index, frame.time_s) for frame in reader]
    return [index for index, _ in frames], [time for _, time in frames], reader


def outcome(data: object, **options: object) -> str:
    """How many frames there are, or the code of the error; any other exception is a failure."""
    try:
        return f"{len(read(data, **options)[0])} frames"
    except VideoError as error:
        return error.code


# ---- what is read


@pytest.mark.parametrize("container", FORMATS)
def test_every_container_gives_its_frames_in_order_with_their_times(container: str) -> None:
    rate = 25 if container == "MPEG-PS" else 10  # which knows only a few rates
    with open_video(video(container, rate=rate)) as reader:
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(24))
    assert [number_of(frame.image) for frame in frames] == list(range(24))
    assert {(frame.image.mode, frame.image.size) for frame in frames} == {("RGB", (64, 48))}
    start, info = frames[0].time_s, reader.info
    # Matroska and GIF round to a millisecond and to 10 of them.
    assert [frame.time_s - start for frame in frames] == pytest.approx(
        [number / rate for number in range(24)], abs=0.0006
    )
    assert (info.container, info.width, info.height, info.rotation) == (container, 64, 48, 0)
    assert info.start_s == start
    assert info.fps == pytest.approx(rate)
    # A program stream has none; FFmpeg makes one from the last times it finds in the file.
    assert info.duration_s == pytest.approx(24 / rate, abs=0.2 if container == "MPEG-PS" else 0.101)
    assert info.frames in (24, None)
    assert (reader.frames_read, reader.decode_errors, reader.guessed_times) == (24, 0, 0)
    assert not reader.truncated


@pytest.mark.parametrize("codec", ["mjpeg", "ffv1", "libvpx", "libvpx-vp9", "libx265"])
def test_other_codecs_are_read_too(codec: str) -> None:
    format = {"mjpeg": "yuvj420p", "ffv1": "gray"}.get(codec, "yuv420p")
    data = video("MATROSKA", codec=codec, pixel_format=format, frames=5)
    with open_video(data) as reader:
        assert [number_of(frame.image) for frame in reader] == list(range(5))


@pytest.mark.parametrize("movflags", ["", INDEX_FIRST, FRAGMENTS, "negative_cts_offsets"])
def test_an_mp4_is_read_wherever_its_index_stands(movflags: str) -> None:
    indices, times, reader = read(plain("MP4", movflags))
    assert indices == list(range(24))
    assert np.diff(times) == pytest.approx(0.1)
    assert not reader.truncated


def test_a_path_bytes_and_a_file_give_the_same(tmp_path: Path) -> None:
    # The name says something else, and is not asked.
    path = tmp_path / "clip.m3u8"
    path.write_bytes(plain())
    with path.open("rb") as file:
        file.seek(100)  # a file that can seek is read from its beginning
        answers = [read(source)[:2] for source in (path, str(path), plain(), file)]
        assert not file.closed
    assert answers[1:] == answers[:1] * 3


def test_sound_beside_the_picture_is_left_alone() -> None:
    indices, _, reader = read(video(sound=True))
    assert (indices, reader.decode_errors) == (list(range(24)), 0)


def test_threads_change_nothing() -> None:
    expected = read(plain(), threads=1)[:2]
    assert read(plain(), threads=4)[:2] == expected
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda data: read(data)[:2], [plain()] * 12)) == [expected] * 12


# ---- times


@pytest.mark.parametrize("container", ["MP4", "MATROSKA"])
def test_a_variable_frame_rate_keeps_its_times(container: str) -> None:
    times = [0, 40, 80, 500, 510, 900, 1000, 1700]
    data = video(container, frames=8, times=times)
    assert read(data)[1] == pytest.approx([time / 1000 for time in times], abs=0.0006)


def test_a_first_frame_that_is_not_at_zero_stays_there() -> None:
    data = video("MATROSKA", frames=4, times=[10_000, 10_100, 10_200, 10_300])
    indices, times, reader = read(data)
    assert (indices, times) == ([0, 1, 2, 3], pytest.approx([10, 10.1, 10.2, 10.3]))
    assert reader.info.start_s == 10
    # Matroska's own duration counts from 0: 10.4 s.
    assert reader.info.duration_s == pytest.approx(0.4, abs=0.01)


def test_missing_times_follow_from_the_frame_rate() -> None:
    times = FrameTimes(Fraction(1, 100), Fraction(20))
    assert [times.time_of(i, stamp) for i, stamp in enumerate([None, None, 30, None, 40])] == (
        pytest.approx([0, 0.05, 0.3, 0.35, 0.4])
    )
    assert times.guessed == 3


def test_times_never_go_back() -> None:
    times = FrameTimes(Fraction(1, 100), Fraction(10))
    # Two frames out of order, a double, and a second recording behind the first.
    stamps = [500, 530, 510, 520, 540, 540, 550, 0, 10, 20]
    shown = [times.time_of(index, stamp) for index, stamp in enumerate(stamps)]
    assert shown == pytest.approx([5, 5.3, 5.3, 5.3, 5.4, 5.4, 5.5, 5.6, 5.7, 5.8])
    assert times.guessed == 3


def test_no_times_and_no_frame_rate_are_an_error() -> None:
    for rate in (None, Fraction(0)):
        times = FrameTimes(Fraction(1, 100), rate)
        assert times.time_of(0, 5) == 0.05
        with pytest.raises(VideoError, match="no frame rate"):
            times.time_of(1, None)


def test_a_frame_rate_of_zero_gives_frames_or_a_typed_error() -> None:
    data = bytearray(plain("AVI"))
    place = data.index(b"strh") + 8 + 20  # dwScale and dwRate of the stream's header
    for scale, rate in ((1, 0), (0, 1), (0, 0)):
        data[place : place + 8] = struct.pack("<II", scale, rate)
        assert outcome(bytes(data)) in ("24 frames", "invalid_video")


def test_repeats_that_an_avi_counts_are_no_frames() -> None:
    times = list(range(0, 2400, 100))
    data = video("AVI", times=times)  # at 1000 frames a second, of which 24 are stored
    limits = VideoLimits(max_frames=24, max_samples=24)
    for source in (data, InOrder(data)):
        indices, found, reader = read(source, limits=limits)
        assert reader.info.fps == 1000
        assert reader.info.frames == (24 if source is data else None)
        assert indices == list(range(24))
        assert found == pytest.approx([time / 1000 for time in times])
    with pytest.raises(VideoTooLong, match="22 frames would be taken"):
        open_video(data, limits=VideoLimits(max_samples=22))


# ---- sampling


def test_every_s_takes_the_first_frame_at_or_after_each_tick() -> None:
    indices, times, reader = read(video(rate=10), every_s=0.25)
    assert indices == [0, 3, 5, 8, 10, 13, 15, 18, 20, 23]
    assert times == pytest.approx([index / 10 for index in indices])
    assert reader.frames_read == 24


def test_ticks_follow_the_first_frame_and_not_the_number_of_frames() -> None:
    data = video("MATROSKA", frames=8, times=[5000, 5040, 5080, 5500, 5510, 5900, 6000, 6700])
    assert read(data, every_s=0.5)[0] == [0, 3, 6, 7]


def test_a_time_that_was_rounded_down_is_still_in_time() -> None:
    ticks = Ticks(1 / 3)
    assert [ticks.take(time) for time in (0.0, 0.3, 0.333, 0.367, 0.667, 0.7)] == (
        [True, False, True, False, True, False]
    )


def test_only_frames_that_are_taken_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    real = FramePictures.picture
    monkeypatch.setattr(
        FramePictures, "picture", lambda self, frame: converted.append(1) or real(self, frame)
    )
    assert len(read(plain(), every_s=1)[0]) == len(converted) == 3


@pytest.mark.parametrize("container", ["MP4", "MATROSKA", "AVI", "MPEG-TS", "MPEG-PS"])
def test_key_frames_keep_the_numbers_and_times_they_have_among_all(container: str) -> None:
    data = video(container, rate=25, key_every=6)
    indices, times, reader = read(data, key_frames=True)
    assert indices == [0, 6, 12, 18]
    everything = read(data)[1]
    assert times == [everything[index] for index in indices]
    assert reader.frames_read < 24


def test_key_frames_go_together_with_ticks() -> None:
    data = video(rate=10, key_every=4)
    assert read(data, key_frames=True, every_s=0.6)[0] == [0, 8, 12, 20]


def test_an_open_group_of_pictures_does_not_shift_the_numbers() -> None:
    # Frames that are stored after a key frame and shown before it.
    data = video("MPEG-TS", codec="mpeg2video", rate=25, key_every=6, prepare=two_b_frames)
    everything, times, _ = read(data)
    keys, key_times, _ = read(data, key_frames=True)
    assert len(keys) > 3
    assert key_times == [times[everything.index(index)] for index in keys]


def two_b_frames(stream: av.VideoStream) -> None:
    stream.codec_context.max_b_frames = 2


def test_still_the_first_frame_is_taken_when_its_key_frame_is_hidden() -> None:
    # An edit list from the fourth frame on: 300 of 1000 ticks. Its key frame is not shown.
    data = bytearray(video(frames=10, key_every=100, rate=10, b_frames=0))
    place = data.index(b"elst") + 12
    scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    data[place : place + 8] = struct.pack(">II", 700, 3 * scale // 10)
    indices, times, reader = read(bytes(data))
    assert (indices, times) == (list(range(7)), pytest.approx([n / 10 for n in range(7)]))
    assert reader.info.frames == 10  # the header's claim
    assert read(bytes(data), key_frames=True)[:2] == ([0], [0])


@pytest.mark.parametrize(
    "options",
    [{"every_s": 0}, {"every_s": -1}, {"every_s": float("nan")}, {"every_s": float("inf")},
     {"target_size": 0}, {"target_size": 5000}, {"threads": -1}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(options))):
        open_video(plain(), **options)


# ---- pictures

# A display matrix turns counter-clockwise by so many degrees, and then mirrors.
UPRIGHT = {
    (0, False): lambda stored: stored,
    (90, False): lambda stored: np.rot90(stored, 1),
    (180, False): lambda stored: np.rot90(stored, 2),
    (-90, False): lambda stored: np.rot90(stored, -1),
    (0, True): lambda stored: stored[:, ::-1],
    (90, True): lambda stored: np.rot90(stored, 1)[:, ::-1],
    (180, True): lambda stored: np.rot90(stored, 2)[:, ::-1],
    (-90, True): lambda stored: np.rot90(stored, -1)[:, ::-1],
}


@pytest.mark.parametrize(("degrees", "mirrored"), UPRIGHT)
def test_every_rotation_is_turned_upright(degrees: int, mirrored: bool) -> None:
    stored = scene(96, 64)
    data = video(
        frames=1,
        size=(96, 64),
        picture=stored,
        prepare=lambda stream: stream.set_display_rotation(degrees, hflip=mirrored),
    )
    with open_video(data) as reader:
        image = next(reader).image
    expected = UPRIGHT[degrees, mirrored](stored).astype(int)
    assert image.size == (reader.info.width, reader.info.height) == expected.shape[1::-1]
    assert np.abs(np.asarray(image).astype(int) - expected).mean() < 3
    if not mirrored:
        assert (reader.info.rotation - degrees) % 360 == 0


@pytest.mark.parametrize("degrees", [0, 90])
def test_scaling_goes_by_the_smaller_side_and_never_up(degrees: int) -> None:
    stored = scene(320, 180)
    data = video(
        frames=1,
        size=(320, 180),
        picture=stored,
        prepare=lambda stream: stream.set_display_rotation(degrees),
    )
    sizes = {}
    for target in (90, 180, 448):
        with open_video(data, target_size=target) as reader:
            image = next(reader).image
        assert (reader.info.width, reader.info.height) in ((320, 180), (180, 320))
        sizes[target] = image.size if degrees == 0 else image.size[::-1]
    assert sizes == {90: (160, 90), 180: (320, 180), 448: (320, 180)}
    if degrees == 0:
        with open_video(data, target_size=90) as reader:
            small = np.asarray(next(reader).image).astype(int)
        expected = Image.fromarray(stored).resize((160, 90), Image.Resampling.BOX)
        assert np.abs(small - np.asarray(expected).astype(int)).mean() < 4


def test_odd_sizes_keep_every_row_and_column() -> None:
    stored = scene(97, 65)
    data = video(frames=1, size=(97, 65), picture=stored, pixel_format="yuv444p")
    with open_video(data) as reader:
        image = next(reader).image
    assert image.size == (97, 65)
    assert np.abs(np.asarray(image).astype(int) - stored).mean() < 3
    with open_video(data, target_size=33) as reader:
        assert next(reader).image.size == (49, 33)


@pytest.mark.parametrize(("shape", "width"), [(Fraction(4, 3), 320), (Fraction(3, 4), 180)])
def test_pixels_that_are_not_square_become_square(shape: Fraction, width: int) -> None:
    def set_shape(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = shape

    data = video(frames=1, size=(240, 180), prepare=set_shape)
    with open_video(data) as reader:
        assert next(reader).image.size == (reader.info.width, reader.info.height) == (width, 180)
    with open_video(data, target_size=90) as reader:
        assert next(reader).image.size == (width // 2, 90)


COLOURS = [(255, 255, 255), (0, 0, 0), (200, 30, 30), (30, 180, 60), (40, 60, 220)]


@pytest.mark.parametrize("target_size", [None, 100])
@pytest.mark.parametrize(
    ("size", "tag"), [((128, 96), None), ((128, 96), 1), ((1280, 720), None), ((1280, 720), 5)]
)
def test_colours_are_those_that_were_stored(
    size: tuple[int, int], tag: int | None, target_size: int | None
) -> None:
    # 1 is BT.709, 5 BT.601; without a tag, players take BT.709 from 720 lines on.
    matrix = "ITU709" if tag == 1 or (tag is None and size[1] >= 720) else "ITU601"
    stripes = np.zeros((*size[::-1], 3), np.uint8)
    for number, colour in enumerate(COLOURS):
        stripes[:, number * size[0] // 5 : (number + 1) * size[0] // 5] = colour
    stored = av.VideoFrame.from_ndarray(stripes).reformat(format="yuv420p", dst_colorspace=matrix)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=10, options={"preset": "ultrafast", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if tag is not None:
            stream.codec_context.colorspace = tag
        stored.pts, stored.colorspace = 0, tag or 2
        output.mux([*stream.encode(stored), *stream.encode(None)])
    with open_video(file.getvalue(), target_size=target_size) as reader:
        image = next(reader).image
    for number, colour in enumerate(COLOURS):
        place = round((number + 0.5) * image.width / 5), image.height // 2
        assert np.abs(np.subtract(image.getpixel(place), colour)).max() <= 5


def test_transparent_places_of_a_gif_are_white() -> None:
    frames = [Image.new("RGBA", (20, 16), (255, 0, 0, 255)) for _ in range(3)]
    for frame in frames:
        frame.paste((0, 0, 0, 0), (0, 0, 10, 16))
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], disposal=2)
    with open_video(file.getvalue()) as reader:
        image = next(reader).image
    assert (image.getpixel((3, 3)), image.getpixel((16, 3))) == ((255, 255, 255), (255, 0, 0))


def test_pixel_formats_of_more_than_8_bits_are_read() -> None:
    for format in ("yuv420p10le", "yuv422p", "yuv444p"):
        with open_video(video(frames=3, pixel_format=format), target_size=24) as reader:
            assert [number_of(frame.image) for frame in reader] == [0, 1, 2]


# ---- damage


@pytest.mark.parametrize("fraction", [0.5, 0.8, 0.97])
@pytest.mark.parametrize(
    ("container", "movflags"),
    [("MP4", INDEX_FIRST), ("MP4", FRAGMENTS), ("MATROSKA", ""), ("AVI", ""), ("MPEG-TS", ""),
     ("GIF", "")],
)  # fmt: skip
def test_a_cut_file_gives_what_it_has_and_says_so(
    container: str, movflags: str, fraction: float
) -> None:
    data = video(container, frames=24, movflags=movflags, size=(160, 96), picture=noise())
    indices, _, reader = read(data[: int(len(data) * fraction) + 3])
    assert reader.truncated
    assert fraction * 24 - 9 < len(indices) <= fraction * 24 + 1
    assert indices == list(range(len(indices)))


@cache
def noise() -> np.ndarray:
    """A picture that takes some bytes in every frame."""
    return np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)


def test_a_transport_stream_that_ends_inside_a_packet_is_cut() -> None:
    data = plain("MPEG-TS")
    assert len(data) % 188 == 0
    assert not read(data)[2].truncated
    assert not read(data[: -188 * 3])[2].truncated  # between two packets: nobody can tell
    assert read(data[:-1])[2].truncated
    camcorder = b"".join(bytes(4) + data[at : at + 188] for at in range(0, len(data), 188))
    assert len(read(camcorder)[0]) == 24
    assert read(camcorder[:-50])[2].truncated


def test_an_mp4_whose_index_was_cut_off_says_so() -> None:
    data = plain()
    for fraction in (0.2, 0.6, 0.9):
        with pytest.raises(VideoError, match="truncated MP4") as caught:
            open_video(data[: int(len(data) * fraction)])
        assert caught.value.code == "invalid_video"


@pytest.mark.parametrize("container", FORMATS)
def test_a_header_alone_is_an_invalid_video(container: str) -> None:
    data = plain(container, INDEX_FIRST if container == "MP4" else "")
    with pytest.raises(VideoError) as caught:
        read(
            data[
                : data.index(b"mdat")
                if container == "MP4"
                else 600
                if container == "MPEG-TS"
                else 20
            ]
        )
    assert caught.value.code == "invalid_video"


def test_zeros_at_the_end_are_a_lost_end() -> None:
    # As a download leaves them that reserved its space and was broken off.
    data = video(movflags=INDEX_FIRST, frames=24, size=(160, 96), picture=noise())
    indices, _, reader = read(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert reader.truncated
    assert 4 < len(indices) < 20


def test_damage_in_the_middle_is_counted_and_passed_over() -> None:
    data = bytearray(video("MATROSKA"))
    with av.open(io.BytesIO(data)) as file:
        packets = [bytes(packet) for packet in file.demux() if packet.size]
    position = data.index(packets[8])  # a key frame
    data[position : position + len(packets[8])] = bytes(len(packets[8]))
    indices, times, reader = read(bytes(data))
    assert reader.decode_errors > 0
    assert len(indices) < 24
    assert not reader.truncated
    assert (times[0], times[-1]) == (0, pytest.approx(2.3))


def test_flipped_bytes_give_frames_or_a_video_error_and_nothing_else() -> None:
    chance = random.Random(0)
    files = [plain(container) for container in FORMATS]
    files += [plain("MP4", INDEX_FIRST), plain("MP4", FRAGMENTS)]
    outcomes = set()
    for number in range(160):
        data = bytearray(files[number % len(files)])
        for _ in range(chance.choice([1, 4, 30])):
            place = chance.randrange(min(len(data), chance.choice([200, len(data)])))
            change = chance.random()
            if change < 0.7:
                data[place] = chance.randrange(256)
            elif change < 0.85:
                del data[place : place + chance.choice([1, 20])]
            else:
                data[place:place] = chance.randbytes(chance.choice([1, 20]))
        source = InOrder(bytes(data)) if number % 3 == 0 else bytes(data)
        limits = VideoLimits(max_seconds=20)
        outcomes.add(outcome(source, key_frames=number % 2 == 0, limits=limits))
    assert outcomes >= {"24 frames", "invalid_video", "unsupported_video_format"}


# ---- what is refused


@pytest.mark.parametrize("container", FORMATS)
def test_what_ffmpeg_writes_is_recognised(container: str) -> None:
    data = plain(container)
    assert sniff_container(data) == container
    for length in range(1, 600):
        try:
            assert sniff_container(data[:length]) == container
        except UnsupportedVideo:
            assert length <= 2 * 188


def saved(format: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), "teal").save(file, format)
    return file.getvalue()


FOREIGN = {
    "JPEG picture": saved("JPEG"),
    "PNG picture": saved("PNG"),
    "WEBP picture": saved("WEBP"),
    "HEIC": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "AVIF": b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf",
    "playlist": b"#EXTM3U\n#EXTINF:2,\nfile:///etc/passwd\n",
    "playlist .M3U8": b"\xef\xbb\xbf\n#EXTM3U\n",
    "ffconcat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "SDP": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
    "XML": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>',
    "Flash": b"FLV\x01\x05\x00\x00\x00\x09",
    "Windows Media": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9",
    "Ogg": b"OggS\x00\x02",
    "sound": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "without a container": b"\x00\x00\x00\x01\x67\x64\x00\x1e",
    "zip": b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "text": b"concat:a.ts|b.ts",
    "no kind we know": random.Random(0).randbytes(5000),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_anything_else_is_refused_by_the_name_of_what_it_looks_like(name: str) -> None:
    with pytest.raises(UnsupportedVideo, match=name.split(" .")[0]) as caught:
        open_video(FOREIGN[name])
    assert caught.value.code == "unsupported_video_format"
    assert "MP4" in caught.value.hint
    assert "picture we read" not in caught.value.message


def test_no_bytes_are_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    for source in (b"", tmp_path / "empty.mp4", io.BytesIO(), InOrder(b"")):
        with pytest.raises(EmptyVideo, match="0 bytes") as caught:
            open_video(source)
        assert caught.value.code == "empty_file"


def test_sound_alone_has_no_video_stream() -> None:
    with pytest.raises(NoVideoStream, match="it holds audio") as caught:
        open_video(only_sound())
    assert caught.value.code == "no_video_stream"


def test_a_cover_is_no_video() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 12, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.zeros((12, 16, 3), np.uint8))
        frame.pts = 0
        output.mux([*cover.encode(frame), *cover.encode(None)])
    with pytest.raises(NoVideoStream, match="it holds"):
        open_video(file.getvalue())


def test_a_codec_that_nobody_uses_is_refused() -> None:
    data = video("AVI", codec="cinepak", pixel_format="rgb24", frames=1)
    with pytest.raises(UnsupportedVideo, match="cinepak"):
        open_video(data)
    unknown = plain("AVI").replace(b"FMP4", b"QQQQ")
    with pytest.raises(UnsupportedVideo, match="unknown"):
        open_video(unknown)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.ts"
    path.write_bytes(plain("MPEG-TS"))
    return path


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\n{}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=fmtp:{}\n",
}


@pytest.mark.parametrize("place", ["{}", "file://{}", "http://127.0.0.1:{}/x.ts", "concat:{}"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_opens_nothing(
    kind: str, place: str, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        target = server.getsockname()[1] if "http" in place else secret
        text = PLAYLISTS[kind].format(place.format(target))
        path = tmp_path / f"clip.{kind}"
        path.write_text(text)
        for source in (path, text.encode()):
            with pytest.raises(UnsupportedVideo, match=r"playlist|list of files|session"):
                open_video(source)
        # Nor does it when it is taken for a video by mistake.
        demuxer = {"m3u8": "hls", "ffconcat": "concat", "sdp": "sdp"}[kind]
        monkeypatch.setattr(decoder_module, "sniff_container", lambda head: "AVI")
        monkeypatch.setitem(decoder_module.DEMUXERS, "AVI", demuxer)
        with pytest.raises(VideoError, match="damaged AVI"):
            read(path, limits=VideoLimits(max_seconds=5))
        with pytest.raises(BlockingIOError):
            server.accept()


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, reason in (("pipe.mp4", "not a file"), (".", "not a file"), ("no.mp4", "No such")):
        with pytest.raises(VideoError, match=reason):
            open_video(tmp_path / name)
    for name in (f"concat:{tmp_path}/a|b", "http://127.0.0.1:9/x.mp4", "a\0b"):
        with pytest.raises(VideoError, match="cannot read"):
            open_video(name)


def test_a_file_that_fails_gives_a_video_error() -> None:
    class Failing(io.BytesIO):
        def read(self, count: int | None = -1) -> bytes:
            if self.tell() >= 4096:
                raise OSError(5, "Input/output error", "/a/secret/place")
            return super().read(min(count or -1, 4096))

    closed = io.BytesIO(plain())
    closed.close()
    data = video(frames=24, movflags=INDEX_FIRST, size=(160, 96), picture=noise())
    for source in (Failing(data), closed, io.StringIO("text"), object()):
        with pytest.raises(VideoError, match="cannot read the video") as caught:
            read(source)
        assert "secret" not in caught.value.message


# ---- limits


def test_bytes_are_limited(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(plain())
    limits = VideoLimits(max_bytes=len(plain()) - 1)
    for source in (plain(), tmp_path / "clip.mp4", io.BytesIO(plain())):
        with pytest.raises(VideoTooLarge, match="MiB") as caught:
            open_video(source, limits=limits)
        assert caught.value.code == "video_too_large"
    data = plain("MPEG-TS")
    source = InOrder(data)
    with pytest.raises(VideoTooLarge):
        read(source, limits=VideoLimits(max_bytes=len(data) // 2))
    assert source.given < len(data) * 3 // 4 + 32768


def sized(container: str, width: int, height: int) -> bytes:
    """A small video whose header says that its frames have another size."""
    if container == "AVI":
        data = bytearray(video("AVI", codec="mjpeg", pixel_format="yuvj420p", frames=2))
        place = data.index(b"strf") + 12
        data[place : place + 8] = struct.pack("<II", width, height)
        return bytes(data)
    sequence = b"\0\0\1\xb3"
    size = (width << 12 | height).to_bytes(3, "big")
    return plain("MPEG-PS").replace(sequence + b"\x04\x00\x30", sequence + size)


@pytest.mark.parametrize(
    ("container", "size"),
    [("AVI", (8000, 8000)), ("AVI", (30000, 30000)), ("MPEG-PS", (4095, 4095))],
)
def test_too_many_pixels_are_refused_before_a_decoder_runs(
    container: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sized(container, *size)
    monkeypatch.setattr(decoder_module.Decoder, "frames", never)
    with pytest.raises(VideoTooLarge, match=f"{size[0]} x {size[1]} pixels"):
        open_video(data)


def never(*_: object, **__: object) -> Iterator[object]:
    raise AssertionError("this must not be called")


def test_the_pixel_limit_holds_for_what_is_shown_too() -> None:
    def wide(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2)

    data = video(frames=2, prepare=wide)
    assert read(data, limits=VideoLimits(max_pixels=128 * 48))[0] == [0, 1]
    with pytest.raises(VideoTooLarge, match="128 x 48"):
        open_video(data, limits=VideoLimits(max_pixels=128 * 48 - 1))


def test_frames_that_grow_on_the_way_are_met_by_the_limit() -> None:
    small = plain("MPEG-TS")
    taken = []
    with (
        open_video(
            small + video("MPEG-TS", size=(320, 180)), limits=VideoLimits(max_pixels=10_000)
        ) as reader,
        pytest.raises(VideoTooLarge, match="320 x 180"),
    ):
        taken.extend(frame.index for frame in reader)
    assert len(taken) > 10
    # Far above it, the decoder is not even allowed to make room for them.
    indices, _, reader = read(
        small + video("MPEG-TS", size=(1280, 720), frames=4), limits=VideoLimits(max_pixels=10_000)
    )
    assert len(indices) > 10
    assert (reader.decode_errors > 0, reader.truncated) == (True, True)


def test_ten_hours_are_refused_by_the_header() -> None:
    data = video("MATROSKA", frames=3, times=[0, 100, 36_000_000], b_frames=0)
    with pytest.raises(VideoTooLong, match="36000 seconds; at most 7200") as caught:
        open_video(data)
    assert caught.value.code == "video_too_long"


def test_a_header_that_says_nothing_or_lies_is_found_out_while_reading() -> None:
    # Read in order, an MPEG transport stream has no duration and no number of frames.
    data = video("MPEG-TS", rate=10)
    for limits, taken in (
        (VideoLimits(max_duration_s=1), 11),
        (VideoLimits(max_frames=11), 11),
        (VideoLimits(max_samples=11), 11),
    ):
        given = []
        with (
            open_video(InOrder(data), limits=limits) as reader,
            pytest.raises(VideoTooLong, match=r"1 seconds|11 frames"),
        ):
            given.extend(frame.index for frame in reader)
        assert reader.info.duration_s is None
        assert given == list(range(taken))


@pytest.mark.parametrize("limit", ["max_frames", "max_samples"])
def test_too_many_frames_are_refused_by_the_header(limit: str) -> None:
    with pytest.raises(VideoTooLong, match="10 frames"):
        open_video(plain(), limits=VideoLimits(**{limit: 10}))


def test_the_limit_of_samples_counts_only_what_is_taken() -> None:
    limits = VideoLimits(max_samples=3)
    assert read(plain(), every_s=1, limits=limits)[0] == [0, 10, 20]
    assert read(plain(), key_frames=True, limits=limits)[0] == [0, 8, 16]
    with pytest.raises(VideoTooLong, match="3 frames would be taken"):
        open_video(plain(), every_s=0.3, limits=limits)


def test_time_is_limited() -> None:
    ticking = iter(range(10**9))
    with pytest.raises(VideoTimeout, match="more than 40 seconds") as caught:
        read(plain(), limits=VideoLimits(max_seconds=40), clock=lambda: next(ticking))
    assert caught.value.code == "video_timeout"


def test_time_that_others_take_is_not_counted() -> None:
    now = [0.0]
    with open_video(plain(), limits=VideoLimits(max_seconds=1), clock=lambda: now[0]) as reader:
        for _ in reader:
            now[0] += 10
    assert reader.frames_read == 24


# ---- an index that claims more than there is


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield kind, start, start + size
        start += size


def grown(data: bytes, path: list[bytes], more: bytes) -> bytearray:
    """``more`` bytes at the end of the box at ``path``, and every length around it corrected."""
    changed, start, end = bytearray(data), 0, len(data)
    for kind in path:
        _, place, end = next(box for box in boxes(data, start, end) if box[0] == kind)
        struct.pack_into(">I", changed, place, end - place + len(more))
        start = place + 8
    changed[end:end] = more
    return changed


def sample_table_bomb(count: int) -> bytes:
    data = bytearray(video(movflags=INDEX_FIRST, b_frames=0))
    place = data.index(b"stsz") + 8
    data[place : place + 8] = struct.pack(">II", 1, count)
    return bytes(data)


def fragment_bomb(count: int) -> bytes:
    data = bytearray(plain("MP4", FRAGMENTS))
    place = data.index(b"trun") + 8
    data[place : place + 4] = struct.pack(">I", count)
    return bytes(data)


def edit_list_bomb(count: int) -> bytes:
    data = plain("MP4")
    place = data.index(b"elst")
    path = [b"moov", b"trak", b"edts", b"elst"]
    bomb = grown(data, path, data[place + 12 : place + 24] * count)
    struct.pack_into(">I", bomb, place + 8, count + 1)
    return bytes(bomb)


def raw_sound_bomb(count: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        frame.rate, frame.pts = 8000, 0
        output.mux([*stream.encode(frame), *stream.encode(None)])
    data = file.getvalue()
    place = data.index(b"stsc") + 16  # how many samples are in a chunk
    return (
        data[:place]
        + struct.pack(">I", 2**31)
        + data[place + 4 :].replace(
            b"stco\0\0\0\0\0\0\0\1", b"stco\0\0\0\0" + struct.pack(">I", count // 2**21 + 1)
        )
    )


@pytest.mark.parametrize("bomb", [sample_table_bomb, fragment_bomb, edit_list_bomb, raw_sound_bomb])
def test_an_index_bomb_is_refused_before_ffmpeg_unpacks_it(
    bomb: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bomb(MAX_SAMPLES // 24 + 1 if bomb is edit_list_bomb else MAX_SAMPLES + 1)
    monkeypatch.setattr(decoder_module.av, "open", never)
    with pytest.raises(VideoTooLong, match=f"at most {MAX_SAMPLES}"):
        open_video(data)


def test_much_uncompressed_sound_is_no_bomb() -> None:
    # Three hours of it have 10^8 samples, in chunks that FFmpeg takes up to 1024 of together.
    data = bytearray(raw_sound_bomb(0))
    struct.pack_into(">I", data, data.index(b"stsc") + 16, 10**8)
    with pytest.raises(NoVideoStream):
        open_video(bytes(data))


@pytest.mark.parametrize("bomb", [sample_table_bomb, fragment_bomb])
def test_an_index_bomb_is_refused_in_order_as_well(bomb: Callable[[int], bytes]) -> None:
    for piece in (7, 700, 100_000):
        with pytest.raises(VideoTooLong, match=f"at most {MAX_SAMPLES}"):
            read(InOrder(bomb(MAX_SAMPLES + 1), piece))


def test_a_compressed_index_is_not_unpacked() -> None:
    data = struct.pack(">I4sI4s", 24, b"moov", 16, b"cmov") + bytes(8)
    with pytest.raises(UnsupportedVideo, match="cmov"):
        open_video(data)


# ---- uploads: read in order


@pytest.mark.parametrize(
    ("container", "movflags"),
    [("MP4", INDEX_FIRST), ("MP4", FRAGMENTS), ("MATROSKA", ""), ("AVI", ""), ("MPEG-TS", ""),
     ("MPEG-PS", ""), ("GIF", "")],
)  # fmt: skip
def test_reading_in_order_gives_the_same_frames(container: str, movflags: str) -> None:
    data = video(container, movflags=movflags, rate=25)
    assert can_be_read_in_order(data)
    indices, times, reader = read(InOrder(data))
    expected = read(data)
    assert indices == expected[0]
    # Of a program stream, FFmpeg looks at the end for the times of the last frames.
    assert times == pytest.approx(expected[1], abs=0.041 if container == "MPEG-PS" else 0.001)
    assert not reader.truncated
    if container != "MPEG-PS":
        assert read(InOrder(data[:-30]))[2].truncated


def test_the_first_frame_comes_long_before_the_last_byte() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (180, 320, 3), dtype=np.uint8)
    for container, movflags in (("MP4", INDEX_FIRST), ("MATROSKA", ""), ("MPEG-TS", "")):
        data = video(container, movflags=movflags, size=(320, 180), picture=picture, frames=60)
        source = InOrder(data)
        with open_video(source, threads=1) as reader:
            assert next(reader).index == 0
            assert source.given < len(data) / 2


def test_an_mp4_with_its_index_behind_cannot_be_read_in_order() -> None:
    assert not can_be_read_in_order(plain())
    with pytest.raises(VideoError, match="in order"):
        open_video(InOrder(plain()))


# ---- resources


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")


@linux
def test_everything_is_closed_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(plain())
    (tmp_path / "cut.mp4").write_bytes(plain()[:2000])
    files, threads = open_files(), len(os.listdir("/proc/self/task"))
    for _ in range(3):
        read(path)
        with open_video(path) as reader:
            next(reader)
        reader.close()
        assert list(reader) == []
        with pytest.raises(VideoError):
            open_video(tmp_path / "cut.mp4")
        with pytest.raises(VideoTooLong):
            open_video(path, limits=VideoLimits(max_frames=3))
        with pytest.raises(ZeroDivisionError), open_video(path) as reader:
            list(map(lambda frame: 1 // frame.index, reader))
        del reader
    assert open_files() == files
    assert len(os.listdir("/proc/self/task")) <= threads


def test_a_reader_may_be_closed_while_another_thread_made_it() -> None:
    readers: list[VideoReader] = []
    worker = threading.Thread(target=lambda: readers.append(open_video(plain())))
    worker.start()
    worker.join(10)
    with readers[0] as reader:
        assert len(list(reader)) == 24


@linux
def test_memory_does_not_grow_with_the_length() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    data = video("MATROSKA", frames=400, size=(640, 360), codec="mpeg4")
    early = late = 0
    with open_video(data, threads=1) as reader:
        for frame in reader:
            if frame.index == 50:
                early = resident()
            if frame.index == 399:
                late = resident()
    # The frames between have 240 MB in RGB.
    assert late - early < 20e6


# ---- real videos


def manifest(data_dir: Path) -> list[dict[str, str]]:
    with (data_dir / "video_clips" / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.data
def test_every_real_clip_gives_the_frames_and_times_of_the_manifest(data_dir: Path) -> None:
    for row in manifest(data_dir):
        if not int(row["frames"]):
            continue
        name, path = row["file"], data_dir / "video_clips" / row["file"]
        indices, times, reader = read(path, target_size=64)
        assert indices == list(range(int(row["frames"]))), name
        assert times[0] == pytest.approx(float(row["first_frame_s_pyav"]), abs=1e-4), name
        assert times[-1] == pytest.approx(float(row["last_frame_s_pyav"]), abs=1e-4), name
        assert (np.diff(times) > 0).all(), name
        info = reader.info
        assert info.rotation == int(row["rotation"]), name
        assert info.frames == (int(row["frames_header"]) if row["frames_header"] else None), name
        assert info.codec == row["codec"], name
        assert (reader.decode_errors, reader.guessed_times) == (0, 0), name
        assert reader.truncated == (name == "broken_truncated.ts"), name
        width, height = int(row["width"]), int(row["height"])
        if name == "anamorphic_sar.mp4":
            width = 320
        turned = abs(info.rotation) == 90
        assert (info.width, info.height) == ((height, width) if turned else (width, height)), name
        keys, key_times, _ = read(path, key_frames=True, target_size=64)
        assert key_times == [times[index] for index in keys], name


@pytest.mark.data
def test_the_real_clips_that_must_be_refused_are(data_dir: Path) -> None:
    clips = data_dir / "video_clips"
    with pytest.raises(NoVideoStream):
        open_video(clips / "audio_only.mp4")
    with pytest.raises(VideoError, match="moov"):
        open_video(clips / "broken_no_moov.mp4")
    refused = {row["file"] for row in manifest(data_dir) if not int(row["frames"])}
    assert refused == {"audio_only.mp4", "broken_no_moov.mp4"}


@pytest.mark.data
@pytest.mark.parametrize("name", ["rotate90.mov", "rotate180.mov", "rotate270.mp4", "hevc.mp4"])
def test_a_rotated_clip_shows_what_the_upright_one_shows(data_dir: Path, name: str) -> None:
    clips = data_dir / "video_clips"
    with open_video(clips / name) as turned, open_video(clips / "h264_aac_audio.mp4") as upright:
        for _ in range(3):
            left, right = (np.asarray(next(video).image).astype(int) for video in (turned, upright))
            assert left.shape == right.shape
            assert np.abs(left - right).mean() < 6
