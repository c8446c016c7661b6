"""Texts that go on from a prompt, character by character."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from captioner.bundle import Bundle
from captioner.errors import BundleError, DataError, UnknownModel
from captioner.explain.units.recording import locate, watch
from captioner.models.char_language_model import CharLanguageModel
from captioner.recurrent import State
from captioner.search import SearchOptions, TokenStream
from captioner.tasks.description import build, check_keys, wrong
from captioner.tasks.generate_options import (
    Delta,
    FinishReason,
    GenerateOptions,
    Generation,
    GenerationEnd,
)
from captioner.tasks.named_options import named_options
from captioner.text.characters import Characters

# Where a bundle says nothing: at 1 a model's every slip is said, at 0 it goes round in circles.
DECODING = {"temperature": 0.8, "max_tokens": 400}
PROMPT_CHUNK = 256  # characters of a prompt that are read at once


class CharGenerator:
    """One bundle. :meth:`stream` may be called, and its streams read, in many threads."""

    def __init__(self, bundle: Bundle, *, device: str = "cpu") -> None:
        self.bundle = bundle
        self.name, self.version = bundle.name, bundle.version
        self.model = f"{bundle.name}@{bundle.version}"
        self.card, self.metrics = bundle.card, bundle.metrics
        self.characters = characters_of(bundle)
        self.device = torch.device(device)
        self._search = build(bundle, "decoding", SearchOptions, DECODING | bundle.decoding)
        model = char_language_model_of(bundle, self.characters)
        self._model = model.requires_grad_(False).to(self.device).frozen()
        self.cell = self._model.cell

    def stream(
        self,
        prompt: str = "",
        options: GenerateOptions = GenerateOptions(),  # noqa: B008
        *,
        state: State | None = None,
    ) -> GenerationStream:
        """What follows ``prompt``, each character when it is asked for.

        Without a prompt the text begins as if after a line feed. ``state``: of the stream that this
        one goes on from (:attr:`GenerationStream.state`). Raises
        :class:`~captioner.errors.UnknownCharacters` for a prompt that the model cannot read.
        """
        options.check()
        ids = self.characters.encode(prompt)
        return GenerationStream(self, ids, options, state)

    def tokens(
        self, ids: Sequence[int], options: GenerateOptions, state: State | None
    ) -> TokenStream:
        """The model's own stream of numbers behind a prompt's."""
        chosen = self.search_options(options)
        ids = list(ids) or [self.characters.begin_id]
        with torch.inference_mode():
            while len(ids) > PROMPT_CHUNK:
                head = torch.tensor([ids[:PROMPT_CHUNK]], device=self.device)
                before = self._model.initial_state(1) if state is None else state
                _, state = self._model.read(head, before)
                ids = ids[PROMPT_CHUNK:]
        return TokenStream(self._model, ids, chosen, state=state)

    def search_options(self, options: GenerateOptions) -> SearchOptions:
        """The bundle's sampling, changed by what was asked for."""
        changed: dict[str, Any] = {"seed": options.seed}
        for name in ("max_tokens", "temperature"):
            if (value := getattr(options, name)) is not None:
                changed[name] = value
        if options.top_k or options.top_p < 1 or options.temperature == 0:
            changed |= {"top_k": options.top_k, "top_p": options.top_p}
        return replace(self._search, **changed)


