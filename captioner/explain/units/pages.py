"""A text in the colours of any unit: one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np

from captioner.explain.units.ranking import Finding
from captioner.explain.units.recording import Recording

DATA = "/*DATA*/"


def units_page(
    text: str,
    recording: Recording,
    findings: Sequence[Finding],
    characters: Sequence[str],
    *,
    title: str,
    most: int = 4000,
) -> str:
    """The page as HTML: text, a ranked unit picker, values, and the five likeliest next characters.

    ``text`` is what was recorded; its first ``most`` characters are shown, each unit's value there
    in a byte. ``characters``: the vocabulary, by number. Scores are of the whole text.
    """
    length = min(len(recording), len(text), most)
    values = np.rint(recording.shown()[:length].T * 127).astype(np.int8)
    data: dict[str, Any] = {
        "title": title,
        "text": text[:length],
        "whole": len(recording),
        "names": recording.names,
        "values": base64.b64encode(np.ascontiguousarray(values).tobytes()).decode(),
        "characters": list(characters),
        "likeliest": recording.likeliest[:length].tolist(),
        "probabilities": np.round(recording.probabilities[:length].astype(float), 3).tolist(),
        "findings": [asdict(finding) for finding in findings],
    }
    # Within a script element only "<" can end it, whatever the text says.
    embedded = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    page = files("captioner.explain.units").joinpath("page.html").read_text("utf-8")
    return page.replace(DATA, embedded)
