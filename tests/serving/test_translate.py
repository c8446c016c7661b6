"""``POST /translate``: what a client gets, and what it is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from captioner.errors import MissingBundle
from captioner.tasks import load


@pytest.fixture(scope="module")
def task(bundles: Path):
    folders = [str(path) for path in sorted(bundles.glob("translate*"))]
    return load("translate", model=folders)


def post(service, text=None, *, body: bytes | None = None, headers=None, **more) -> httpx.Response:
    content = body or json.dumps({"text": text, "source": "de", "target": "en"} | more).encode()
    with service.client() as client:
        return client.post(
            "/translate",
            content=content,
            headers={"Content-Type": "application/json"} | (headers or {}),
        )


def told(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert error["message"].isprintable()
    return answer.status_code, error["code"]


def test_a_text_is_translated(service, task) -> None:
    answer = post(service, "Ein Hund rennt.")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    wanted = task("Ein Hund rennt.", source="de", target="en")
    (found,) = body["translations"]
    assert found["text"] == wanted.text
    assert found["log_prob"] == pytest.approx(wanted.log_prob, abs=1e-3)
    assert found["alternatives"] == []
    assert "attention" not in found
    assert (body["source"], body["target"], body["model"]) == ("de", "en", "translate-de-en@0")
    assert set(body["timing_ms"]) == {"queue", "model", "total"}


def test_a_list_keeps_its_order_and_its_blank_ones(service, task) -> None:
    texts = ["Ein Hund.", "", "Zwei Männer im Schnee rennen.", " \n", "x"]
    found = post(service, texts, num_beams=1).json()["translations"]
    wanted = task(texts, source="de", num_beams=1)
    assert [each["text"] for each in found] == [each.text for each in wanted]
    assert found[1]["text"] == ""


def test_alternatives_and_attention_are_there_when_asked_for(service) -> None:
    (found,) = post(service, "Ein Hund.", n=3, attention=True).json()["translations"]
    assert len(found["alternatives"]) == 2
    (attention,) = found["attention"]
    assert attention["source"][-1] == "<end>"
    assert len(attention["weights"]) == len(attention["source"])
    assert {len(row) for row in attention["weights"]} == {len(attention["target"])}


def test_a_language_may_be_left_out_where_one_pair_fits(service) -> None:
    with service.client() as client:
        answer = client.post("/translate", json={"text": "A dog.", "source": "en"})
        assert answer.json()["model"] == "translate-en-de@0"
        answer = client.post("/translate", json={"text": "A dog."})
        assert told(answer) == (422, "unsupported_language_pair")


def test_the_models_say_their_pairs(service) -> None:
    with service.client() as client:
        models = client.get("/models").json()["models"]
    pairs = [(m["name"], m["source"], m["target"]) for m in models if m["task"] == "translate"]
    assert pairs == [("translate-de-en", "de", "en"), ("translate-en-de", "en", "de")]
    assert {m["state"] for m in models} == {"ready"}


def test_many_at_a_time_get_their_own(service, task) -> None:
    texts = [f"Hund {number % 5} {'x ' * (number % 3)}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: post(service, text, num_beams=1), texts))
    wanted = task(texts, source="de", num_beams=1)
    found = [answer.json()["translations"][0]["text"] for answer in answers]
    assert found == [each.text for each in wanted]


def test_a_long_text_takes_turns_with_others(service) -> None:
    """Its sentences are computed a share at a time; whoever comes in between need not wait."""
    long = "Ein Hund rennt durch den Schnee. " * 100
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(post, service, long, num_beams=1, max_tokens=5)
        quick = pool.submit(post, service, "Hund", num_beams=1, max_tokens=5)
        assert quick.result().status_code == 200
        (found,) = slow.result().json()["translations"]
    assert "a long sentence was translated in parts" not in found["warnings"]
    assert len(found["text"]) > 300


ODD = {
    "control characters": "a\x00b\x07\x1b[31m\x7f\r\n",
    "emoji": "👩‍👩‍👧 rennt 🏃🏽",
    "right to left": "שלום \u202eabc\u202c مرحبا",
    "another script": "개가 눈 속을 달린다。雪",
    "a replacement character": "a\ufffdb",
    "no end of marks": "e" + "\u0301" * 300,
    "no blank": "x" * 5000,
    "5000 characters of emoji": "😀" * 5000,
    "line separators": "a\u2028b\u2029c\x0bd",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_texts_are_answered(service, text: str) -> None:
    answer = post(service, text, num_beams=1, max_tokens=3)
    assert answer.status_code == 200, answer.text
    assert answer.json()["translations"][0]["text"].encode("utf-8")


def raw(**more) -> bytes:
    return json.dumps({"text": "a", "source": "de", "target": "en"} | more).encode()


BAD = {
    "empty text": (422, "empty_text", raw(text="")),
    "white space": (422, "empty_text", raw(text=" \t\n\u3000")),
    "blank texts": (422, "empty_text", raw(text=["", " "])),
    "no texts": (422, "empty_text", raw(text=[])),
    "no text": (422, "invalid_option", b'{"source": "de", "target": "en"}'),
    "an empty object": (422, "invalid_option", b"{}"),
    "a megabyte": (413, "text_too_long", raw(text="a" * 10**6)),
    "more than a body may have": (413, "payload_too_large", raw(text="a" * 2 * 10**6)),
    "100,000 texts": (413, "text_too_long", raw(text=["a"] * 100_000)),
    "33 texts": (413, "text_too_long", raw(text=["a"] * 33)),
    "5001 characters": (413, "text_too_long", raw(text=["a", "b" * 5001])),
    "attention of much": (413, "text_too_long", raw(text=["a" * 3000] * 2, attention=True)),
    "a number": (422, "invalid_option", raw(text=5)),
    "null": (422, "invalid_option", raw(text=None)),
    "null in a list": (422, "invalid_option", raw(text=["a", None])),
    "an object": (422, "invalid_option", raw(text={"a": 1})),
    "a language that is not there": (422, "unsupported_language_pair", raw(source="fr")),
    "the same language": (422, "unsupported_language_pair", raw(target="de")),
    "to be found out": (422, "unsupported_language_pair", raw(source="auto")),
    "a language that is no name": (422, "invalid_option", raw(source="d\x00")),
    "a language without end": (422, "invalid_option", raw(target="e" * 10_000)),
    "a language that is a number": (422, "invalid_option", raw(target=5)),
    "an unpaired surrogate": (400, "invalid_json", b'{"text": "a\\ud800b", "source": "de"}'),
    "no UTF-8": (400, "invalid_json", b'{"text": "M\xe4nner", "source": "de"}'),
    "a negative max_tokens": (422, "invalid_option", raw(max_tokens=-1)),
    "max_tokens 0": (422, "invalid_option", raw(max_tokens=0)),
    "a huge max_tokens": (422, "invalid_option", raw(max_tokens=10**30)),
    "NaN": (422, "invalid_option", raw(n=float("nan"))),
    "true for a number": (422, "invalid_option", raw(n=True)),
    "text for a number": (422, "invalid_option", raw(n="2")),
    "more than there are beams": (422, "invalid_option", raw(n=4, num_beams=2)),
    "a temperature": (400, "unknown_field", raw(temperature=0)),
    "an unknown key": (400, "unknown_field", raw(text_="b")),
    "a key twice": (400, "duplicate_field", b'{"text": "a", "text": "b"}'),
    "no object": (400, "invalid_json", b'["Ein Hund"]'),
    "broken": (400, "invalid_json", b'{"text": '),
    "nesting": (400, "invalid_json", b'{"text": ' + b"[" * 50_000),
}


@pytest.mark.parametrize(("status", "code", "body"), BAD.values(), ids=BAD)
def test_bad_requests_are_told_why(service, status: int, code: str, body: bytes) -> None:
    assert told(post(service, body=body)) == (status, code)


def test_heads_that_cannot_be_used(service) -> None:
    assert told(post(service, "a", headers={"Content-Type": "text/plain"}))[0] == 415
    assert told(post(service, "a", headers={"Content-Encoding": "gzip"}))[0] == 415
    assert told(post(service, "a", headers={"X-Timeout-Ms": "5"})) == (400, "invalid_header")
    assert told(post(service, "a", headers={"Accept": "text/html"})) == (406, "not_acceptable")
    with service.client() as client:
        assert told(client.get("/translate")) == (405, "method_not_allowed")
        assert told(client.post("/translate?n=2", json={"text": "a"})) == (400, "unknown_field")


def test_it_is_measured(service) -> None:
    post(service, "Ein Hund.")
    with service.client() as client:
        counted = client.get("/metrics").text
    assert 'captioner_batch_size_count{task="translate"}' in counted
    assert 'captioner_requests_total{code="200",method="POST",route="/translate"}' in counted


def test_an_overloaded_model_says_when_to_come_again(kit, bundles: Path) -> None:
    settings = kit.load_from(bundles) | {"max_queue": 1, "max_batch": 1}
    with kit.running(**settings, endpoints=kit.only("/translate")) as service:
        texts = ["Ein Hund rennt durch den Schnee. " * 100] * 12
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda text: post(service, text, num_beams=8), texts))
    assert {answer.status_code for answer in answers} <= {200, 429, 503}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)


def test_time_is_up_in_time(kit, bundles: Path) -> None:
    settings = kit.load_from(bundles) | {"deadline_s": 0.1}
    with kit.running(**settings, endpoints=kit.only("/translate")) as service:
        answer = post(service, ["Ein Hund rennt durch den Schnee. " * 100] * 16, num_beams=8, n=8)
    assert told(answer) == (503, "deadline_exceeded")
    assert "retry-after" in answer.headers


def test_without_a_bundle_the_rest_works_on(kit, bundles: Path, make_translate_bundle, tmp_path):
    def nothing(task: str, model):
        raise MissingBundle(f"No bundle for {task!r} is installed.")

    with kit.running(load=nothing) as service:
        for path in ("/translate", "/generate"):
            with service.client() as client:
                answer = client.post(path, json={"text": "a"})
            assert told(answer) == (404, "model_not_available")
            assert "Traceback" not in answer.text


def test_a_damaged_bundle_takes_its_pair_only(
    kit, make_translate_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_translate_bundle(tmp_path)
    (make_translate_bundle(tmp_path, "en", "de") / "pieces.json").write_text("{}")
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(tmp_path))

    def load_any(task: str, model):
        return load(task, model=model)

    with kit.running(load=load_any, endpoints=kit.only("/translate", "/models")) as service:
        assert post(service, "Hund").status_code == 200
        assert told(post(service, "dog", source="en", target="de"))[0] == 422
        with service.client() as client:
            models = {m["name"]: m for m in client.get("/models").json()["models"]}
    assert models["translate-en-de"]["state"] == "failed"
    assert "pieces.json" in models["translate-en-de"]["problem"]
    assert str(tmp_path) not in str(models)
