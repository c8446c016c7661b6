import io
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

import captioner
from captioner.errors import ImageError, InvalidOption, MissingBundle, UnknownOption
from captioner.tasks import CaptionTask
from captioner.tasks.options import CaptionOptions


@pytest.fixture(scope="module")
def task(tiny_bundle: Path) -> CaptionTask:
    return captioner.load("caption", model=str(tiny_bundle))


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    found = []
    for name in ("chelsea", "astronaut", "coffee", "rocket"):
        buffer = io.BytesIO()
        Image.fromarray(getattr(data, name)()).resize((160, 120)).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return found


def test_three_lines_of_python_caption_a_photo(
    tiny_bundle: Path, tmp_path: Path, photos: list[bytes]
) -> None:
    (tmp_path / "photo.jpg").write_bytes(photos[0])
    caption = captioner.load("caption", model=str(tiny_bundle))
    result = caption(str(tmp_path / "photo.jpg"))
    assert isinstance(result.caption, str)
    assert result.caption == result.captions[0].text
    assert result.model == "caption@0"


def test_path_bytes_and_picture_give_the_same_caption(
    task: CaptionTask, tmp_path: Path, photos: list[bytes]
) -> None:
    (tmp_path / "photo.jpg").write_bytes(photos[1])
    given = [tmp_path / "photo.jpg", photos[1], Image.open(io.BytesIO(photos[1]))]
    assert len({task(photo).caption for photo in given}) == 1


def test_a_batch_gives_what_each_photo_gives_alone(task: CaptionTask, photos: list[bytes]) -> None:
    together = task(photos)
    assert [result.caption for result in together] == [task(photo).caption for photo in photos]


def test_photos_with_different_options_share_an_encoder_batch(
    task: CaptionTask, photos: list[bytes]
) -> None:
    options = [
        CaptionOptions(),
        CaptionOptions(n=2, num_beams=4),
        CaptionOptions(temperature=1.0, seed=3),
        CaptionOptions(attention=True, max_tokens=3),
    ]
    mixed = task.caption([task.open(photo) for photo in photos], options)
    for photo, choice, result in zip(photos, options, mixed, strict=True):
        alone = task.caption([task.open(photo)], choice)[0]
        assert [c.text for c in alone.captions] == [c.text for c in result.captions]
    assert [len(result.captions) for result in mixed] == [1, 2, 1, 1]


def test_threads_may_caption_side_by_side(task: CaptionTask, photos: list[bytes]) -> None:
    expected = [result.caption for result in task(photos)]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(task, [photos] * 12):
            assert [result.caption for result in found] == expected


def test_log_prob_confidence_and_words_belong_together(
    task: CaptionTask, photos: list[bytes]
) -> None:
    for result in task(photos, num_beams=3, n=3):
        log_probs = [ranked.log_prob for ranked in result.captions]
        assert log_probs == sorted(log_probs, reverse=True)
        best = result.captions[0]
        words = sum(math.log(word.probability) for word in best.words)
        assert best.log_prob <= words + 1e-6  # the end token's share is missing in the words
        if best.finished:
            mean = best.log_prob / (len(best.words) + 1)
            assert result.confidence == pytest.approx(math.exp(mean), rel=1e-6)


def test_attention_gives_each_word_a_grid_that_sums_to_one(
    task: CaptionTask, photos: list[bytes]
) -> None:
    result = task(photos[0], attention=True)
    for word in result.captions[0].words:
        assert word.weights is not None
        assert (len(word.weights), len(word.weights[0])) == (7, 7)
        assert sum(map(sum, word.weights)) == pytest.approx(1, abs=1e-4)
    assert all(word.weights is None for word in task(photos[0]).captions[0].words)


def test_the_same_seed_gives_the_same_sample(task: CaptionTask, photos: list[bytes]) -> None:
    first = task(photos[0], temperature=1.5, seed=7, n=4)
    assert (
        first.to_dict()["captions"]
        == task(photos[0], temperature=1.5, seed=7, n=4).to_dict()["captions"]
    )
    others = {task(photos[0], temperature=1.5, seed=seed).caption for seed in range(8)}
    assert len(others) > 1


