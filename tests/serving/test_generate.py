"""``POST /generate``: whole answers, streams, and what is refused."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

LEARNT = "\nBut soft, what light?\n\nJULIET:\nAy me!\n\n"
GREEDY = {"prompt": "ROMEO:", "temperature": 0, "max_tokens": 40}


@pytest.fixture(scope="module")
def small(kit, bundles: Path):
    """A service that writes one text at a time; one more may wait."""
    settings = kit.load_from(bundles) | {"generate_streams": 1, "generate_queue": 1}
    with kit.running(**settings, endpoints=kit.only("/generate", "/metrics")) as service:
        yield service


def post(service, *, body: bytes | None = None, headers=None, **more) -> httpx.Response:
    content = json.dumps(more).encode() if body is None else body
    with service.client() as client:
        return client.post(
            "/generate",
            content=content,
            headers={"Content-Type": "application/json"} | (headers or {}),
        )


def told(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert error["message"].isprintable()
    return answer.status_code, error["code"]


def events(text: str) -> list[Any]:
    """The data of server-sent events, an error's with its name."""
    found = []
    for block in text.split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        *name, data = block.split("\n")
        value = data.removeprefix("data: ")
        found.append((name[0], json.loads(value)) if name else value)
    return found


def test_a_text_goes_on(service) -> None:
    answer = post(service, **GREEDY)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["text"] == LEARNT[:40]
    assert body["log_prob"] < 0
    assert body["finish_reason"] == "length"
    assert body["usage"] == {"prompt_tokens": 6, "completion_tokens": 40}
    assert body["model"] == "generate@0"
    assert set(body["timing_ms"]) == {"prompt", "queue", "total"}


