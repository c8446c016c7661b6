"""Endpoints, headers and logs of the application."""

from __future__ import annotations

import json
import logging
import re

import httpx
import pytest
from starlette.exceptions import HTTPException

from captioner import errors
from serving.endpoint import Endpoint
from serving.endpoints import ENDPOINTS
from serving.log import JsonLines, configure
from serving.responses import ERRORS, RETRIED, RequestError, error_response, json_bytes, quoted


def test_a_caption_has_everything_a_user_needs(service, kit) -> None:
    with service.client() as client:
        body = client.post("/caption?n=3", files={"image": kit.photo((640, 480))}).json()
    assert len(body["captions"]) == 3
    assert body["caption"] == body["captions"][0]["text"]
    scores = [ranked["log_prob"] for ranked in body["captions"]]
    assert scores == sorted(scores, reverse=True)
    assert all(score <= 0 for score in scores)
    assert 0 <= body["confidence"] <= 1
    assert body["image"] == {"width": 640, "height": 480, "format": "JPEG"}
    assert re.fullmatch(r"\S+@\S+", body["model"])
    timing = body["timing_ms"]
    assert timing["total"] >= timing["encode"] + timing["search"]
    for word in body["captions"][0]["words"]:
        assert 0 <= word["probability"] <= 1
        assert "weights" not in word


def test_attention_is_a_grid_for_each_word(service, kit) -> None:
    with service.client() as client:
        body = client.post("/caption?attention=true", files={"image": kit.photo()}).json()
    for ranked in body["captions"]:
        for word in ranked["words"]:
            assert [len(row) for row in word["weights"]] == [7] * 7


def test_a_seed_repeats_a_sample(service, kit) -> None:
    query = "/caption?temperature=1.5&seed=7"
    with service.client() as client:
        answers = [client.post(query, files={"image": kit.photo()}).json() for _ in range(2)]
    assert answers[0]["captions"] == answers[1]["captions"]


def test_what_the_service_says_is_what_the_library_says(service, kit, tiny_bundle) -> None:
    from captioner.tasks import load

    task = load("caption", model=str(tiny_bundle))
    photo = kit.photo((300, 200), (10, 200, 90))
    with service.client() as client:
        body = client.post("/caption?n=2", files={"image": photo}).json()
    own = task(photo, n=2).to_dict()
    assert body["captions"] == own["captions"]


def test_models_shows_the_card(service) -> None:
    with service.client() as client:
        entry = client.get("/models").json()["models"][0]
    assert (entry["task"], entry["state"]) == ("caption", "ready")
    assert (entry["name"], entry["version"]) == ("caption", "0")
    assert entry["card"]["licence"] == "none"
    assert entry["card"]["origin"]
    assert entry["metrics"] is not None
    assert entry["limits"]["max_file_bytes"] == 20 * 2**20


def test_status(service) -> None:
    with service.client() as client:
        status = client.get("/status").json()
    assert status["state"] == "ready"
    assert status["models"][0]["state"] == "ready"
    assert status["models"][0]["load_s"] > 0


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_health(service, path: str) -> None:
    with service.client() as client:
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["x-request-id"]
        assert client.head(path).status_code == 200


def test_the_index_suits_programs_and_browsers(service) -> None:
    with service.client() as client:
        assert "POST /caption" in client.get("/").json()["endpoints"]
        page = client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_get_endpoints_refuse_parameters_they_do_not_have(service) -> None:
    with service.client() as client:
        for path in ("/models", "/status", "/metrics", "/docs.json", "/"):
            assert client.get(path + "?verbose=1").json()["error"]["code"] == "unknown_field"


@pytest.mark.parametrize("given", ["abc", "a" * 64, "A-b_c.9"])
def test_a_request_id_is_kept(reader, given: str) -> None:
    with reader.client() as client:
        for path in ("/status", "/nowhere", "/livez"):
            answer = client.get(path, headers={"X-Request-ID": given})
            assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", "<script>", "a;b", "é"])
def test_a_bad_request_id_is_replaced(reader, given: str) -> None:
    with reader.client() as client:
        answer = client.get("/nowhere", headers={"X-Request-ID": given.encode()})
    own = answer.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", own)
    assert answer.json()["error"]["request_id"] == own