def test_the_answer_is_json(task: CaptionTask, photos: list[bytes]) -> None:
    body = json.loads(json.dumps(task(photos[0], attention=True).to_dict()))
    assert set(body) == {
        "caption",
        "captions",
        "confidence",
        "image",
        "model",
        "timing_ms",
        "warnings",
    }
    whole = [0, 0, 1, 1]
    assert body["image"] == {"width": 160, "height": 120, "format": "JPEG", "seen": whole}
    assert "seen" not in task(photos[0]).image


def test_a_caption_below_the_threshold_warns(
    tmp_path: Path, photos: list[bytes], make_tiny_bundle: Callable[..., Path]
) -> None:
    path = make_tiny_bundle(tmp_path, metrics={"confidence": {"threshold": 0.999}})
    result = captioner.load("caption", model=str(path))(photos[0])
    assert any("not be trusted" in warning for warning in result.warnings)


def test_a_pooled_model_captions_too(
    tmp_path: Path, photos: list[bytes], make_tiny_bundle: Callable[..., Path]
) -> None:
    path = make_tiny_bundle(tmp_path, attention="none")
    task = captioner.load("caption", model=str(path))
    result = task(photos[0], attention=True)
    assert all(len(word.weights or [[0]]) == 1 for word in result.captions[0].words)


@pytest.mark.parametrize("cell", ["mut1", "nas", "tree:gru"])
def test_a_model_of_any_cell_captions_from_its_bundle(
    cell: str, tmp_path: Path, photos: list[bytes], make_tiny_bundle: Callable[..., Path]
) -> None:
    """Its name in the description is all that says so, a tree's specification included."""
    path = make_tiny_bundle(tmp_path, cell=cell, version=cell.replace(":", "-"))
    captions = captioner.load("caption", model=str(path))(photos[0]).captions
    assert all(math.isfinite(caption.log_prob) for caption in captions)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n": 4, "num_beams": 2}, "num_beams"),
        ({"n": 0}, "n is 0"),
        ({"n": 99}, "n is 99"),
        ({"temperature": 0.5, "num_beams": 3}, "searches"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_k": 5}, "sampling"),
        ({"seed": 1}, "sampling"),
        ({"top_p": 0.5}, "sampling"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
    ids=str,
)
def test_contradictions_and_ranges_are_refused(
    task: CaptionTask, photos: list[bytes], options: dict[str, float], named: str
) -> None:
    with pytest.raises(InvalidOption, match=named):
        task(photos[0], **options)


def test_unknown_options_and_tasks_are_refused_by_name(
    task: CaptionTask, photos: list[bytes]
) -> None:
    with pytest.raises(UnknownOption, match="beams"):
        task(photos[0], beams=3)
    with pytest.raises(InvalidOption, match="Did you mean 'caption'"):
        captioner.load("captions")


def test_a_missing_bundle_says_what_is_installed(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(tiny_bundle.parent))
    assert captioner.load("caption").model == "caption@0"
    with pytest.raises(MissingBundle, match="Installed: caption"):
        captioner.load("caption", model="other")


def test_a_bad_photo_raises_and_the_next_works(task: CaptionTask, photos: list[bytes]) -> None:
    with pytest.raises(ImageError):
        task(b"no photo")
    assert task(photos[0]).caption is not None
    assert task([]) == []


def test_new_words_join_and_old_ones_keep_their_vectors(tiny_bundle: Path) -> None:
    from captioner.bundle import open_bundle
    from captioner.models.captioner import Captioner

    bundle = open_bundle(tiny_bundle)
    vocabulary = bundle.vocabulary().extended(["zebra", "quokka"])
    model = Captioner(**(bundle.model | {"vocabulary_size": len(vocabulary)}))
    known = len(bundle.vocabulary())
    state = bundle.state()
    model.grow_from(state, known)
    assert torch.equal(model.decoder.embedding.weight[:known], state["decoder.embedding.weight"])
    assert torch.equal(model.decoder.words.bias[:known], state["decoder.words.bias"])
    assert (model.decoder.words.bias[known:] <= state["decoder.words.bias"].min()).all()
