"""Strings to values."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner import tasks
from captioner.errors import InvalidOption
from captioner.tasks import generate_options
from captioner.tasks.frame_options import FRAME_RANGES, FrameOptions
from captioner.tasks.generate_options import GENERATE_RANGES, GenerateOptions
from captioner.tasks.options import RANGES, CaptionOptions
from captioner.tasks.translate_options import TRANSLATE_RANGES, TranslateOptions
from serving import video_request
from serving.endpoints import generate, translate
from serving.endpoints.caption import OPTIONS, PHOTO
from serving.options import Option, pairs_of, read_options
from serving.responses import RequestError
from serving.settings import OF_SEVERAL

WHOLE = Option("n", "integer", "", 1, 8)
NUMBER = Option("temperature", "number", "", 0, 2)
TRUTH = Option("attention", "boolean", "")


def refusal(call) -> RequestError | None:
    try:
        call()
    except RequestError as error:
        return error
    return None


def code_of(call) -> str:
    with pytest.raises(RequestError) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("+8", 8), ("007", 7)])
def test_whole_numbers(text: str, value: int) -> None:
    assert WHOLE.read(text) == value


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1.0", "1e0", "0x1", "1_0", "true", "0", "9", "-1", "٣", "1" * 40]
)
def test_not_whole_numbers_in_range(text: str) -> None:
    assert code_of(lambda: WHOLE.read(text)) == "invalid_option"


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("1.5", 1.5), (".5", 0.5), ("1e-1", 0.1)])
def test_numbers(text: str, value: float) -> None:
    assert NUMBER.read(text) == value


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", "1e999", "", "1,5", "2.1", "½"])
def test_not_numbers_in_range(text: str) -> None:
    assert code_of(lambda: NUMBER.read(text)) == "invalid_option"


@pytest.mark.parametrize(
    ("option", "value"),
    [(WHOLE, "3"), (WHOLE, True), (WHOLE, 3.0), (NUMBER, math.nan), (NUMBER, "nan"), (TRUTH, 1)],
)
def test_json_values_are_not_converted(option: Option, value: object) -> None:
    assert code_of(lambda: option.check(value)) == "invalid_option"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for option in (WHOLE, NUMBER, TRUTH):
        error = refusal(lambda option=option: option.check(option.read(text)))
        assert error is None or (error.code == "invalid_option" and error.message.isascii())


@given(st.binary(max_size=200))
def test_any_query_is_read_or_refused(query: bytes) -> None:
    error = refusal(lambda: pairs_of(query))
    assert error is None or error.code in ("invalid_query", "too_many_parts")


def test_unknown_and_repeated_names_are_refused() -> None:
    assert code_of(lambda: read_options([("m", "1")], [WHOLE])) == "unknown_field"
    assert code_of(lambda: read_options([("n", "1"), ("n", "1")], [WHOLE])) == "duplicate_field"
    assert read_options([], [WHOLE]) == {}


def test_the_table_is_the_librarys() -> None:
    """Names, ranges and defaults: the table is written twice so that the supervisor needs no
    torch."""
    of_library = {item.name: item.default for item in fields(CaptionOptions)}
    assert set(of_library) == PHOTO.options
    for option in OPTIONS:
        assert option.default == of_library[option.name]
        if option.type != "boolean":
            assert (option.minimum, option.maximum) == RANGES[option.name]


@pytest.mark.parametrize(
    "option", [o for o in OPTIONS if o.type != "boolean"], ids=lambda o: o.name
)
def test_the_library_takes_what_the_service_takes(option: Option) -> None:
    company = {"temperature": 1.0} if option.name in ("top_k", "top_p", "seed") else {}
    for value in (option.minimum, option.maximum):
        CaptionOptions(**(company | {option.name: value})).check()
    for value in (option.minimum - 1, option.maximum + 1):
        with pytest.raises(InvalidOption):
            CaptionOptions(**(company | {option.name: value})).check()


def test_the_table_of_videos_is_the_librarys() -> None:
    of_library = {item.name: item.default for item in fields(FrameOptions)}
    table = {option.name: option for option in video_request.OPTIONS}
    assert table.keys() == of_library.keys()
    for name, option in table.items():
        assert option.default == of_library[name]
        if option.type != "boolean":
            assert (option.minimum, option.maximum) == FRAME_RANGES[name]


@pytest.mark.parametrize(
    ("options", "library", "ranges", "beside"),
    [
        (translate.OPTIONS, TranslateOptions, TRANSLATE_RANGES, set()),
        (generate.OPTIONS, GenerateOptions, GENERATE_RANGES, {"stop", "units"}),
    ],
    ids=["translate", "generate"],
)
def test_the_tables_of_texts_are_the_librarys(options, library, ranges, beside) -> None:
    of_library = {item.name: item.default for item in fields(library)}
    table = {option.name: option for option in options}
    assert set(table) | beside == set(of_library)
    for name, option in table.items():
        assert option.default == of_library[name]
        if option.type != "boolean":
            assert (option.minimum, option.maximum) == ranges[name]
    stops = (generate.MAX_STOPS, generate.MAX_STOP_CHARACTERS)
    assert stops == (generate_options.MAX_STOPS, generate_options.MAX_STOP_CHARACTERS)
    assert set(OF_SEVERAL) == set(tasks.OF_SEVERAL)


def test_a_choice() -> None:
    option = Option("format", "string", "", choices=("json", "vtt"))
    assert option.read("vtt") == "vtt"
    assert option.schema() == {"type": "string", "enum": ["json", "vtt"]}
    for wrong in ("VTT", "", "xml", "json "):
        assert code_of(lambda wrong=wrong: option.read(wrong)) == "invalid_option"
    assert code_of(lambda: option.check(1)) == "invalid_option"
