from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures
from torchvision.transforms import v2

from captioner.errors import BundleError
from captioner.vision.image import decode_image
from captioner.vision.preprocess import Preprocessing

CROP = Preprocessing(fit="crop")


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    return Image.fromarray(pictures.chelsea())


@pytest.fixture(scope="module")
def large_cat(cat: Image.Image) -> Image.Image:
    """2700 x 1800 pixels with the fine grain of a real camera."""
    enlarged = np.asarray(cat.resize((2700, 1800), Image.Resampling.BICUBIC)).astype(float)
    grain = np.random.default_rng(0).normal(0, 6, (1800, 2700, 1))
    return Image.fromarray((enlarged + grain).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (8, 8), (3000, 9), (224, 224)])
@pytest.mark.parametrize("fit", ["squeeze", "crop"])
def test_any_picture_becomes_the_square(fit: str, size: tuple[int, int]) -> None:
    pixels = Preprocessing(fit=fit).pixels(Image.new("RGB", size, (10, 20, 30)))
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (3, 224, 224))
    assert pixels.is_contiguous()
    assert (pixels.flatten(1) == torch.tensor([[10], [20], [30]])).all()


def test_squeezing_keeps_the_whole_picture_and_cropping_the_middle() -> None:
    halves = Image.new("RGB", (448, 224), "black")
    halves.paste("white", (224, 0, 448, 224))
    squeezed = Preprocessing().pixels(halves)
    assert squeezed[0, :, :110].max() == 0
    assert squeezed[0, :, 114:].min() == 255
    edges = Image.new("RGB", (1024, 256), "white")
    edges.paste("black", (400, 16, 624, 240))  # exactly the square that a crop keeps
    assert CROP.pixels(edges)[:, 1:-1, 1:-1].max() == 0


def test_what_is_seen_of_a_picture() -> None:
    assert Preprocessing().seen(300, 200) == (0, 0, 1, 1)
    assert CROP.seen(1024, 256) == pytest.approx((400 / 1024, 16 / 256, 624 / 1024, 240 / 256))
    assert Preprocessing(box=(0.1, 0.2, 0.6, 1)).seen(50, 80) == pytest.approx((0.1, 0.2, 0.6, 1))


def test_squeezing_a_square_of_the_right_size_changes_nothing(cat: Image.Image) -> None:
    square = cat.resize((224, 224))
    pixels = Preprocessing().pixels(square)
    assert (pixels.permute(1, 2, 0).numpy() == np.asarray(square)).all()


def test_cropping_is_scaling_everything_and_then_cropping(cat: Image.Image) -> None:
    # torchvision's transforms with antialias; the scaled width is 384.9 there rounded to 384.
    reference = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)])(cat)
    difference = CROP.pixels(cat).float() - torch.from_numpy(
        np.array(reference)
    ).permute(2, 0, 1)  # fmt: skip
    assert difference.abs().mean() < 1.5


def test_a_large_picture_is_scaled_as_one_antialiased_step_would(large_cat: Image.Image) -> None:
    plain = np.asarray(large_cat.resize((224, 224), Image.Resampling.BILINEAR)).astype(int)
    pixels = Preprocessing().pixels(large_cat).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(pixels - plain).max() <= 2
    assert np.abs(pixels - plain).mean() < 0.3


def test_a_box_is_the_part_of_the_frame_that_is_looked_at() -> None:
    frame = Image.new("RGB", (160, 112), "black")
    frame.paste("white", (40, 28, 120, 84))
    box = Preprocessing(size=56, height=48, box=(0.25, 0.25, 0.75, 0.75))
    pixels = box.pixels(frame)
    assert pixels.shape == (3, 48, 56)
    assert pixels[:, 1:-1, 1:-1].min() == 255
    whole = Preprocessing(size=56, height=48).pixels(frame)
    assert whole.shape == (3, 48, 56)
    assert (whole[:, 0].max(), whole[0, 24, 28]) == (0, 255)
    # To see a quarter of the frame in full, all of it has to be decoded larger.
    assert box.target_size() == 2 * 112


