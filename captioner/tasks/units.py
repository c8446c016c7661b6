"""What the hidden units of an installed character model do over a text of one's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captioner.bundle import Bundle
from captioner.errors import EmptyText, TextTooLong
from captioner.explain.units.hypotheses import label
from captioner.explain.units.ranking import BEST, Finding, rank
from captioner.explain.units.recording import Recording, record
from captioner.models.char_language_model import CharLanguageModel
from captioner.tasks.description import build
from captioner.tasks.generate import char_language_model_of, characters_of
from captioner.text.characters import Characters

MOST_CHARACTERS = 200_000  # two layers of 512 fill 800 MB with it
IN_ONE_STREAM = 20_000
STREAM = 10_000  # characters that a longer text's streams have, at least


@dataclass(frozen=True)
class UnitStudy:
    """A text, what the model did over it, and which units fit which hypothesis.

    ``text`` is as long as the recording; a text in streams loses a few characters at its end.
    """

    model: str
    text: str
    characters: Characters
    recording: Recording
    findings: list[Finding]


def study_units(bundle: Bundle, text: str, *, seed: int = 0, best: int = BEST) -> UnitStudy:
    """Records ``bundle``'s model over ``text`` and ranks its units against every hypothesis.

    Beside it a network of the same shape that has learnt nothing, its weights drawn by ``seed``.
    A finding keeps the ``best`` units.
    More than 20,000 characters are read in several streams side by side, each from an empty state.

    Raises :class:`EmptyText` for fewer than two characters, :class:`TextTooLong` for more than
    200,000 and :class:`~captioner.errors.UnknownCharacters` for those the model has never seen.
    """
    if len(text) < 2:
        raise EmptyText(f"The text has {len(text)} characters.", hint="A study needs a few lines.")
    if len(text) > MOST_CHARACTERS:
        raise TextTooLong(
            f"The text has {len(text)} characters; at most {MOST_CHARACTERS} are studied.",
            hint="Give a part of it.",
        )
    characters = characters_of(bundle)
    tokens = characters.encode_array(text)
    model = char_language_model_of(bundle, characters).requires_grad_(False).frozen()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        plain = build(bundle, "model", CharLanguageModel, bundle.model)
    plain = plain.requires_grad_(False).frozen()
    streams = 1 if len(text) <= IN_ONE_STREAM else len(text) // STREAM
    recording = record(model, tokens.tolist(), streams=streams)
    untrained = record(plain, tokens.tolist(), streams=streams)
    text, tokens = text[: len(recording)], tokens[: len(recording)]
    findings = rank(recording, label(text), tokens, untrained=untrained, best=best, seed=seed)
    return UnitStudy(f"{bundle.name}@{bundle.version}", text, characters, recording, findings)
