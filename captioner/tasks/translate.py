"""Translations: cut, number, encode, search, join. One model a pair of languages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import torch

from captioner.bundle import Bundle
from captioner.errors import (
    BundleError,
    DataError,
    EmptyText,
    TextError,
    UnsupportedPair,
)
from captioner.models.decoder import Decoder
from captioner.models.sentence_encoder import SentenceEncoder
from captioner.models.seq2seq import SPECIAL_IDS, Seq2Seq, pad_sources
from captioner.search import Hypothesis, SearchOptions
from captioner.tasks.description import build, check_keys, wrong
from captioner.tasks.named_options import named_options
from captioner.tasks.translate_options import (
    Alternative,
    SentenceAttention,
    TranslateOptions,
    Translation,
)
from captioner.text.passages import cut
from captioner.text.pieces import Pieces

# Sentences that are searched at once. More are hardly faster, and their memory counts.
ROWS = 64


@dataclass(frozen=True)
class PreparedText:
    """A text's parts in pieces, and what stands behind each part; a blank line has no pieces.

    ``whole``: no sentence was too long.
    """

    parts: list[list[int]]
    joints: list[str]
    whole: bool = True


class Translator:
    """One bundle: texts of one language to another.

    :meth:`prepare` and :meth:`join` may run in many threads; :meth:`search` in one at a time.
    """

    def __init__(self, bundle: Bundle, *, device: str = "cpu") -> None:
        self.bundle = bundle
        self.name, self.version = bundle.name, bundle.version
        self.model = f"{bundle.name}@{bundle.version}"
        self.card, self.metrics = bundle.card, bundle.metrics
        self.source, self.target = pair_of(bundle)
        self.pieces = pieces_of(bundle)
        self.device = torch.device(device)
        self._search = build(bundle, "decoding", SearchOptions, bundle.decoding)
        model = seq2seq_of(bundle, self.pieces)
        said = said_by(bundle, self.pieces)
        self._model = model.requires_grad_(False).to(self.device).frozen(said, for_good=True)
        # A translation may be longer than its source.
        self._longest = max(1, self._search.max_tokens * 4 // 5)

    def prepare(self, text: str) -> PreparedText:
        """Cuts a text of any length into parts that the model can read."""
        found = cut(text, lambda part: len(self.pieces.encode(part)), self._longest)
        parts = self.pieces.encode_batch([part.text for part in found])
        whole = all(part.whole for part in found)
        return PreparedText(parts, [part.joint for part in found], whole)

    def search(
        self, parts: Sequence[Sequence[int]], options: TranslateOptions
    ) -> list[list[Hypothesis]]:
        """The n best for each part, in their order; none for one without pieces.

        Parts of like length are searched together, so that little of a batch is padding.
        """
        found: list[list[Hypothesis]] = [[] for _ in parts]
        chosen = self.search_options(options)
        order = sorted((i for i, part in enumerate(parts) if part), key=lambda i: -len(parts[i]))
        for first in range(0, len(order), ROWS):
            rows = order[first : first + ROWS]
            sources, lengths = pad_sources([parts[row] for row in rows])
            best = self._model.translate(
                sources.to(self.device),
                lengths.to(self.device),
                chosen,
                keep_weights=options.attention,
            )
            for row, hypotheses in zip(rows, best, strict=True):
                found[row] = hypotheses
        return found

    def search_options(self, options: TranslateOptions) -> SearchOptions:
        """The bundle's search, changed by what was asked for."""
        changed: dict[str, Any] = {
            "num_return": options.n,
            "num_beams": options.num_beams or max(self._search.num_beams, options.n),
        }
        if options.max_tokens is not None:
            changed["max_tokens"] = options.max_tokens
            changed["min_tokens"] = min(self._search.min_tokens, options.max_tokens)
        return replace(self._search, **changed)

    def join(
        self, text: PreparedText, found: Sequence[list[Hypothesis]], options: TranslateOptions
    ) -> Translation:
        """The translation of a text from what :meth:`search` has found for its parts.

        The k-th alternative has the k-th best of each part, or the best where there is none.
        """
        ranked: dict[str, float] = {}
        for rank in range(options.n):
            if any(len(best) > rank for best in found) or not rank:
                chosen = [best[rank if rank < len(best) else 0] if best else None for best in found]
                said = [self.pieces.decode(one.ids) if one else "" for one in chosen]
                whole = "".join(
                    " ".join(part.split("\n")) + joint
                    for part, joint in zip(said, text.joints, strict=True)
                )
                ranked.setdefault(whole, sum(one.log_prob for one in chosen if one))
        (best_text, log_prob), *others = ranked.items()
        parts = [(ids, best[0]) for ids, best in zip(text.parts, found, strict=True) if best]
        warnings = []
        if any(not best.finished for _, best in parts):
            warnings.append("the translation was cut at max_tokens")
        if not text.whole:
            warnings.append("a long sentence was translated in parts")
        return Translation(
            best_text,
            log_prob,
            [Alternative(*other) for other in others],
            [self._attention(*part) for part in parts] if options.attention else None,
            warnings,
        )

    def _attention(self, source: list[int], best: Hypothesis) -> SentenceAttention:
        weights: list[list[float]] = []
        if best.weights is not None:
            weights = best.weights[:, : len(source) + 1].T.tolist()
        spelt = self.pieces.spell
        return SentenceAttention(spelt([*source, Pieces.end_id]), spelt(best.ids), weights)