def test_a_grey_frame_has_one_channel_and_the_first_mean(cat: Image.Image) -> None:
    grey = Preprocessing(size=32, grey=True, mean=(0.5, 0, 0), std=(0.25, 1, 1))
    pixels = grey.pixels(cat)
    assert pixels.shape == (1, 32, 32)
    expected = np.asarray(cat.convert("L").resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(pixels[0].numpy().astype(int) - expected).max() <= 2
    normalised = grey.normalise(pixels.unsqueeze(0))
    torch.testing.assert_close(normalised[0], (pixels.float() / 255 - 0.5) / 0.25)


def test_what_frames_do_not_need_is_not_stored() -> None:
    """A photo's description, and with it the names of cached features, is what it always was."""
    assert set(Preprocessing().to_dict()) == {"size", "fit", "resize", "mean", "std"}
    small = Preprocessing(size=56, height=48, box=(0, 0, 1, 0.5), grey=True)
    assert Preprocessing.from_dict(json.loads(json.dumps(small.to_dict()))) == small


@pytest.mark.parametrize("preprocessing", [Preprocessing(), CROP])
@pytest.mark.parametrize("progressive", [False, True])
def test_scaling_while_decoding_gives_nearly_the_same_pixels(
    large_cat: Image.Image, preprocessing: Preprocessing, progressive: bool
) -> None:
    file = io.BytesIO()
    large_cat.save(file, "JPEG", quality=90, progressive=progressive)
    full = decode_image(file.getvalue())
    scaled = decode_image(file.getvalue(), target_size=preprocessing.target_size())
    assert scaled.image.size < full.image.size
    difference = (
        preprocessing.pixels(full.image).float() - preprocessing.pixels(scaled.image).float()
    ).abs()
    assert difference.mean() < 0.6
    assert difference.max() <= 8


def test_normalising_is_what_torchvision_does(cat: Image.Image) -> None:
    preprocessing = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))
    batch = torch.stack([preprocessing.pixels(cat), preprocessing.pixels(cat.rotate(90))])
    before = batch.clone()
    ours = preprocessing.normalise(batch)
    theirs = v2.functional.normalize(
        batch.float() / 255, list(preprocessing.mean), list(preprocessing.std)
    )
    assert (ours.dtype, ours.shape) == (torch.float32, (2, 3, 224, 224))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (batch == before).all()


def test_the_mean_becomes_zero_and_one_deviation_becomes_one() -> None:
    preprocessing = Preprocessing(size=2, mean=(0.2, 0.4, 0.6), std=(0.2, 0.4, 0.2))
    dark = torch.tensor([51, 102, 153], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    bright = torch.tensor([102, 204, 204], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert preprocessing.normalise(dark).abs().max() < 1e-6
    assert (preprocessing.normalise(bright) - 1).abs().max() < 1e-6


@pytest.mark.parametrize(
    "pixels",
    [torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(1, 3, 4, 4),
     torch.zeros(1, 4, 4, 3, dtype=torch.uint8)],
)  # fmt: skip
def test_only_batches_of_bytes_are_normalised(pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        Preprocessing().normalise(pixels)


def test_only_rgb_becomes_pixels() -> None:
    with pytest.raises(ValueError, match="mode L"):
        Preprocessing().pixels(Image.new("L", (20, 20)))


@pytest.mark.parametrize(
    "preprocessing", [Preprocessing(), Preprocessing(fit="crop", resize=232, std=(1, 1, 1))]
)
def test_what_is_stored_in_a_bundle_comes_back(preprocessing: Preprocessing) -> None:
    stored = json.loads(json.dumps(preprocessing.to_dict()))
    assert Preprocessing.from_dict(stored) == preprocessing
    assert hash(Preprocessing.from_dict(stored)) == hash(preprocessing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "colour"),
        ({"sise": 224, "colour": 1}, "colour, sise"),
        ({"fit": "stretch"}, "stretch"),
        ({"size": 0}, "size is 0"),
        ({"size": "224"}, "size is '224'"),
        ({"size": True}, "size is True"),
        ({"fit": "crop", "resize": 200}, "smaller than the crop"),
        ({"mean": [0.5, 0.5]}, "mean is"),
        ({"mean": 0.5}, "mean is"),
        ({"mean": ["a", "b", "c"]}, "mean is"),
        ({"std": [0, 1, 1]}, "std above 0"),
        ({"std": [float("nan"), 1, 1]}, "finite"),
        ({"height": 0}, "height is 0"),
        ({"height": 48, "fit": "crop"}, "without height or box"),
        ({"box": [0, 0, 1]}, "four numbers"),
        ({"box": [0.5, 0, 0.25, 1]}, "shares from 0 to 1"),
        ({"box": [0, 0, 80, 60]}, "shares from 0 to 1"),
    ],
)
def test_a_wrong_description_is_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Preprocessing.from_dict({**Preprocessing().to_dict(), **change})


def test_a_description_that_is_no_table_is_refused() -> None:
    with pytest.raises(BundleError, match="not a table"):
        Preprocessing.from_dict([1, 2])  # type: ignore[arg-type]
