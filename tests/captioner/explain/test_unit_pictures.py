"""The page and the strips show what was recorded."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest

from captioner.errors import InvalidOption
from captioner.explain.units.pages import units_page
from captioner.explain.units.ranking import Finding, Fit
from captioner.explain.units.recording import Recording
from captioner.explain.units.strips import unit_strips

TEXT = 'a</script><b>"\n\té\u2028x'
FINDING = Finding("in quotes", "AUC", 0.3, (Fit("c1.1", 0.9, 0.95, -1),), None, 0.5, 0.6)


@pytest.fixture
def recording() -> Recording:
    length = len(TEXT)
    states = np.linspace(-2, 2, 2 * length).reshape(length, 2).astype(np.float16)
    return Recording(
        ("h1.0", "c1.1"),
        states,
        np.tile(np.array([0, 1, -1, -1, -1], dtype=np.int32), (length, 1)),
        np.full((length, 5), 0.25, dtype=np.float32),
        np.zeros(length, dtype=np.float32),
    )


def data_of(page: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found)


def test_the_page_carries_text_and_values(recording: Recording) -> None:
    page = units_page(TEXT, recording, [FINDING], ["<", "é"], title="<i>model")
    data = data_of(page)
    assert data["text"] == TEXT
    assert data["title"] == "<i>model"
    assert data["characters"] == ["<", "é"]
    values = np.frombuffer(base64.b64decode(data["values"]), dtype=np.int8).reshape(2, len(TEXT))
    np.testing.assert_allclose(values.T / 127, recording.shown(), atol=0.005)
    assert data["findings"][0]["fits"][0]["unit"] == "c1.1"


def test_no_text_ends_the_page_and_nothing_is_fetched(recording: Recording) -> None:
    page = units_page(TEXT, recording, [FINDING], ["<", "é"], title="</title><b>")
    assert page.count("</script>") == 2
    assert "<b>" not in page
    assert "default-src 'none'" in page
    assert not re.findall(r"https?://|src=|@import", page)


def test_a_long_text_is_shown_in_part(recording: Recording) -> None:
    data = data_of(units_page(TEXT, recording, [], ["<", "é"], title="m", most=4))
    assert (data["text"], data["whole"]) == (TEXT[:4], len(TEXT))
    assert len(base64.b64decode(data["values"])) == 2 * 4
    assert len(data["likeliest"]) == 4


def test_a_strip_is_red_at_one_and_blue_at_minus_one() -> None:
    states = np.array([[-9.0], [0.0], [9.0]], dtype=np.float16)
    blank = np.zeros((3, 5))
    found = Recording(("c1.0",), states, blank.astype(np.int32), blank.astype(np.float32), blank[0])
    picture = np.asarray(unit_strips("   ", found, [("c1.0", "x" * 20)]))
    row = picture[16 + picture.shape[0] // 2 - 8]
    blue, middle, red = (row[16 + 4 + 9 * place] for place in range(3))
    assert blue[2] > 200 > 100 > blue[0]
    assert (middle == 255).all()
    assert red[0] > 200 > 100 > red[2]


def test_each_unit_has_a_strip_of_its_own(recording: Recording) -> None:
    one = unit_strips(TEXT, recording, [("h1.0", "first")])
    two = unit_strips(TEXT, recording, [("h1.0", "first"), ("c1.1", "second")])
    assert two.height > 1.6 * one.height
    with pytest.raises(InvalidOption, match="No unit"):
        unit_strips(TEXT, recording, [])
    with pytest.raises(InvalidOption, match=r"no unit 'c9\.9'"):
        unit_strips(TEXT, recording, [("c9.9", "")])
