from __future__ import annotations

import io
import os
import random
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.errors import (
    EmptyFile,
    ImageError,
    ImageTooLarge,
    ImageTooSmall,
    UnsupportedImage,
    UserError,
)
from captioner.vision import image as image_module
from captioner.vision.image import FORMATS, ImageLimits, as_picture, decode_image, read_image

WHITE, RED, BLUE = (255, 255, 255), (255, 0, 0), (0, 0, 255)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def scene(width: int = 64, height: int = 48) -> Image.Image:
    """A smooth picture without any symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    channels = x * 255 // width, y * 255 // height, 40 + (x * 2 + y) % 60
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


# ---- what is read


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_its_own_pixels_in_rgb(format: str) -> None:
    options = (
        {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    )
    picture = decode_image(saved(scene(), format, **options))
    assert (picture.format, picture.width, picture.height) == (format, 64, 48)
    assert (picture.image.mode, picture.image.size, picture.warnings) == ("RGB", (64, 48), [])
    # GIF has 256 colours, JPEG loses a little; the others nothing.
    tolerance = {"GIF": 12, "JPEG": 4}.get(format, 0)
    assert np.abs(pixels(picture.image) - pixels(scene())).mean() <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_modes_become_rgb_without_changing_brightness(mode: str) -> None:
    grey = np.linspace(0, 255, 64).astype(np.uint8) * np.ones((48, 1), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(grey).convert(mode)
    decoded = decode_image(saved(image, "PNG")).image
    expected = pixels(image.convert("RGB")) if mode != "I;16" else np.stack([grey] * 3, -1)
    assert decoded.mode == "RGB"
    assert np.abs(pixels(decoded) - expected).max() <= (3 if mode == "P" else 0)


def test_16_bits_are_scaled_and_not_clipped() -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    decoded = pixels(decode_image(saved(Image.fromarray(values), "PNG")).image)
    assert (decoded[..., 0] == np.arange(256).reshape(16, 16)).all()
    between = np.full((16, 16), 257 * 7 + 128, np.uint16)  # rounds down; 129 would round up
    assert (pixels(decode_image(saved(Image.fromarray(between), "PNG")).image) == 7).all()
    above = Image.fromarray(between + 1)
    assert (pixels(decode_image(saved(above, "PNG")).image) == 8).all()


def test_transparency_is_laid_on_white() -> None:
    clear_left = Image.new("RGBA", (20, 10), (*RED, 255))
    clear_left.paste((*BLUE, 0), (0, 0, 10, 10))
    for format in ("PNG", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        decoded = decode_image(saved(clear_left, format, **options)).image
        assert decoded.getpixel((0, 0)) == WHITE
        assert decoded.getpixel((19, 9)) == RED
    half = Image.new("RGBA", (10, 10), (*RED, 128))
    assert np.abs(np.subtract(decode_image(saved(half, "PNG")).image.getpixel((5, 5)),
                              (255, 127, 127))).max() <= 1  # fmt: skip
    grey = Image.new("LA", (10, 10), (0, 0))
    assert decode_image(saved(grey, "PNG")).image.getpixel((5, 5)) == WHITE


@pytest.mark.parametrize("transparency", [0, bytes([0, 255]), bytes([0])])
def test_transparent_palette_entries_are_laid_on_white(transparency: int | bytes) -> None:
    image = Image.new("P", (20, 10), 1)
    image.putpalette([*BLUE, *RED])
    image.paste(0, (0, 0, 10, 10))
    decoded = decode_image(saved(image, "PNG", transparency=transparency)).image
    assert decoded.getpixel((0, 0)) == WHITE
    assert decoded.getpixel((19, 9)) == RED


def test_a_transparent_colour_of_a_gif_is_laid_on_white() -> None:
    image = Image.new("P", (20, 10), 1)
    image.putpalette([*BLUE, *RED])
    image.paste(0, (0, 0, 10, 10))
    decoded = decode_image(saved(image, "GIF", transparency=0)).image
    assert decoded.getpixel((0, 0)) == WHITE
    assert decoded.getpixel((19, 9)) == RED


@pytest.mark.parametrize(
    ("mode", "clear", "solid"),
    [("L", 7, 90), ("RGB", (0, 0, 255), (255, 0, 0)), ("1", 0, 1), ("I;16", 7 * 257, 90 * 257)],
)
def test_a_transparent_colour_without_alpha_is_laid_on_white(
    mode: str, clear: object, solid: object
) -> None:
    image = Image.new(mode, (20, 10), solid)
    image.paste(clear, (0, 0, 10, 10))
    decoded = decode_image(saved(image, "PNG", transparency=clear)).image
    assert decoded.getpixel((0, 0)) == WHITE
    expected = {"L": (90,) * 3, "RGB": RED, "1": WHITE, "I;16": (90,) * 3}[mode]
    assert decoded.getpixel((19, 9)) == expected


def test_cmyk_jpegs_have_the_right_colours() -> None:
    # Pillow writes the inverted values and the marker that Adobe's programs write.
    for colour in (RED, BLUE, WHITE, (10, 200, 30), (0, 0, 0)):
        cmyk = Image.new("RGB", (32, 32), colour).convert("CMYK")
        data = saved(cmyk, "JPEG", quality=95)
        assert b"Adobe" in data
        decoded = decode_image(data, target_size=16).image
        assert np.abs(np.subtract(decoded.getpixel((8, 8)), colour)).max() <= 6


def test_animations_give_their_first_frame_and_a_warning() -> None:
    first = Image.new("RGB", (24, 16), RED)
    others = [Image.new("RGB", (24, 16), colour) for colour in (BLUE, (0, 255, 0))]
    for format in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if format == "WEBP" else {}
        data = saved(first, format, save_all=True, append_images=others, duration=50, **options)
        picture = decode_image(data)
        assert picture.image.getpixel((5, 5)) == RED
        assert picture.warnings == [f"animated {format}: only its first frame is used."]


def test_a_png_without_its_last_checksum_has_all_its_pixels() -> None:
    data = saved(scene(), "PNG")
    assert data.endswith(b"IEND\xaeB`\x82")
    assert (pixels(decode_image(data[:-16]).image) == pixels(scene())).all()


def test_a_gif_whose_later_frames_are_cut_off_still_gives_its_first() -> None:
    frames = [scene().convert("P"), scene().rotate(90).convert("P")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    whole = decode_image(data)
    assert (
        pixels(decode_image(data[: len(data) * 3 // 4]).image).tolist()
        == pixels(whole.image).tolist()
    )


# ---- orientation: EXIF 2.3, tag 0x0112: where the stored 0th row and 0th column belong

STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_every_orientation_is_turned_upright(format: str, orientation: int) -> None:
    upright = pixels(scene(96, 64))
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = (
        {"lossless": True} if format == "WEBP" else {"quality": 95} if format == "JPEG" else {}
    )
    picture = decode_image(saved(stored, format, exif=exif, **options))
    assert (picture.width, picture.height) == picture.image.size == (96, 64)
    assert np.abs(pixels(picture.image) - upright).mean() <= (4 if format == "JPEG" else 0)
    assert "exif" not in picture.image.info  # nobody can turn it a second time


@pytest.mark.parametrize("orientation", STORED)
def test_orientation_and_scaling_while_decoding_go_together(orientation: int) -> None:
    upright = pixels(scene(640, 480))
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode_image(saved(stored, "JPEG", exif=exif, quality=95), target_size=120)
    assert (picture.width, picture.height) == (640, 480)
    assert picture.image.size == (160, 120)
    small = pixels(
        Image.fromarray(upright.astype(np.uint8)).resize((160, 120), Image.Resampling.BOX)
    )
    assert np.abs(pixels(picture.image) - small).mean() < 4


# ---- scaling while decoding


@pytest.mark.parametrize("size", [(640, 480), (641, 481), (479, 1003), (200, 3000), (97, 95)])
@pytest.mark.parametrize("target_size", [32, 100, 224])
def test_scaling_while_decoding_never_goes_below_the_target(
    size: tuple[int, int], target_size: int
) -> None:
    picture = decode_image(saved(scene(*size), "JPEG"), target_size=target_size)
    assert (picture.width, picture.height) == size
    assert min(picture.image.size) >= min(target_size, *size)
    # ... and never keeps more than twice the target, but for the largest step of 1/8.
    assert min(picture.image.size) < 2 * target_size or min(size) >= 16 * target_size


def test_a_huge_jpeg_never_stands_in_memory_at_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("RGB", (6000, 4000), RED), "JPEG")
    sizes = []
    real = image_module.to_rgb
    monkeypatch.setattr(
        image_module, "to_rgb", lambda image: sizes.append(image.size) or real(image)
    )
    assert decode_image(data, target_size=448).image.size == (750, 500)
    assert sizes == [(750, 500)]


# ---- what is refused


def test_no_bytes_are_an_empty_file() -> None:
    with pytest.raises(EmptyFile):
        decode_image(b"")


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.7, 0.9, 0.95])
@pytest.mark.parametrize("format", ["JPEG", "progressive JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_truncated_file_is_called_truncated(format: str, fraction: float) -> None:
    options = {"progressive": True} if format.startswith("progressive") else {}
    data = saved(scene(200, 150), format.split()[-1], **options)
    with pytest.raises(ImageError, match="truncated") as caught:
        decode_image(data[: int(len(data) * fraction)], target_size=32)
    assert caught.value.code == "invalid_image"


@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (40_001, 1000)])
def test_too_many_pixels_are_refused_before_any_decoder_sees_them(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: object) -> None:
        raise AssertionError("a decoder was called")

    monkeypatch.setattr(image_module, "_DECODERS", dict.fromkeys(FORMATS, never))
    with pytest.raises(ImageTooLarge, match=f"{size[0]} x {size[1]}"):
        decode_image(png_header(*size))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_the_pixel_limit_holds_in_every_format(format: str) -> None:
    data = saved(scene(100, 100), format)
    decode_image(data, limits=ImageLimits(max_pixels=10_000))
    with pytest.raises(ImageTooLarge, match=r"100 x 100 .*0.009999 million"):
        decode_image(data, limits=ImageLimits(max_pixels=9_999))


def test_a_frame_beyond_the_declared_screen_counts_for_the_limit() -> None:
    data = bytearray(saved(scene(), "GIF"))
    data[6:10] = struct.pack("<HH", 8, 8)  # the frame alone says 64 x 48 now
    with pytest.raises(ImageTooLarge):
        decode_image(bytes(data), limits=ImageLimits(max_pixels=1000))
    assert decode_image(bytes(data)).image.size == (64, 48)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 2), (2, 20_000), (7, 100), (100, 7)])
def test_too_few_pixels_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooSmall, match=f"{size[0]} x {size[1]} pixels"):
        decode_image(saved(Image.new("RGB", size), "PNG"))


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(ImageTooLarge, match=r"1\.9 MiB.*at most 1 MiB"):
        decode_image(saved(scene(), "BMP") + bytes(2_000_000), limits=ImageLimits(max_bytes=2**20))


def test_a_bomb_in_the_text_of_a_png_is_never_unpacked() -> None:
    bomb = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(200 * 2**20)))
    data = saved(scene(), "PNG")
    picture = decode_image(data[:33] + bomb + data[33:])
    assert (pixels(picture.image) == pixels(scene())).all()


def test_a_bomb_in_the_pixels_of_a_png_ends_with_the_picture() -> None:
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    bomb = chunk(b"IDAT", zlib.compress(bytes(200 * 2**20)))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + bomb + chunk(b"IEND", b"")
    assert not pixels(decode_image(data).image).any()


@pytest.mark.parametrize(
    "error",
    [SyntaxError("x"), struct.error("x"), ValueError("/etc/passwd"), OSError("x"), MemoryError(),
     RuntimeError("x"), KeyError(3), EOFError(), Image.DecompressionBombError("x")],
)  # fmt: skip
def test_whatever_a_decoder_raises_becomes_a_short_image_error(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(image_module, "_DECODERS", dict.fromkeys(FORMATS, fail))
    with pytest.raises(ImageError) as caught:
        decode_image(saved(scene(), "PNG"))
    assert "/" not in str(caught.value)
    assert len(caught.value.message) < 100


def test_a_program_that_is_told_to_stop_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(image_module, "_DECODERS", dict.fromkeys(FORMATS, interrupt))
    with pytest.raises(KeyboardInterrupt):
        decode_image(saved(scene(), "PNG"))


def without_jfif(data: bytes, exif: bytes) -> bytes:
    """A JPEG that has EXIF in the place of its JFIF segment, as cameras write it."""
    length = int.from_bytes(data[4:6], "big")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[4 + length :]


def test_what_pillow_warns_of_passes_in_silence() -> None:
    jpeg, png = saved(scene(), "JPEG"), saved(scene(), "PNG")
    counts = chunk(b"acTL", struct.pack(">II", 1, 0))
    directory = struct.pack("<HHHII", 1, 0x011A, 5, 9, 2**31)
    pictures = {
        "damaged EXIF": without_jfif(jpeg, b"Exif\0\0II*\0\x08\0\0\0" + directory),
        "two animation controls": png[:33] + counts + counts + png[33:],
        "no frames": png[:33] + chunk(b"acTL", bytes(8)) + png[33:],
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for data in pictures.values():
            with Image.open(io.BytesIO(data)) as image:
                image.getexif()
    assert len(caught) >= len(pictures)  # the files are what they are meant to be
    for data in pictures.values():
        assert decode_image(data).image.size == (64, 48)


def test_damaged_files_give_a_picture_or_an_image_error_and_nothing_else() -> None:
    chance = random.Random(0)
    animation = [scene().rotate(20), scene().rotate(40)]
    files = [
        saved(scene(), "JPEG", quality=50),
        saved(scene(), "JPEG", progressive=True),
        saved(scene().convert("CMYK"), "JPEG"),
        saved(scene(), "PNG", save_all=True, append_images=animation),
        saved(scene().convert("P"), "PNG", transparency=bytes(range(256))),
        saved(scene(), "GIF", save_all=True, append_images=animation),
        saved(scene(), "WEBP", save_all=True, append_images=animation),
        *(saved(scene().convert(mode), "BMP") for mode in ("1", "P", "RGB", "RGBA")),
    ]
    outcomes = set()
    for _ in range(3000):
        data = bytearray(chance.choice(files))
        for _ in range(chance.choice([1, 2, 8])):
            place = chance.randrange(min(len(data), chance.choice([60, len(data)])))
            change = chance.random()
            if change < 0.6:
                data[place] = chance.choice([0, 255, chance.randrange(256)])
            elif change < 0.8:
                del data[place : place + chance.choice([1, 20])]
            else:
                data[place:place] = chance.randbytes(chance.choice([1, 20]))
        try:
            assert decode_image(bytes(data), target_size=16).image.mode == "RGB"
            outcomes.add("picture")
        except UserError as error:
            outcomes.add(error.code)
    assert outcomes >= {"picture", "invalid_image", "unsupported_image_format", "image_too_large"}


# ---- many at once


def test_many_threads_give_what_one_gives() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [
        saved(scene(400 + 10 * index, 300), format, exif=exif)
        for index, format in enumerate(["JPEG", "PNG", "WEBP"] * 4)
    ] + [saved(scene(), "GIF"), saved(scene(), "JPEG")[:-400], b"text"]

    def outcome(data: bytes) -> object:
        try:
            picture = decode_image(data, target_size=64)
        except UserError as error:
            return str(error)
        return picture.image.tobytes(), picture.image.size, picture.width

    alone = [outcome(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(outcome, files * 10))
    assert together == alone * 10


# ---- files and Pillow's own pictures


def test_a_file_is_read_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(saved(scene(), "PNG"))
    assert read_image(tmp_path / "photo.jpg").format == "PNG"
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(UnsupportedImage, match="text"):
        read_image(str(tmp_path / "text.jpg"))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"cannot read gone\.jpg: No such file"):
        read_image(tmp_path / "gone.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ImageError, match=r"folder\.jpg is not a file"):
        read_image(tmp_path / "folder.jpg")
    with pytest.raises(ImageError, match="cannot read"):
        read_image("nul\0.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="not a file"):  # opening it would wait for ever
        read_image(tmp_path / "pipe.jpg")


def test_a_file_of_too_many_bytes_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.write(saved(scene(), "PNG"))
        file.truncate(5 * 2**30)  # a sparse file: takes no room
    with pytest.raises(ImageTooLarge, match=r"5120\.0 MiB"):
        read_image(path)


def test_an_opened_picture_is_taken_as_a_file_is() -> None:
    upright = pixels(scene())
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](upright)).astype(np.uint8))
    with Image.open(io.BytesIO(saved(stored, "PNG", exif=exif))) as opened:
        picture = as_picture(opened)
        assert opened.info["exif"]  # unchanged
    assert (picture.width, picture.height, picture.format) == (64, 48, "PNG")
    assert (pixels(picture.image) == upright).all()
    plain = scene()
    copy = as_picture(plain).image
    copy.putpixel((0, 0), WHITE)
    assert plain.getpixel((0, 0)) != WHITE
    with pytest.raises(ImageTooSmall):
        as_picture(Image.new("RGB", (3, 3)))


@pytest.mark.parametrize(
    ("mode", "dtype", "factor"), [("I", np.int32, 1), ("I", np.int32, 257), ("F", np.float32, 1),
                                  ("F", np.float32, 1 / 255), ("F", np.float32, 257)],
)  # fmt: skip
def test_32_bit_pictures_keep_their_brightness(mode: str, dtype: type, factor: float) -> None:
    ramp = np.arange(256).reshape(16, 16)
    image = Image.fromarray((ramp * factor).astype(dtype))
    assert image.mode == mode
    assert (pixels(as_picture(image).image)[..., 0] == ramp).all()


def test_floats_that_are_no_numbers_do_no_harm() -> None:
    values = np.full((16, 16), 0.5, np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    assert as_picture(Image.fromarray(values)).image.mode == "RGB"


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "HSV", "YCbCr", "LAB", "CMYK", "RGBX"])
def test_every_mode_of_pillow_has_a_way_to_rgb(mode: str) -> None:
    via = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}.get(mode)
    image = scene().convert(via) if via else scene()
    if mode == "LAB":
        image = Image.new("LAB", (16, 16), (128, 128, 128))
    elif mode != "RGBX":
        image = image.convert(mode)
    else:
        image = Image.merge("RGBX", (*image.split(), Image.new("L", image.size)))
    assert as_picture(image).image.mode == "RGB"
