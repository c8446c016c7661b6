"""Captions for photos: decode, encode, search, join."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from captioner.bundle import Bundle
from captioner.errors import InvalidOption
from captioner.models.captioner import Captioner
from captioner.models.decoder import Decoder
from captioner.search import Hypothesis, SearchOptions, search
from captioner.tasks.description import (
    build,
    check_keys,
    check_vocabulary_size,
    trusted_confidence,
)
from captioner.tasks.named_options import named_options
from captioner.tasks.options import CaptionOptions, CaptionResult, RankedCaption, Word
from captioner.tasks.shared_encoder import shared_encoder
from captioner.text.words import join
from captioner.vision.encoder import ResNetEncoder
from captioner.vision.image import ImageLimits, Picture, as_picture, decode_image, read_image

Photo = str | Path | bytes | Image.Image


@dataclass(frozen=True)
class PreparedImage:
    """A decoded photo at the encoder's size: ``pixels`` uint8 ``(3, size, size)``."""

    pixels: Tensor
    width: int
    height: int
    format: str
    warnings: tuple[str, ...]
    decode_ms: float


class CaptionTask:
    """Photos to captions with one bundle.

    All methods may run in many threads. ``encoder``: one that is in memory already,
    :meth:`~captioner.vision.encoder.ResNetEncoder.fused`, where another task has loaded the same.
    """

    def __init__(
        self, bundle: Bundle, *, device: str = "cpu", encoder: ResNetEncoder | None = None
    ) -> None:
        self.bundle = bundle
        self.name, self.version = bundle.name, bundle.version
        self.model = f"{bundle.name}@{bundle.version}"
        self.card = bundle.card
        self.metrics = bundle.metrics
        self.vocabulary = bundle.vocabulary()
        self.preprocessing = bundle.preprocessing()
        self.device = torch.device(device)
        model = captioner_of(bundle)
        self._encoder = encoder or shared_encoder(bundle, model.encoder, self.device)
        decoder = model.decoder.requires_grad_(False).to(self.device)
        self._decoder = decoder.frozen(for_good=True)
        self._search = build(bundle, "decoding", SearchOptions, bundle.decoding)
        self._trusted = trusted_confidence(bundle)

    def __call__(self, photos: Photo | Sequence[Photo], **options: Any) -> Any:
        """Captions one photo, or a list of them: paths, bytes or PIL images.

        Options are those of :class:`CaptionOptions`. One photo gives a :class:`CaptionResult`, a
        list a list.
        """
        chosen = named_options(CaptionOptions, options).check()
        if isinstance(photos, (str, Path, bytes, Image.Image)):
            return self.caption([self.open(photos)], chosen)[0]
        return self.caption([self.open(photo) for photo in photos], chosen)

    def open(self, photo: Photo) -> PreparedImage:
        """A path, bytes or a PIL image, decoded and resized."""
        started = time.perf_counter()
        if isinstance(photo, bytes):
            return self.prepare(photo)
        if isinstance(photo, Image.Image):
            return self._prepared(as_picture(photo), started)
        size = self.preprocessing.target_size()
        return self._prepared(read_image(photo, target_size=size), started)

    def prepare(self, data: bytes, *, limits: ImageLimits | None = None) -> PreparedImage:
        """Encoded bytes to pixels. Raises the :class:`~captioner.errors.ImageError` family."""
        started = time.perf_counter()
        size = self.preprocessing.target_size()
        picture = decode_image(data, target_size=size, limits=limits or ImageLimits())
        return self._prepared(picture, started)

    def _prepared(self, picture: Picture, started: float) -> PreparedImage:
        pixels = self.preprocessing.pixels(picture.image)
        return PreparedImage(
            pixels,
            picture.width,
            picture.height,
            picture.format,
            tuple(picture.warnings),
            (time.perf_counter() - started) * 1000,
        )

    @torch.inference_mode()
    def caption(
        self,
        prepared: Sequence[PreparedImage],
        options: CaptionOptions | Sequence[CaptionOptions] = CaptionOptions(),  # noqa: B008
    ) -> list[CaptionResult]:
        """Captions a batch: encoded together, searched together where options allow."""
        if not prepared:
            return []
        chosen = [options] * len(prepared) if isinstance(options, CaptionOptions) else list(options)
        if len(chosen) != len(prepared):
            raise InvalidOption(f"{len(chosen)} options for {len(prepared)} photos.")
        started = time.perf_counter()
        pixels = torch.stack([item.pixels for item in prepared])
        # Their order in memory is changed while they are bytes.
        pixels = pixels.to(self.device, memory_format=torch.channels_last)
        memory = self._decoder.memory(self._encoder(self.preprocessing.normalise(pixels)))
        encoded = time.perf_counter()
        hypotheses: list[list[Hypothesis]] = [[] for _ in prepared]
        for rows, shared in _groups(chosen):
            part = memory
            if len(rows) < len(prepared):
                index = torch.tensor(rows, device=self.device)
                part = tuple(tensor.index_select(0, index) for tensor in memory)
            found = search(
                self._decoder, part, self.search_options(shared), keep_weights=shared.attention
            )
            for row, best in zip(rows, found, strict=True):
                hypotheses[row] = best
        encode_ms = (encoded - started) * 1000
        search_ms = (time.perf_counter() - encoded) * 1000
        return [
            self._result(item, best, choice, encode_ms, search_ms)
            for item, best, choice in zip(prepared, hypotheses, chosen, strict=True)
        ]

    def search_options(self, options: CaptionOptions) -> SearchOptions:
        """The bundle's search, changed by what was asked for."""
        changed: dict[str, Any] = {"num_return": options.n}
        if options.max_tokens is not None:
            changed["max_tokens"] = options.max_tokens
            changed["min_tokens"] = min(self._search.min_tokens, options.max_tokens)
        if options.temperature > 0:
            changed |= {
                "num_beams": 1,
                "temperature": options.temperature,
                "top_k": options.top_k,
                "top_p": options.top_p,
                "seed": options.seed,
            }
        else:
            changed["num_beams"] = options.num_beams or max(self._search.num_beams, options.n)
        return replace(self._search, **changed)

    def _result(
        self,
        item: PreparedImage,
        hypotheses: list[Hypothesis],
        options: CaptionOptions,
        encode_ms: float,
        search_ms: float,
    ) -> CaptionResult:
        best = hypotheses[0]
        confidence = math.exp(best.log_prob / max(1, len(best.token_log_probs)))
        warnings = list(item.warnings)
        if confidence < self._trusted:
            warnings.append(
                f"low confidence ({confidence:.2f}, below {self._trusted:.2f}): "
                "this caption should not be trusted"
            )
        if not best.finished:
            warnings.append("the caption was cut at max_tokens")
        ranked = [self._ranked(hypothesis) for hypothesis in hypotheses]
        image = {"width": item.width, "height": item.height, "format": item.format}
        if options.attention:
            image["seen"] = list(self.preprocessing.seen(item.width, item.height))
        return CaptionResult(
            caption=ranked[0].text,
            captions=ranked,
            confidence=confidence,
            model=self.model,
            image=image,
            timing_ms={
                "decode": item.decode_ms,
                "encode": encode_ms,
                "search": search_ms,
                "total": item.decode_ms + encode_ms + search_ms,
            },
            warnings=warnings,
        )

    def _ranked(self, hypothesis: Hypothesis) -> RankedCaption:
        words = self.vocabulary.decode(hypothesis.ids)
        maps: list[Any] = [None] * len(words)
        if hypothesis.weights is not None:
            side = math.isqrt(hypothesis.weights.shape[1])
            maps = hypothesis.weights.view(-1, side, side).tolist()
        return RankedCaption(
            join(words),
            hypothesis.log_prob,
            [
                Word(word, math.exp(log_prob), weights)
                for word, log_prob, weights in zip(
                    words, hypothesis.token_log_probs[: len(words)], maps, strict=True
                )
            ],
            hypothesis.finished,
        )


def captioner_of(bundle: Bundle) -> Captioner:
    """The bundle's model with its weights, as trained: for inference and for training on."""
    arguments = bundle.model
    check_keys(bundle, "model", Captioner, arguments)
    check_keys(bundle, "model.encoder", ResNetEncoder, arguments["encoder"])
    own = ("vocabulary_size", "feature_size")  # Captioner's to give
    check_keys(bundle, "model.decoder", Decoder, arguments["decoder"], given=own)
    check_vocabulary_size(bundle)
    model = build(bundle, "model", Captioner, arguments)
    bundle.load_into(model)
    return model.eval()


def _groups(options: Sequence[CaptionOptions]) -> list[tuple[list[int], CaptionOptions]]:
    """Rows that can be searched together, with the options they share."""
    groups: dict[Any, list[int]] = {}
    for row, choice in enumerate(options):
        key = choice.batch_key()
        groups.setdefault(("alone", row) if key is None else key, []).append(row)
    return [(rows, options[rows[0]]) for rows in groups.values()]
