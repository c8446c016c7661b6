"""Translations: batches are the sentences alone, order is kept, and odd texts have an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import captioner
from captioner.bundle import open_bundle
from captioner.errors import (
    BundleError,
    EmptyText,
    InvalidOption,
    MissingBundle,
    TextError,
    UnknownOption,
    UnsupportedPair,
)
from captioner.tasks import TranslateTask
from captioner.tasks.translate_options import TranslateOptions
from captioner.text.pieces import Pieces

TEXTS = ["Ein Hund.", "Zwei Männer im Schnee.", "rennt", "", " \t", "Ein Hund rennt durch.", "x"]

PAIR = {"source": "de", "target": "en"}


@pytest.fixture(scope="module")
def task(text_bundles: Path) -> TranslateTask:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPTIONER_BUNDLES", str(text_bundles))
        return captioner.load("translate")


def test_all_pairs_that_are_installed_are_there(task: TranslateTask) -> None:
    assert task.pairs == [("de", "en"), ("en", "de")]
    assert task.model == "translate-de-en@0, translate-en-de@0"


def test_a_batch_gives_what_each_text_gives_alone_in_its_order(task: TranslateTask) -> None:
    together = task(TEXTS, source="de", target="en", n=2)
    assert [found.text == "" for found in together] == [not text.strip() for text in TEXTS]
    for text, found in zip(TEXTS, together, strict=True):
        if text.strip():
            alone = task(text, source="de", target="en", n=2)
            assert found.text == alone.text
            assert found.log_prob == pytest.approx(alone.log_prob, abs=1e-4)
            assert [a.text for a in found.alternatives] == [a.text for a in alone.alternatives]


def test_more_texts_than_a_search_takes_keep_their_order(task: TranslateTask) -> None:
    texts = [f"Hund {'x ' * (number % 7)}{number}" for number in range(150)]
    found = task(texts, source="de", num_beams=1, max_tokens=4)
    assert [each.text for each in found[::37]] == [
        task(text, source="de", num_beams=1, max_tokens=4).text for text in texts[::37]
    ]


def test_one_direction_is_not_the_other(task: TranslateTask) -> None:
    assert task("Hund", source="de").text != task("Hund", source="en").text


def test_alternatives_are_others_the_best_first(task: TranslateTask) -> None:
    found = task("Ein Hund.", source="de", n=3)
    texts = [found.text, *(other.text for other in found.alternatives)]
    assert len(set(texts)) == len(texts) == 3
    assert task("Ein Hund.", source="de").alternatives == []


def test_attention_has_a_row_for_each_source_piece(task: TranslateTask) -> None:
    both = task(["Ein Hund.", "Zwei Männer im Schnee."], source="de", attention=True)
    for found in both:
        (attention,) = found.attention
        assert attention.source[-1] == "<end>"
        assert len(attention.weights) == len(attention.source)
        for column in range(len(attention.target)):
            looked = sum(row[column] for row in attention.weights)
            assert looked == pytest.approx(1, abs=1e-4)
    assert "".join(both[0].attention[0].source).strip() == "Ein Hund.<end>"
    assert json.dumps(both[0].to_dict(), allow_nan=False)


def test_a_text_is_translated_line_by_line_and_sentence_by_sentence(task: TranslateTask) -> None:
    parts = ["rennt", "Ein Hund.", "Zwei Männer!"]
    found = task("rennt\n\nEin Hund. Zwei Männer!", source="de", attention=True)
    alone = task(parts, source="de")
    lines = found.text.split("\n")
    assert lines == [alone[0].text, "", f"{alone[1].text} {alone[2].text}"]
    assert len(found.attention) == 3
    assert found.log_prob == pytest.approx(sum(each.log_prob for each in alone), abs=1e-4)


def test_a_sentence_that_is_too_long_is_translated_in_parts(task: TranslateTask) -> None:
    found = task("Ein Hund rennt durch den Schnee, durch den Schnee", source="de")
    assert "a long sentence was translated in parts" in found.warnings
    assert "in parts" not in "".join(task("Ein Hund.", source="de").warnings)


ODD = {
    "control characters": "a\x00b\x07\x1b[31m\x7f",
    "emoji": "👩‍👩‍👧 rennt 🏃🏽",
    "right to left": "שלום \u202eabc\u202c مرحبا",
    "unpaired surrogates": "a\ud800b \udfff",
    "another script": "개가 눈 속을 달린다",
    "one letter": "x",
    "combining marks": "e" + "\u0301" * 200,
    "spelt special pieces": "<pad><start><end>",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_texts_have_an_answer_that_is_text(task: TranslateTask, text: str) -> None:
    found = task(text, source="de", num_beams=1)
    assert json.dumps(found.to_dict()).encode("utf-8")
    assert found.text.encode("utf-8")


def test_a_megabyte_is_cut_into_what_the_model_can_read(task: TranslateTask) -> None:
    prepared = task.translator("de").prepare("Ein Hund. " * 10_000 + "y" * 10_000)
    assert max(map(len, prepared.parts)) <= 24
    assert len(prepared.parts) > 10_000


def test_what_cannot_be_is_refused(task: TranslateTask) -> None:
    for text in ("", " \n\t"):
        with pytest.raises(EmptyText):
            task(text, source="de")
    with pytest.raises(UnsupportedPair, match=r"fr to any language.*de to en, en to de"):
        task("a", source="fr")
    with pytest.raises(UnsupportedPair, match="Several models translate from any language"):
        task("a")
    with pytest.raises(UnsupportedPair):
        task("a", source="de", target="de")
    with pytest.raises(UnknownOption, match="beams"):
        task("a", source="de", beams=3)
    for option in ({"n": 0}, {"n": 9}, {"max_tokens": -1}, {"num_beams": 2, "n": 3}, {"n": 1e999}):
        with pytest.raises(InvalidOption):
            task("a", source="de", **option)
    with pytest.raises(TextError, match="None is no text"):
        task(["a", None], source="de")
    assert task([], source="de") == []


# ---- bundles


def test_a_damaged_bundle_takes_its_pair_only(
    make_translate_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_translate_bundle(tmp_path)
    damaged = make_translate_bundle(tmp_path, "en", "de")
    (damaged / "pieces.json").write_text("{}")
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(tmp_path))
    task = captioner.load("translate")
    assert task.pairs == [("de", "en")]
    assert "pieces.json" in str(task.problems["translate-en-de"])
    with pytest.raises(BundleError, match=r"pieces\.json"):
        captioner.load("translate", model="translate-en-de")


def test_models_are_chosen_by_name_or_directory(text_bundles: Path, monkeypatch) -> None:
    folder = text_bundles
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(folder))
    assert captioner.load("translate", model="translate-en-de").pairs == [("en", "de")]
    both = captioner.load("translate", model=["translate-en-de", str(folder / "translate-de-en")])
    assert both.pairs == [("en", "de"), ("de", "en")]
    with pytest.raises(MissingBundle, match="none-such"):
        captioner.load("translate", model=["none-such"])
    with pytest.raises(InvalidOption, match="one model"):
        captioner.load("caption", model=["a", "b"])
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(folder / "none"))
    with pytest.raises(MissingBundle, match="translate"):
        captioner.load("translate")


def test_a_bundle_says_pieces_of_its_target_only(make_translate_bundle, tmp_path: Path) -> None:
    plain = make_translate_bundle(tmp_path / "plain")
    assets = {name: open_bundle(plain).asset(name) for name in ("pieces.json", "pair.json")}
    everything = range(len(Pieces.from_json(assets["pieces.json"])))
    texts = ["Ein Hund rennt.", "日本 🐶"]

    def saying(said: list[int] | None) -> TranslateTask:
        pair = json.dumps(json.loads(assets["pair.json"]) | {"said": said})
        path = make_translate_bundle(tmp_path, assets=assets | {"pair.json": pair})
        return captioner.load("translate", model=str(path))

    def ids(task: TranslateTask) -> set[int]:
        parts = [part for text in texts for part in task.translator().prepare(text).parts]
        found = task.translator().search(parts, TranslateOptions(n=3))
        return {token for best in found for each in best for token in each.ids}

    anything = captioner.load("translate", model=str(plain))
    some = {*everything} - ids(anything) | {0, 1, 2}
    assert ids(saying(sorted(some))) <= some
    for said in (None, [*everything]):
        assert [one.text for one in saying(said)(texts)] == [one.text for one in anything(texts)]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"assets": {"pair.json": "[]"}}, r"pair\.json"),
        ({"assets": {"pair.json": '{"source": "de"}'}}, r"pair\.json"),
        ({"assets": {"pair.json": '{"source": "de", "target": 1}'}}, r"pair\.json"),
        ({"assets": {"pair.json": "{"}}, r"pair\.json cannot be read"),
        *(
            (
                {"assets": {"pair.json": json.dumps({"source": "a", "target": "b", "said": said})}},
                "said",
            )
            for said in (5, [1, 2, 9000], [1, 2, 2], [1, 3], [1, 2, True], ["1", 2])
        ),
        ({"assets": {"pieces.json": "{}"}}, r"pieces\.json"),
        ({"model": {"vocabulary_size": 5}}, "vocabulary_size in .* is 5"),
        ({"model": {"source": {"hidden": 5}}}, r"model\.source\.hidden in .* is not known"),
        ({"model": {"decoder": {"cell": "none"}}}, "cannot be used"),
        ({"decoding": {"num_beams": 0}}, "num_beams is 0"),
    ],
)
def test_a_bundle_that_contradicts_itself_says_where(
    make_translate_bundle, tmp_path: Path, changed: dict, named: str
) -> None:
    good = open_bundle(make_translate_bundle(tmp_path / "good"))
    assets = {name: good.asset(name) for name in ("pieces.json", "pair.json")}
    if "assets" in changed:
        changed = {"assets": assets | changed["assets"]}
    elif "model" in changed:
        changed = {"model": good.model | changed["model"]}
    path = make_translate_bundle(tmp_path, **changed)
    with pytest.raises(BundleError, match=named):
        captioner.load("translate", model=str(path))
