"""``POST /translate``: a text or a list of texts in, their translations out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.deadline import TIMEOUT_PARAMETER, deadline_of
from serving.endpoint import Endpoint
from serving.hosting import Hosted, HostedModel, entry
from serving.options import Option
from serving.responses import RequestError, json_bytes, json_response
from serving.runtime import Runtime
from serving.settings import Settings
from serving.text_request import (
    NAME,
    TEXT_ERRORS,
    described,
    name_of,
    options_of,
    read_object,
    request_body,
    shown,
    text_of,
)
from serving.upload import unless_gone

# The ranges of captioner.tasks.translate_options; see serving/endpoints/caption.py.
OPTIONS = (
    Option("n", "integer", "Translations of each text: the best, and alternatives.", 1, 8, 1),
    Option("num_beams", "integer", "Hypotheses kept at each piece; not below n.", 1, 16),
    Option("max_tokens", "integer", "Pieces of words a sentence has at most.", 1, 200),
    Option("attention", "boolean", "Adds where the model looked.", default=False),
)
NAMES = frozenset({"text", "source", "target"} | {option.name for option in OPTIONS})
# Sentences of one request that are computed together: others get their turn in between.
SHARE = 32


async def translate(request: Request, runtime: Runtime) -> Response:
    """Read, cut, wait for the model as often as the texts are long, join, answer."""
    from captioner.tasks.translate_options import TranslateOptions

    model, settings = runtime.models["translate"], runtime.settings
    given = await read_object(request, runtime, NAMES)
    options = TranslateOptions(**options_of(given, OPTIONS)).check()
    texts = _texts(given, settings, attention=options.attention)
    translator = model.task.translator(name_of(given, "source"), name_of(given, "target"))
    began = time.perf_counter()
    deadline = deadline_of(request, settings)
    timing = {"queue": 0.0, "model": 0.0}

    async def work() -> list[Any]:
        prepared = await runtime.decode(_prepare, translator, texts, deadline=deadline)
        found = await _search(model, translator, prepared, options, timing, deadline)
        joined: list[Any] = await runtime.decode(
            _join, translator, prepared, found, options, deadline=deadline
        )
        return joined

    translations = await unless_gone(request.receive, work())
    timing["total"] = 1000 * (time.perf_counter() - began)
    body = {
        "translations": translations,
        "source": translator.source,
        "target": translator.target,
        "model": translator.model,
        "timing_ms": {name: round(value, 2) for name, value in timing.items()},
    }
    request.scope["captioner"].timing_ms = body["timing_ms"]
    return json_response(body)


def _texts(given: dict[str, Any], settings: Settings, *, attention: bool) -> list[str]:
    value, longest = given.get("text"), settings.max_text_characters
    if isinstance(value, list):
        if len(value) > settings.max_texts:
            raise RequestError(
                "text_too_long",
                f"text has {len(value)} texts; it can have {settings.max_texts}.",
                hint="Send the rest in further requests.",
            )
        texts = [text_of(f"text {number}", one, longest) for number, one in enumerate(value, 1)]
    elif "text" in given:
        texts = [text_of("text", value, longest)]
    else:
        raise RequestError("invalid_option", "there is no text.", hint='Send {"text": "…"}.')
    if not any(text.strip() for text in texts):
        raise RequestError("empty_text", f"text is {shown(value)}: there is nothing to translate.")
    if attention and sum(map(len, texts)) > longest:
        raise RequestError(
            "text_too_long",
            f"with attention all texts together can have {longest} characters.",
        )
    return texts


def _prepare(translator: Any, texts: Sequence[str]) -> list[Any]:
    return [translator.prepare(text) for text in texts]


async def _search(
    model: HostedModel,
    translator: Any,
    prepared: Sequence[Any],
    options: Any,
    timing: dict[str, float],
    deadline: float,
) -> list[Any]:
    """What is found for each part of each text, a share of them at a time."""
    parts = [part for text in prepared for part in text.parts]
    found: list[Any] = [[] for _ in parts]
    order = sorted((i for i, part in enumerate(parts) if part), key=lambda i: -len(parts[i]))
    key = (translator.model, *vars(options).values())
    for first in range(0, len(order), SHARE):
        rows = order[first : first + SHARE]
        item = (translator, [parts[row] for row in rows], options)
        answer = await model.submit(item, key=key, deadline=deadline)
        for row, best in zip(rows, answer.value, strict=True):
            found[row] = best
        timing["queue"] += 1000 * answer.queue_s
        timing["model"] += 1000 * answer.model_s
    return found


def _join(
    translator: Any, prepared: Sequence[Any], found: Sequence[Any], options: Any
) -> list[dict[str, Any]]:
    rest = iter(found)
    return [
        translator.join(text, [next(rest) for _ in text.parts], options).to_dict()
        for text in prepared
    ]


def run(task: Any, items: Sequence[Any]) -> Sequence[Any]:
    """One batch of (translator, parts, options), the first and the last the same for all."""
    translator, _, options = items[0]
    found = iter(translator.search([part for _, parts, _ in items for part in parts], options))
    return [[next(found) for _ in parts] for _, parts, _ in items]


def warm_up(task: Any, size: int) -> None:
    """Translate ``size`` made-up texts with each model, from text to JSON, as a request would."""
    from captioner.tasks.translate_options import TranslateOptions

    for translator in task.translators.values():
        results = task.translate(translator, ["abc d."] * size, TranslateOptions())
        if len(results) != size:
            raise RuntimeError(f"the warm-up gave {len(results)} translations for {size} texts")
        json_bytes(results[0].to_dict())  # refuses a model whose numbers are NaN


def entries(task: Any) -> list[dict[str, Any]]:
    """Every pair of languages in ``GET /models``."""
    return [
        entry(translator, source=translator.source, target=translator.target)
        for translator in task.translators.values()
    ]


_LANGUAGE = {"type": "string", "pattern": f"^{NAME}$"}
_LOG_PROB = {"type": "number", "description": "Sum over pieces and ends of sentences, in nats."}
_RESULT = {
    "type": "object",
    "properties": {
        "translations": {
            "type": "array",
            "description": "One for each text, in their order; of a blank one, blank.",
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "log_prob": _LOG_PROB,
                    "alternatives": {
                        "type": "array",
                        "description": "The n - 1 next best, the best first.",
                        "items": {
                            "type": "object",
                            "properties": {"text": {"type": "string"}, "log_prob": _LOG_PROB},
                            "required": ["text", "log_prob"],
                        },
                    },
                    "attention": {
                        "type": "array",
                        "description": "With attention, for each sentence, or part of a long one: "
                        "how much the model looked at source piece i for target piece j.",
                        "items": {
                            "type": "object",
                            "properties": {
                                "source": {"type": "array", "items": {"type": "string"}},
                                "target": {"type": "array", "items": {"type": "string"}},
                                "weights": {
                                    "type": "array",
                                    "description": "A row for each source piece.",
                                    "items": {"type": "array", "items": {"type": "number"}},
                                },
                            },
                            "required": ["source", "target", "weights"],
                        },
                    },
                    "warnings": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["text", "log_prob", "alternatives", "warnings"],
            },
        },
        "source": {"type": "string"},
        "target": {"type": "string"},
        "model": {"type": "string", "description": "name@version"},
        "timing_ms": {"type": "object", "additionalProperties": {"type": "number"}},
    },
    "required": ["translations", "source", "target", "model", "timing_ms"],
}

TRANSLATE = Endpoint(
    method="POST",
    path="/translate",
    handler=translate,
    hosted=Hosted("translate", warm_up, run, entries=entries),
    summary="Translate texts",
    description=(
        "A text, or a list of texts that are translated together, from `source` to `target`; "
        "either may be left out where one model only fits. `GET /models` lists the pairs. Lines "
        "stay lines; each sentence is translated by itself. `info.x-limits` says how long texts "
        "may be."
    ),
    parameters=(TIMEOUT_PARAMETER,),
    request_body=request_body(
        {
            "text": {
                "oneOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "items": {"type": "string"}, "minItems": 1},
                ]
            },
            "source": _LANGUAGE,
            "target": _LANGUAGE,
            **described(OPTIONS),
        },
        required=("text",),
    ),
    answers={200: {"application/json": _RESULT}},
    errors=(
        *TEXT_ERRORS, "empty_text", "invalid_text", "unsupported_language_pair",
    ),
)  # fmt: skip