def test_a_stream_says_the_same_character_by_character(service) -> None:
    options = {"prompt": "R", "temperature": 1.5, "seed": 7, "max_tokens": 50}
    whole = post(service, **options).json()
    answer = post(service, **options, stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no"
    *deltas, end, done = events(answer.text)
    assert done == "[DONE]"
    deltas = [json.loads(delta) for delta in deltas]
    assert "".join(delta["delta"] for delta in deltas) == whole["text"]
    assert all(len(delta["delta"]) == 1 for delta in deltas)
    total = sum(delta["log_prob"] for delta in deltas)
    assert total == pytest.approx(whole["log_prob"], abs=0.01)
    end = json.loads(end)
    assert (end["finish_reason"], end["usage"]) == (whole["finish_reason"], whole["usage"])


def test_accept_asks_for_a_stream_too(service) -> None:
    answer = post(service, **GREEDY, headers={"Accept": "text/event-stream"})
    assert events(answer.text)[-1] == "[DONE]"
    answer = post(service, **GREEDY, stream=False, headers={"Accept": "text/event-stream, */*"})
    assert answer.json()["text"]


def test_a_stop_ends_it(service) -> None:
    for stop in ("JULIET", ["x", "JULIET"]):
        body = post(service, **GREEDY, stop=stop).json()
        assert body["text"] == LEARNT[: LEARNT.index("JULIET")]
        assert body["finish_reason"] == "stop"
    streamed = events(post(service, **GREEDY, stop="JULIET", stream=True).text)
    assert "J" not in "".join(json.loads(one).get("delta", "") for one in streamed[:-1])


def test_units_are_watched_on_request(service) -> None:
    body = post(service, **GREEDY, units=["c1.3", "h1.0"]).json()
    assert body["text"] == LEARNT[:40]
    assert {name: len(values) for name, values in body["units"].items()} == {"c1.3": 40, "h1.0": 40}
    streamed = events(post(service, **GREEDY, units=["c1.3"], stream=True).text)
    first = json.loads(streamed[0])
    assert first["units"] == {"c1.3": body["units"]["c1.3"][0]}
    assert "units" not in post(service, **GREEDY).json()


def test_without_anything_it_begins_by_itself(service) -> None:
    body = post(service).json()
    assert body["usage"] == {"prompt_tokens": 0, "completion_tokens": 400}


def test_models_are_chosen_by_name(service) -> None:
    body = post(service, **GREEDY, model="generate-another").json()
    assert body["model"] == "generate-another@0"
    with service.client() as client:
        models = client.get("/models").json()["models"]
    names = [model["name"] for model in models if model["task"] == "generate"]
    assert names == ["generate", "generate-another"]


def test_the_first_character_comes_before_the_last(service) -> None:
    with (
        service.client() as client,
        client.stream(
            "POST", "/generate", json={"prompt": "R", "max_tokens": 20_000, "stream": True}
        ) as answer,
    ):
        began = time.monotonic()
        first = next(answer.iter_text())
        assert first.startswith('data: {"delta":')
        assert "[DONE]" not in first
        assert time.monotonic() - began < 30


# ---- what is refused


def raw(**more) -> bytes:
    return json.dumps({"prompt": "ROMEO:", "max_tokens": 5} | more).encode()


BAD = {
    "a megabyte": (413, "text_too_long", raw(prompt="R" * 10**6)),
    "more than a body may have": (413, "payload_too_large", raw(prompt="R" * 2 * 10**6)),
    "5001 characters": (413, "text_too_long", raw(prompt="R" * 5001)),
    "a list": (422, "invalid_option", raw(prompt=["R"] * 100_000)),
    "null": (422, "invalid_option", raw(prompt=None)),
    "control characters": (422, "unknown_characters", raw(prompt="a\x00\x1b")),
    "emoji": (422, "unknown_characters", raw(prompt="ROMEO 😀")),
    "right to left": (422, "unknown_characters", raw(prompt="שלום")),
    "an unpaired surrogate": (400, "invalid_json", b'{"prompt": "\\udfff"}'),
    "a negative max_tokens": (422, "invalid_option", raw(max_tokens=-1)),
    "max_tokens 0": (422, "invalid_option", raw(max_tokens=0)),
    "a huge max_tokens": (422, "invalid_option", raw(max_tokens=10**12)),
    "a fraction": (422, "invalid_option", raw(max_tokens=1.5)),
    "temperature -1": (422, "invalid_option", raw(temperature=-1)),
    "temperature NaN": (422, "invalid_option", raw(temperature=float("nan"))),
    "temperature 1e999": (422, "invalid_option", b'{"temperature": 1e999}'),
    "temperature 3": (422, "invalid_option", raw(temperature=3)),
    "temperature as text": (422, "invalid_option", raw(temperature="0.5")),
    "temperature null": (422, "invalid_option", raw(temperature=None)),
    "a seed for the likeliest": (422, "invalid_option", raw(temperature=0, seed=1)),
    "top_p 0": (422, "invalid_option", raw(top_p=0)),
    "top_k -1": (422, "invalid_option", raw(top_k=-1)),
    "stream as text": (422, "invalid_option", raw(stream="yes")),
    "five stops": (422, "invalid_option", raw(stop=["a"] * 5)),
    "an empty stop": (422, "invalid_option", raw(stop="")),
    "a stop of a number": (422, "invalid_option", raw(stop=[1])),
    "a stop without end": (422, "invalid_option", raw(stop="a" * 101)),
    "a unit that is not there": (422, "invalid_option", raw(units=["c9.0"])),
    "a unit of another name": (422, "invalid_option", raw(units=["<b>"])),
    "units as a text": (422, "invalid_option", raw(units="c1.0")),
    "seventeen units": (422, "invalid_option", raw(units=["c1.0"] * 17)),
    "stop null": (422, "invalid_option", raw(stop=None)),
    "a model that is not there": (422, "unknown_model", raw(model="pushkin")),
    "a model that is a path": (422, "invalid_option", raw(model="../../etc/passwd")),
    "an unknown key": (400, "unknown_field", raw(n=2)),
    "a key twice": (400, "duplicate_field", b'{"seed": 1, "seed": 2}'),
    "no object": (400, "invalid_json", b'"ROMEO:"'),
    "nothing": (400, "empty_body", b""),
}


@pytest.mark.parametrize(("status", "code", "body"), BAD.values(), ids=BAD)
def test_bad_requests_are_told_why(service, status: int, code: str, body: bytes) -> None:
    assert told(post(service, body=body)) == (status, code)


def test_a_stream_is_refused_as_a_whole_answer_is(service) -> None:
    answer = post(service, prompt="😀", stream=True)
    assert told(answer) == (422, "unknown_characters")
    assert answer.headers["content-type"] == "application/json"


# ---- many, slow, gone


def writing(small) -> int:
    return small.runtime.models["generate"].streams._taken


LONG = {"prompt": "ROMEO:", "max_tokens": 20_000, "stream": True}


def test_a_client_that_leaves_ends_the_work(kit, small) -> None:
    for options in (LONG, LONG | {"stream": False}):
        kit.wait_until(lambda: not writing(small))
        with small.connection() as connection:
            body = json.dumps(options).encode()
            connection.sendall(
                b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            kit.wait_until(lambda: writing(small))
        kit.wait_until(lambda: not writing(small), 10)
    with small.client() as client:
        counted = client.get("/metrics").text
    assert 'captioner_items_lost_total{reason="cancelled",task="generate"} 2.0' in counted


def test_more_than_there_are_places_wait_and_more_than_that_are_refused(kit, small) -> None:
    kit.wait_until(lambda: not writing(small))
    model = small.runtime.models["generate"]
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        client = stack.enter_context(small.client())
        first = stack.enter_context(client.stream("POST", "/generate", json=LONG))
        assert first.status_code == 200
        second = pool.submit(post, small, **GREEDY)
        kit.wait_until(lambda: model.waiting == 1)
        third = post(small, **GREEDY)
        assert told(third) == (429, "overloaded")
        assert 1 <= int(third.headers["retry-after"]) <= 60
        assert "video" not in third.text
        first.close()
        assert second.result().json()["text"] == LEARNT[:40]


def test_waiting_has_an_end(kit, small) -> None:
    kit.wait_until(lambda: not writing(small))
    with small.client() as client, client.stream("POST", "/generate", json=LONG):
        answer = post(small, **GREEDY, headers={"X-Timeout-Ms": "200"})
        assert told(answer) == (503, "deadline_exceeded")
        assert "retry-after" in answer.headers


def test_time_that_is_up_on_the_way_is_an_error_event(kit, small) -> None:
    kit.wait_until(lambda: not writing(small))
    answer = post(small, **LONG, headers={"X-Timeout-Ms": "400"})
    assert answer.status_code == 200
    *deltas, (name, last) = events(answer.text)
    assert "delta" in json.loads(deltas[0])
    assert name == "event: error"
    assert last["error"]["code"] == "deadline_exceeded"
    assert last["error"]["request_id"] == answer.headers["x-request-id"]
    whole = post(small, **LONG | {"stream": False}, headers={"X-Timeout-Ms": "400"})
    assert told(whole) == (503, "deadline_exceeded")


def test_a_model_that_breaks_on_the_way_is_an_error_event(kit, small, monkeypatch) -> None:
    """The library refuses numbers that are not finite; nothing of that is told."""
    kit.wait_until(lambda: not writing(small))
    model = small.runtime.models["generate"].task.generator()._model
    right, steps = model.advance, []

    def breaks(tokens, state):
        logits, state = right(tokens, state)
        steps.append(1)
        return (logits * float("nan") if len(steps) > 30 else logits), state

    monkeypatch.setattr(model, "advance", breaks)
    answer = post(small, **GREEDY | {"max_tokens": 20_000}, stream=True)
    *deltas, (name, last) = events(answer.text)
    assert len(deltas) < 40
    assert name == "event: error"
    assert last["error"]["code"] == "internal"
    assert "[DONE]" not in answer.text
    steps.clear()
    assert told(post(small, **GREEDY))[0] == 500
    monkeypatch.undo()
    assert post(small, **GREEDY).json()["text"] == LEARNT[:40]


def test_characters_are_counted(kit, small) -> None:
    def counted() -> float:
        with small.client() as client:
            lines = client.get("/metrics").text.splitlines()
        (line,) = [x for x in lines if x.startswith("captioner_characters_generated_total")]
        assert 'task="generate"' in line
        return float(line.split()[-1])

    kit.wait_until(lambda: not writing(small))
    before = counted()
    post(small, **GREEDY)
    kit.wait_until(lambda: counted() == before + 40)