def test_without_configuration_no_origin_is_let_in(reader) -> None:
    with reader.client() as client:
        answer = client.get("/status", headers={"Origin": "https://example.org"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
        assert client.options("/caption", headers=asked).status_code == 405


def test_configured_origins_are_let_in_and_no_others(kit) -> None:
    with (
        kit.running(cors_origins=("https://good.example",)) as service,
        service.client() as client,
    ):
        good = {"Origin": "https://good.example", "Access-Control-Request-Method": "POST"}
        answer = client.options("/caption", headers=good)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        answer = client.post("/caption", files={"image": kit.photo()}, headers=good)
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        answer = client.post("/caption", content=b"", headers=good)
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        evil = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = client.options("/caption", headers=evil)
        assert "access-control-allow-origin" not in answer.headers


def faulty(name: str, error: BaseException) -> Endpoint:
    async def handler(request, runtime):
        raise error

    return Endpoint(method="GET", path=f"/{name}", handler=handler, summary="fails")


@pytest.mark.parametrize(
    "error",
    [HTTPException(418), RuntimeError("secret /etc/x"), KeyError("k"), ValueError("\udcff")],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_of_ours_is_a_typed_500(kit, error: Exception) -> None:
    endpoints = (*ENDPOINTS, faulty("faulty", error))
    lines: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = lines.append  # type: ignore[method-assign]
    logging.getLogger("serving").addHandler(handler)
    try:
        with kit.running(endpoints=endpoints) as service, service.client() as client:
            answer = client.get("/faulty")
            assert answer.status_code == 500
            assert answer.json()["error"]["code"] == "internal"
            assert "secret" not in answer.text
            assert client.get("/status").status_code == 200
    finally:
        logging.getLogger("serving").removeHandler(handler)
    failures = [record for record in lines if record.levelno == logging.ERROR]
    assert len(failures) == 1
    assert failures[0].exc_info
    line = json.loads(JsonLines().format(failures[0]))
    assert line["request_id"] == answer.headers["x-request-id"]
    assert type(error).__name__ in line["traceback"]


def test_every_request_is_one_line_without_its_query(reader, kit) -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.setFormatter(JsonLines())
    handler.emit = lambda record: lines.append(handler.format(record))  # type: ignore[method-assign]
    configure("INFO")
    logging.getLogger("serving").addHandler(handler)
    try:
        with reader.client() as client:
            client.post("/caption?n=2", files={"image": ("sec\nret.jpg", kit.photo())})
            client.post("/caption?n=x&password=hunter2", content=b"")
            client.get("/a%0Aforged%22line" + "x" * 500)
            client.get("/status")
        kit.wait_until(lambda: len(lines) >= 4)  # a line comes after its answer
    finally:
        logging.getLogger("serving").removeHandler(handler)
    assert len(lines) == 4
    assert all("\n" not in line and line.isascii() for line in lines)
    assert not [word for word in ("ret.jpg", "hunter2", "password") if word in "".join(lines)]
    captioned, refused, unmatched, status = map(json.loads, lines)
    assert (captioned["status"], captioned["route"], captioned["error"]) == (200, "/caption", "")
    assert captioned["timing_ms"]["total"] > 0
    assert captioned["bytes_in"] > 500
    assert (refused["status"], refused["error"]) == (400, "unknown_field")
    assert unmatched["route"] == "unmatched"
    assert len(unmatched["path"]) <= 200
    assert status["ms"] >= 0
    assert all(re.fullmatch("[0-9a-f]{32}", json.loads(line)["request_id"]) for line in lines)


def test_every_library_error_has_its_status() -> None:
    """Or is the operator's: a bundle, weights or a table are never what a client sends."""
    of_the_operator = {"invalid_bundle", "missing_bundle", "missing_weights", "invalid_data"}
    kinds = [errors.UserError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    codes = {kind.code for kind in kinds if kind.__module__ == "captioner.errors"}
    assert codes <= set(ERRORS) | of_the_operator
    for code in of_the_operator & codes:
        kind = next(kind for kind in kinds if kind.code == code)
        assert error_response(kind("a path"), "id").status_code == 500


def test_errors_to_retry_say_when() -> None:
    for code, kind in ERRORS.items():
        assert (kind.status in (429, 503)) == (code in RETRIED)
    assert RequestError("overloaded", "", retry_after=0.01).headers["retry-after"] == "1"
    assert RequestError("overloaded", "", retry_after=1e9).headers["retry-after"] == "60"


def test_json_is_always_json() -> None:
    assert json.loads(json_bytes({"text": "\udcff é"})) == {"text": "\udcff é"}
    with pytest.raises(ValueError, match="JSON"):
        json_bytes(float("nan"))


@pytest.mark.parametrize("text", ["", "a\nb", "\x00", "é" * 100, "\udcff", "'\"", "x" * 1000])
def test_quotes_are_printable_and_short(text: str) -> None:
    assert quoted(text).isprintable()
    assert quoted(text).isascii()
    assert len(quoted(text)) < 1000


def test_the_next_request_on_the_connection_is_not_mixed_up(reader, kit) -> None:
    sizes = [(20 + i, 30) for i in range(20)]
    with reader.client(limits=httpx.Limits(max_connections=1)) as client:
        for size in sizes:
            body = client.post("/caption", files={"image": kit.photo(size)}).json()
            assert body["caption"].startswith(f"{size[0]} x {size[1]}")
