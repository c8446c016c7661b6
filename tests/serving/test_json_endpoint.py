"""An endpoint of another task, as a later one will be written: one object in the table.

It takes JSON, so the rows on JSON of the list of bad requests are here.
"""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response

from serving.endpoint import Endpoint
from serving.endpoints import ENDPOINTS
from serving.json_body import read_json
from serving.options import Option
from serving.responses import RequestError, json_response
from serving.runtime import Runtime
from serving.upload import read_bytes

COUNT = Option("count", "integer", "", 1, 5)
SCALE = Option("scale", "number", "", 0, 2)


async def repeat(request: Request, runtime: Runtime) -> Response:
    with runtime.budget.reserve() as take:
        body = await read_bytes(request, take, runtime.limits, media_type="application/json")
    given = read_json(body, names=frozenset({"text", "count", "scale"}))
    if not isinstance(given.get("text"), str):
        raise RequestError("invalid_option", "text is missing or no text.")
    count = COUNT.check(given.get("count", 1))
    scale = SCALE.check(given.get("scale", 1))
    return json_response({"text": given["text"] * count, "scale": scale})


REPEAT = Endpoint(
    method="POST",
    path="/repeat",
    handler=repeat,
    summary="Repeat a text",
    request_body={"content": {"application/json": {"schema": {"type": "object"}}}},
    answers={200: {"application/json": {"type": "object"}}},
    errors=("invalid_json", "invalid_option", "duplicate_field"),
)


@pytest.fixture(scope="module")
def repeating(kit):
    with kit.running(endpoints=(*ENDPOINTS, REPEAT)) as service:
        yield service


def post(service, body: bytes, kind: str = "application/json"):
    with service.client() as client:
        return client.post("/repeat", content=body, headers={"Content-Type": kind})


def test_it_answers(repeating) -> None:
    answer = post(repeating, b'{"text": "null", "count": 2}', "Application/JSON; charset=utf-8")
    assert answer.json() == {"text": "nullnull", "scale": 1}
    assert post(repeating, '{"text": "한\\u00e9"}'.encode()).json()["text"] == "한é"


def test_it_is_in_the_document(repeating) -> None:
    with repeating.client() as client:
        operation = client.get("/docs.json").json()["paths"]["/repeat"]["post"]
    assert {"200", "400", "413", "415", "422"} <= set(operation["responses"])


DEEP = b"[" * 30_000


@pytest.mark.parametrize(
    ("status", "code", "body"),
    [
        pytest.param(400, "invalid_json", b'{"text": ', id="15-broken"),
        pytest.param(422, "invalid_option", b"{}", id="15-empty-object"),
        pytest.param(400, "invalid_json", b"[1]", id="15-no-object"),
        pytest.param(400, "empty_body", b"", id="15-empty-body"),
        pytest.param(413, "payload_too_large", b'"' + bytes(2**20), id="27-too-large"),
        pytest.param(422, "invalid_option", b'{"text":"a","count":"3"}', id="41-string-number"),
        pytest.param(422, "invalid_option", b'{"text":"a","count":true}', id="41-true"),
        pytest.param(422, "invalid_option", b'{"text":"a","count":1.0}', id="41-fraction"),
        pytest.param(422, "invalid_option", b'{"text":"a","scale":NaN}', id="42-nan"),
        pytest.param(422, "invalid_option", b'{"text":"a","scale":1e999}', id="42-1e999"),
        pytest.param(422, "invalid_option", b'{"text":"a","scale":"nan"}', id="42-nan-string"),
        pytest.param(422, "invalid_option", b'{"text":"a","count":1' + b"0" * 50 + b"}",
                     id="42-51-digits"),
        pytest.param(400, "invalid_json", b'{"text":"a","count":1' + b"0" * 5000 + b"}",
                     id="42-5001-digits"),
        pytest.param(400, "invalid_json", b'{"text":"\xff"}', id="44-bad-utf8"),
        pytest.param(400, "invalid_json", b'{"text":"\\ud800"}', id="44-lone-surrogate"),
        pytest.param(400, "invalid_json", b'\xef\xbb\xbf{"text":"a"}', id="44-byte-order-mark"),
        pytest.param(400, "invalid_json", '{"text":"a"}'.encode("utf-16"), id="44-utf-16"),
        pytest.param(400, "invalid_json", DEEP, id="44-nesting"),
        pytest.param(400, "duplicate_field", b'{"text":"a","text":"b"}', id="45-duplicate"),
        pytest.param(400, "duplicate_field", b'{"text":{"a":1,"a":2}}', id="45-duplicate-inside"),
        pytest.param(400, "unknown_field", b'{"text":"a","more":1}', id="45-unknown"),
    ],
)  # fmt: skip
def test_bad_json(repeating, status: int, code: str, body: bytes) -> None:
    answer = post(repeating, body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["message"].isprintable()


def test_another_type_is_refused(repeating) -> None:
    for kind in ("image/jpeg", "text/json", "application/x-www-form-urlencoded", ""):
        assert post(repeating, b"{}", kind).status_code == 415
