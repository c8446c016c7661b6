"""Endless text: streams are the whole, seeds repeat, stops end, and what is unknown is named."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from threading import Thread

import pytest

import captioner
from captioner.errors import (
    BundleError,
    InvalidOption,
    UnknownCharacters,
    UnknownModel,
    UnknownOption,
)
from captioner.explain.units.recording import record
from captioner.tasks import GenerateTask
from captioner.tasks.generate_options import GenerateOptions

LEARNT = "\nBut soft, what light?\n\nJULIET:\nAy me!\n\n"


@pytest.fixture(scope="module")
def task(text_bundles: Path) -> GenerateTask:
    names = ("generate", "generate-another")
    return captioner.load("generate", model=[str(text_bundles / name) for name in names])


def test_it_goes_on_with_what_it_has_learnt(task: GenerateTask) -> None:
    found = task("ROMEO:", temperature=0, max_tokens=len(LEARNT))
    assert found.text == LEARNT
    assert -1 < found.log_prob < 0
    assert found.end.finish_reason == "length"
    assert (found.end.prompt_tokens, found.end.completion_tokens) == (6, len(LEARNT))
    assert found.end.model == "generate@0"


def test_a_stream_is_the_whole_and_has_a_log_prob_for_each_character(task: GenerateTask) -> None:
    options = {"temperature": 0.9, "seed": 3, "max_tokens": 50}
    whole = task("ROMEO:", **options)
    deltas = list(task.stream("ROMEO:", **options))
    assert "".join(delta.text for delta in deltas) == whole.text
    assert all(len(delta.text) == 1 and delta.log_prob <= 0 for delta in deltas)
    assert sum(delta.log_prob for delta in deltas) == pytest.approx(whole.log_prob)


def test_seeds_repeat_and_differ(task: GenerateTask) -> None:
    texts = [task("R", temperature=2, seed=seed, max_tokens=40).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_streams_side_by_side_do_not_disturb_each_other(task: GenerateTask) -> None:
    prompts = ["ROMEO:", "JULIET:", "", "But"]
    alone = [task(prompt, temperature=0, max_tokens=80).text for prompt in prompts]
    said = [""] * len(prompts)

    def say(number: int) -> None:
        said[number] = task(prompts[number], temperature=0, max_tokens=80).text

    threads = [Thread(target=say, args=(number,)) for number in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == alone


def test_a_stream_goes_on_from_the_state_of_another(task: GenerateTask) -> None:
    whole = task("ROMEO:", temperature=0, max_tokens=40).text
    first = task.stream("ROMEO:", temperature=0, max_tokens=20)
    begun = "".join(delta.text for delta in first)
    following = task.stream(whole[20], temperature=0, max_tokens=19, state=first.state)
    assert begun + whole[20] + "".join(delta.text for delta in following) == whole


def test_a_long_prompt_is_read_in_chunks_as_in_one(task: GenerateTask) -> None:
    prompt = (LEARNT + "ROMEO:") * 20
    assert len(prompt) > 600
    assert task(prompt, temperature=0, max_tokens=len(LEARNT)).text == LEARNT


def test_without_a_prompt_it_begins_as_after_a_line_feed(task: GenerateTask) -> None:
    options = {"temperature": 0, "max_tokens": 20}
    assert task("", **options).text == task("\n", **options).text
    assert task(**options).end.prompt_tokens == 0


@pytest.mark.parametrize("stops", [("JUL",), ("?\n\nJ",), ("x", "JULIET:"), ("JULIEX", "JUL")])
def test_a_stop_ends_the_text_and_is_left_out(task: GenerateTask, stops: tuple[str, ...]) -> None:
    found = task("ROMEO:", temperature=0, max_tokens=60, stop=stops)
    first = min(LEARNT.index(stop) for stop in stops if stop in LEARNT)
    assert found.text == LEARNT[:first]
    assert found.end.finish_reason == "stop"


def test_watched_units_come_with_each_character_and_are_those_of_a_recording(
    task: GenerateTask,
) -> None:
    names = ("c1.3", "h1.30")
    found = task("ROMEO:", temperature=0, max_tokens=12, units=names)
    assert found.text == task("ROMEO:", temperature=0, max_tokens=12).text
    generator = task.generator()
    recording = record(generator._model, generator.characters.encode("ROMEO:" + found.text))
    assert found.units is not None
    for name in names:
        shown = recording.shown([recording.column(name)])[6:, 0]
        assert found.units[name] == pytest.approx(shown.tolist(), abs=2e-3)
    assert set(found.to_dict()["units"]) == set(names)
    assert "units" not in task("R", max_tokens=3).to_dict()


@pytest.mark.parametrize("units", [("c2.0",), ("c1.99",), ("x",), ("c1.0",) * 17])
def test_units_that_are_not_there_are_refused(task: GenerateTask, units: tuple[str, ...]) -> None:
    with pytest.raises(InvalidOption, match="unit"):
        task("R", units=units)


def test_what_only_began_like_a_stop_is_said_in_the_end(task: GenerateTask) -> None:
    found = task("ROMEO:", temperature=0, max_tokens=25, stop=(LEARNT[20:24] + "ZZZ",))
    assert found.text == LEARNT[:25]
    assert found.end.finish_reason == "length"


def test_a_stream_need_not_be_read_to_its_end(task: GenerateTask) -> None:
    stream = task.stream("ROMEO:", temperature=0, max_tokens=20_000)
    assert "".join(delta.text for delta in islice(stream, 5)) == LEARNT[:5]
    with pytest.raises(RuntimeError):
        _ = stream.end


def test_models_are_chosen_by_name(task: GenerateTask) -> None:
    assert task("R", model="generate-another", max_tokens=1).end.model == "generate-another@0"
    with pytest.raises(UnknownModel, match=r"'pushkin'.*generate, generate-another"):
        task("R", model="pushkin")


def test_the_one_that_ships_comes_first(
    make_generate_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "shakespeare", "z"):
        make_generate_bundle(tmp_path, name)
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(tmp_path))
    assert list(captioner.load("generate").generators) == ["shakespeare", "a", "z"]
    assert list(captioner.load("generate", model=["z", "a"]).generators) == ["z", "a"]


@pytest.mark.parametrize("text", ["ROMEO: 😀", "שלום", "\x00", "\ud800", "R\u0301"])
def test_characters_it_has_never_seen_are_named(task: GenerateTask, text: str) -> None:
    with pytest.raises(UnknownCharacters, match="never seen") as caught:
        task(text)
    assert str(caught.value).encode("utf-8")


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 0}, {"max_tokens": -1}, {"max_tokens": 10**9}, {"temperature": -1},
        {"temperature": float("nan")}, {"temperature": float("inf")}, {"temperature": 0, "seed": 1},
        {"temperature": 0, "top_k": 3}, {"top_p": 0}, {"top_k": -1}, {"seed": -1},
        {"stop": ("",)}, {"stop": ("a",) * 5}, {"stop": ("a" * 101,)},
    ],
    ids=str,
)  # fmt: skip
def test_options_out_of_range_are_refused(task: GenerateTask, options: dict) -> None:
    with pytest.raises(InvalidOption):
        task("R", **options)


def test_unknown_options_are_named(task: GenerateTask) -> None:
    with pytest.raises(UnknownOption, match="temprature"):
        task("R", temprature=1)


def test_a_bundle_may_say_how_it_is_to_be_sampled(make_generate_bundle, tmp_path: Path) -> None:
    path = make_generate_bundle(tmp_path, decoding={"temperature": 0.5, "top_k": 5})
    own = captioner.load("generate", model=str(path)).generator()
    assert own.search_options(GenerateOptions()).top_k == 5
    assert own.search_options(GenerateOptions(temperature=0)).top_k == 0
    assert own.search_options(GenerateOptions(top_p=0.9, temperature=1)).temperature == 1


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"assets": {"characters.json": "[]"}}, r"characters\.json"),
        ({"assets": {"characters.json": '{"characters": "ab"}'}}, "characters.json has 2"),
        ({"decoding": {"temperature": -1}}, "temperature is -1"),
    ],
)
def test_a_bundle_that_contradicts_itself_says_where(
    make_generate_bundle, tmp_path: Path, changed: dict, named: str
) -> None:
    path = make_generate_bundle(tmp_path, **changed)
    with pytest.raises(BundleError, match=named):
        captioner.load("generate", model=str(path))
