"""What the service knows of one endpoint: enough to route, guard and document it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.hosting import Hosted
from serving.options import Option
from serving.runtime import Runtime

Handler = Callable[[Request, Runtime], Awaitable[Response]]
EVERYWHERE = (
    "host_not_allowed", "unknown_field", "duplicate_field", "invalid_query", "too_many_parts",
    "method_not_allowed", "not_acceptable", "internal",
)  # fmt: skip
FOR_A_BODY = (
    "invalid_header", "empty_body", "payload_too_large", "request_timeout", "overloaded",
    "unsupported_media_type", "unsupported_content_encoding",
)  # fmt: skip
FOR_A_MODEL = (
    "model_not_available", "not_ready", "shutting_down", "overloaded", "deadline_exceeded",
)  # fmt: skip


@dataclass(frozen=True)
class Endpoint:
    """One method at one path.

    A new endpoint is one file in ``serving/endpoints`` with such an object, and its name in the
    table there. ``hosted`` names the task it needs: without its bundle the endpoint answers
    ``model_not_available`` and the rest of the service works on.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    description: str = ""
    hosted: Hosted | None = None
    produces: tuple[str, ...] = ("application/json",)
    """Media types of a 200; an Accept header that excludes all of them is a 406."""

    options: tuple[Option, ...] = ()
    """What the query string may hold; anything else in it is refused."""

    parameters: tuple[dict[str, Any], ...] = ()
    """OpenAPI's parameter objects besides the options, such as headers."""

    request_body: dict[str, Any] | None = None
    answers: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Status -> JSON Schema by media type, of what is not an error."""

    errors: tuple[str, ...] = ()
    """Error codes besides those that go with having a body or a model, or with every endpoint."""

    @property
    def all_errors(self) -> tuple[str, ...]:
        """Every error code that a request to this endpoint can meet."""
        codes = [*EVERYWHERE, *self.errors]
        codes += ("invalid_option",) if self.options else ()
        codes += FOR_A_BODY if self.request_body is not None else ()
        codes += FOR_A_MODEL if self.hosted is not None else ()
        return tuple(dict.fromkeys(codes))