class TranslateTask:
    """Texts to texts with as many bundles as there are pairs of languages.

    ``problems``: bundles that could not be used, and why.
    """

    def __init__(
        self,
        bundles: Sequence[Bundle],
        *,
        device: str = "cpu",
        problems: Mapping[str, BundleError] | None = None,
    ) -> None:
        self.translators: dict[tuple[str, str], Translator] = {}
        self.problems = dict(problems or {})
        for bundle in bundles:
            translator = Translator(bundle, device=device)
            # The first of a pair; bundles come in the order in which they are to be taken.
            self.translators.setdefault((translator.source, translator.target), translator)
        self.model = ", ".join(translator.model for translator in self.translators.values())

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Source and target of each model."""
        return list(self.translators)

    @overload
    def __call__(
        self, texts: str, *, source: str | None = ..., target: str | None = ..., **options: Any
    ) -> Translation: ...
    @overload
    def __call__(
        self,
        texts: Sequence[str],
        *,
        source: str | None = ...,
        target: str | None = ...,
        **options: Any,
    ) -> list[Translation]: ...
    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        source: str | None = None,
        target: str | None = None,
        **options: Any,
    ) -> Translation | list[Translation]:
        """Translates one text, or a list of any length, in which blank ones stay blank.

        Options are those of :class:`TranslateOptions`. ``source`` and ``target`` may be left out
        where only one pair fits. Raises :class:`~captioner.errors.UnsupportedPair`, and
        :class:`~captioner.errors.EmptyText` for one blank text.
        """
        chosen = named_options(TranslateOptions, options).check()
        translator = self.translator(source, target)
        if isinstance(texts, str):
            if not texts.strip():
                raise EmptyText("The text is empty, or nothing but white space.")
            return self.translate(translator, [texts], chosen)[0]
        strange = [text for text in texts if not isinstance(text, str)]
        if strange:
            raise TextError(f"{strange[0]!r} is no text.", hint="Give a text or a list of texts.")
        return self.translate(translator, texts, chosen)

    def translator(self, source: str | None = None, target: str | None = None) -> Translator:
        """The model of a pair. What is None may be anything, as long as one pair only fits."""
        fitting = [
            translator
            for (own_source, own_target), translator in self.translators.items()
            if source in (None, own_source) and target in (None, own_target)
        ]
        if len(fitting) == 1:
            return fitting[0]
        wanted = f"{source or 'any language'} to {target or 'any language'}"
        raise UnsupportedPair(
            f"Several models translate from {wanted}."
            if fitting
            else f"No model translates from {wanted}.",
            hint=f"source and target are one of: {_shown(self.pairs)}.",
        )

    def translate(
        self, translator: Translator, texts: Sequence[str], options: TranslateOptions
    ) -> list[Translation]:
        """All texts in batches of like length; their order is kept."""
        prepared = [translator.prepare(text) for text in texts]
        found = iter(translator.search([part for text in prepared for part in text.parts], options))
        return [
            translator.join(text, [next(found) for _ in text.parts], options) for text in prepared
        ]


def seq2seq_of(bundle: Bundle, pieces: Pieces) -> Seq2Seq:
    """The bundle's model with its weights, as trained: for inference and for training on."""
    arguments = bundle.model
    check_keys(bundle, "model", Seq2Seq, arguments)
    own = ("vocabulary_size", "feature_size", *SPECIAL_IDS)  # Seq2Seq's to give
    check_keys(bundle, "model.source", SentenceEncoder, arguments["source"], given=own)
    check_keys(bundle, "model.decoder", Decoder, arguments["decoder"], given=own)
    size = arguments["vocabulary_size"]
    if size != len(pieces):
        where = "model.vocabulary_size"
        raise wrong(bundle, where, f"is {size!r}, but pieces.json has {len(pieces)}")
    model = build(bundle, "model", Seq2Seq, arguments)
    bundle.load_into(model)
    return model.eval()


def pieces_of(bundle: Bundle) -> Pieces:
    """What a translator's texts are cut into, both sides alike."""
    try:
        return Pieces.from_json(bundle.asset("pieces.json"))
    except DataError as error:
        raise BundleError(f"{bundle.path / 'pieces.json'} cannot be read: {error}") from None


def pair_of(bundle: Bundle) -> tuple[str, str]:
    """A translator's languages, source and target."""
    pair = _pair(bundle)
    source, target = pair.get("source"), pair.get("target")
    if not (isinstance(source, str) and isinstance(target, str) and source and target):
        raise BundleError(f"{bundle.path / 'pair.json'} names no two languages: {pair!r:.60}.")
    return source, target


def said_by(bundle: Bundle, pieces: Pieces) -> list[int] | None:
    """The only pieces that a translator says, those of its target language; None: any."""
    said = _pair(bundle).get("said")
    if said is None:
        return None
    numbers = [i for i in said if type(i) is int] if isinstance(said, list) else []
    known = {*numbers} <= {*range(len(pieces))} and len({*numbers}) == len(numbers)
    if numbers != said or not known or not {Pieces.start_id, Pieces.end_id} <= {*numbers}:
        raise BundleError(
            f"{bundle.path / 'pair.json'} has no list of pieces under 'said'.",
            hint=f"Different numbers below {len(pieces)}, start's and end's among them.",
        )
    return numbers


def _pair(bundle: Bundle) -> dict[str, Any]:
    try:
        pair = json.loads(bundle.asset("pair.json"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{bundle.path / 'pair.json'} cannot be read: {error!r}") from None
    if not isinstance(pair, dict):
        raise BundleError(f"{bundle.path / 'pair.json'} names no two languages: {pair!r:.60}.")
    return pair


def _shown(pairs: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{source} to {target}" for source, target in pairs)
