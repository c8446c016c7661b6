"""``POST /caption``: a photo in, its captions out."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.deadline import TIMEOUT_PARAMETER, deadline_of
from serving.endpoint import Endpoint
from serving.hosting import Hosted
from serving.multipart import FileField
from serving.options import Option, pairs_of, read_options
from serving.responses import json_bytes, json_response
from serving.runtime import Runtime
from serving.upload import read_upload, unless_gone

# The ranges of captioner.tasks.options, which is not imported here: it brings torch, and the
# supervisor process needs none. A test holds the two together.
OPTIONS = (
    Option("n", "integer", "Captions to return, best first.", 1, 8, 1),
    Option("num_beams", "integer", "Hypotheses kept at each word; not below n.", 1, 8),
    Option("temperature", "number", "0 searches for the best; above 0 samples.", 0, 2, 0),
    Option("top_k", "integer", "Sample among so many words; 0 is all of them.", 0, 1000, 0),
    Option("top_p", "number", "Sample among the likeliest that reach this share.", 0.01, 1, 1),
    Option("seed", "integer", "Makes sampling repeatable.", 0, 2**63 - 1),
    Option("max_tokens", "integer", "The longest caption, in words.", 1, 64),
    Option("attention", "boolean", "Adds each word's grid of weights.", default=False),
)
PHOTO = FileField("image", "photo.jpg", "image/jpeg", frozenset(option.name for option in OPTIONS))


async def caption(request: Request, runtime: Runtime) -> Response:
    """Read, decode, wait for the model, answer; the photo's bytes are let go once decoded."""
    from captioner.tasks.options import CaptionOptions

    query = pairs_of(request.scope["query_string"], max_pairs=runtime.settings.max_parts)
    model = runtime.models["caption"]
    with runtime.budget.reserve() as take:
        photo, fields = await read_upload(request, take, runtime.limits, PHOTO)
        options = CaptionOptions(**read_options([*query, *fields], OPTIONS))
        options.check()
        began = time.perf_counter()
        deadline = deadline_of(request, runtime.settings)
        prepared = await unless_gone(
            request.receive, runtime.decode(model.task.prepare, photo, deadline=deadline)
        )
        del photo
    answer = await unless_gone(
        request.receive,
        model.submit((prepared, options), key=options.batch_key(), deadline=deadline),
    )
    body = answer.value.to_dict()
    timing = body["timing_ms"]
    timing["queue"] = round(1000 * answer.queue_s, 2)
    timing["total"] = round(1000 * (time.perf_counter() - began), 2)
    request.scope["captioner"].timing_ms = timing
    return json_response(body)


def run(task: Any, items: Sequence[Any]) -> Sequence[Any]:
    """One batch of (prepared photo, options)."""
    prepared, options = zip(*items, strict=True)
    results: Sequence[Any] = task.caption(list(prepared), list(options))
    return results


def warm_up(task: Any, size: int) -> None:
    """Caption ``size`` made-up photos, from JPEG bytes to words, as a request would."""
    from PIL import Image

    from captioner.tasks.options import CaptionOptions

    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(buffer, "JPEG")
    prepared = task.prepare(buffer.getvalue())
    results = task.caption([prepared] * size, [CaptionOptions()] * size)
    if len(results) != size:
        raise RuntimeError(f"the warm-up gave {len(results)} captions for {size} photos")
    json_bytes(results[0].to_dict())  # refuses a model whose numbers are NaN


_WORD = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "probability": {"type": "number", "minimum": 0, "maximum": 1.0001},
        "weights": {
            "type": "array",
            "description": "With attention: where the network looked, row by row.",
            "items": {"type": "array", "items": {"type": "number"}},
        },
    },
    "required": ["text", "probability"],
}
_RESULT = {
    "type": "object",
    "properties": {
        "caption": {"type": "string", "description": "The best caption."},
        "captions": {
            "type": "array",
            "minItems": 1,
            "description": "The n best, best first.",
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "log_prob": {
                        "type": "number",
                        "description": "Sum over the words and the end token, in nats.",
                    },
                    "words": {"type": "array", "items": _WORD},
                },
                "required": ["text", "log_prob", "words"],
            },
        },
        "confidence": {
            "type": "number",
            "minimum": 0,
            "maximum": 1.0001,
            "description": "exp of the mean log-probability of a word.",
        },
        "model": {"type": "string", "description": "name@version"},
        "image": {
            "type": "object",
            "properties": {
                "width": {"type": "integer"},
                "height": {"type": "integer"},
                "format": {"type": "string"},
                "seen": {
                    "type": "array",
                    "description": "With attention: the part of the photo that the network sees "
                    "and that the grids lie over; left, top, right, bottom, as shares of it.",
                    "items": {"type": "number", "minimum": 0, "maximum": 1},
                    "minItems": 4,
                    "maxItems": 4,
                },
            },
        },
        "timing_ms": {"type": "object", "additionalProperties": {"type": "number"}},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["caption", "captions", "confidence", "model", "timing_ms", "warnings"],
}
_FILE = {"type": "string", "format": "binary"}

CAPTION = Endpoint(
    method="POST",
    path="/caption",
    handler=caption,
    hosted=Hosted("caption", warm_up, run),
    summary="Caption a photo",
    description=(
        "The photo is the body itself (options in the query) or the form's one file `image` "
        "(options in the query or as fields). JPEG, PNG, WebP, GIF and BMP are told by their "
        "bytes; a URL or a path is never opened."
    ),
    options=OPTIONS,
    parameters=(TIMEOUT_PARAMETER,),
    request_body={
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        PHOTO.name: _FILE,
                        **{option.name: option.schema() for option in OPTIONS},
                    },
                    "required": [PHOTO.name],
                    "additionalProperties": False,
                },
                "encoding": {PHOTO.name: {"contentType": "image/*, application/octet-stream"}},
            },
            "image/*": {"schema": _FILE},
            "application/octet-stream": {"schema": _FILE},
        },
    },
    answers={200: {"application/json": _RESULT}},
    errors=(
        "missing_field", "empty_file", "not_a_file", "too_many_files", "invalid_multipart",
        "unsupported_image_format", "invalid_image", "image_too_large", "image_too_small",
        "invalid_input",
    ),
)  # fmt: skip
