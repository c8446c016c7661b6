"""What a client takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.accept import is_acceptable, preferred, prefers

JSON = ("application/json",)


@pytest.mark.parametrize(
    "header",
    ["*/*", "application/*", "application/json", "text/html, application/json;q=0.1", "",
     "Application/JSON; charset=utf-8", "text/html;q=0.9,*/*;q=0.8", "nonsense",
     "application/xml, */*;q=0.001"],
)  # fmt: skip
def test_json_is_taken(header: str) -> None:
    assert is_acceptable([header], JSON)


@pytest.mark.parametrize(
    "header",
    ["application/xml", "application/json;q=0", "text/*", "*/*;q=0", "image/png, text/html",
     "application/json;q=0, */*", "application/json; q=0.000", "application/*;q=0, */*;q=1"],
)  # fmt: skip
def test_json_is_not_taken(header: str) -> None:
    assert not is_acceptable([header], JSON)


def test_no_header_takes_all() -> None:
    assert is_acceptable([], JSON)


@given(st.lists(st.text(max_size=40), max_size=3))
def test_any_header_is_understood_or_ignored(headers: list[str]) -> None:
    assert isinstance(is_acceptable(headers, JSON), bool)


def test_prometheus_takes_text() -> None:
    scraper = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    assert is_acceptable([scraper], ("text/plain",))


def test_a_browser_prefers_html() -> None:
    assert prefers(["text/html,application/xhtml+xml,*/*;q=0.8"], "text/html")
    assert not prefers(["*/*"], "text/html")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/vtt", "text/vtt"),
        ("text/*", "text/vtt"),
        ("text/csv, text/vtt", "text/vtt"),  # as good: the service's own order
        ("text/csv, text/vtt;q=0.9", "text/csv"),
        ("application/json;q=0, */*;q=0.1", "text/vtt"),
        ("text/html, */*;q=0.8", "application/json"),
        ("image/png", None),
    ],
)
def test_the_best_of_what_there_is(header: str, expected: str | None) -> None:
    produced = ("application/json", "text/vtt", "text/csv")
    assert preferred([header] if header else [], produced) == expected