class GenerationStream(Iterator[Delta]):
    """The characters of one text as they are asked for; :attr:`end` once there are no more."""

    def __init__(
        self,
        generator: CharGenerator,
        prompt: Sequence[int],
        options: GenerateOptions,
        state: State | None,
    ) -> None:
        self._began = time.perf_counter()
        self._characters = generator.characters
        self._model = generator.model
        self._prompt = len(prompt)
        self._said = 0
        self._stop = options.stop
        self._places = {name: locate(generator.cell, name) for name in options.units}
        self._held: list[Delta] = []  # may turn out to be the beginning of a stop
        self._ready: list[Delta] = []
        self._reason: FinishReason | None = None
        self._prompt_ms = 0.0
        self._begin: Callable[[], TokenStream] = partial(generator.tokens, prompt, options, state)
        self._tokens: TokenStream | None = None

    def __next__(self) -> Delta:
        while not self._ready:
            if self._reason is not None:
                raise StopIteration
            self._read()
        return self._ready.pop(0)

    @property
    def state(self) -> State:
        """What the text so far leaves: where another stream can go on from."""
        return self._running.state

    @property
    def end(self) -> GenerationEnd:
        """How it ended. Raises RuntimeError before it has."""
        if self._reason is None:
            raise RuntimeError("the text has not ended")
        timing = {"prompt": self._prompt_ms, "total": self._total_ms}
        return GenerationEnd(self._reason, self._prompt, self._said, self._model, timing)

    @property
    def _running(self) -> TokenStream:
        if self._tokens is None:  # the prompt is read when its first character is asked for
            self._tokens = self._begin()
        return self._tokens

    def _read(self) -> None:
        emitted = next(self._running, None)
        if not self._said:
            self._prompt_ms = self._since()
        if emitted is None:
            self._ready, self._held = self._held, []
            self._finish("length")
            return
        self._said += 1
        units = watch(self._running.state, self._places) if self._places else None
        self._held.append(Delta(self._characters[emitted.id], emitted.log_prob, units))
        held = "".join(delta.text for delta in self._held)
        for stop in self._stop:
            if held.endswith(stop):
                self._ready, self._held = self._held[: len(held) - len(stop)], []
                self._finish("stop")
                return
        kept = max((_overlap(held, stop) for stop in self._stop), default=0)
        free = len(held) - kept
        self._ready, self._held = self._held[:free], self._held[free:]

    def _finish(self, reason: FinishReason) -> None:
        self._reason, self._total_ms = reason, self._since()

    def _since(self) -> float:
        return (time.perf_counter() - self._began) * 1000


class GenerateTask:
    """Models of endless text, by name; the first one where none is named.

    ``problems``: bundles that could not be used, and why.
    """

    def __init__(
        self,
        bundles: Sequence[Bundle],
        *,
        device: str = "cpu",
        problems: Mapping[str, BundleError] | None = None,
    ) -> None:
        self.problems = dict(problems or {})
        self.generators: dict[str, CharGenerator] = {}
        for bundle in bundles:
            self.generators.setdefault(bundle.name, CharGenerator(bundle, device=device))
        self.model = ", ".join(generator.model for generator in self.generators.values())

    def __call__(self, prompt: str = "", *, model: str | None = None, **options: Any) -> Generation:
        """What follows ``prompt``. Options are those of :class:`GenerateOptions`."""
        stream = self.stream(prompt, model=model, **options)
        deltas = list(stream)
        return Generation.of(deltas, stream.end)

    def stream(
        self,
        prompt: str = "",
        *,
        model: str | None = None,
        state: State | None = None,
        **options: Any,
    ) -> GenerationStream:
        """The same, each character when it is asked for."""
        return self.generator(model).stream(
            prompt, named_options(GenerateOptions, options), state=state
        )

    def generator(self, model: str | None = None) -> CharGenerator:
        """The model of this name, or the first."""
        if model is None:
            return next(iter(self.generators.values()))
        if model not in self.generators:
            raise UnknownModel(
                f"There is no model {model!r} for texts.",
                hint=f"There are: {', '.join(self.generators)}.",
            )
        return self.generators[model]


def char_language_model_of(bundle: Bundle, characters: Characters) -> CharLanguageModel:
    """The bundle's model with its weights, as trained: for inference and for training on."""
    check_keys(bundle, "model", CharLanguageModel, bundle.model)
    size = bundle.model["vocabulary_size"]
    if size != len(characters):
        where = "model.vocabulary_size"
        raise wrong(bundle, where, f"is {size!r}, but characters.json has {len(characters)}")
    model = build(bundle, "model", CharLanguageModel, bundle.model)
    bundle.load_into(model)
    return model.eval()


def characters_of(bundle: Bundle) -> Characters:
    """The characters that a bundle's model knows."""
    try:
        return Characters.from_json(bundle.asset("characters.json"))
    except DataError as error:
        where = bundle.path / "characters.json"
        raise BundleError(f"{where} cannot be read: {error}") from None


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
