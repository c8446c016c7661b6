"""The document says what the application does: nothing missing, nothing invented."""

from __future__ import annotations

import ast
from pathlib import Path

import jsonschema_rs
import pytest

from serving.endpoints import ENDPOINTS
from serving.responses import ERRORS

HEALTH = {"/livez", "/readyz", "/healthz"}


@pytest.fixture(scope="module")
def document(reader) -> dict:
    with reader.client() as client:
        return client.get("/docs.json").json()


def test_it_lists_every_route_and_no_other(document) -> None:
    documented = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    assert documented == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    assert document["openapi"].startswith("3.1")
    assert {"/caption", "/models", "/status", "/metrics", "/docs.json", "/"} <= set(
        document["paths"]
    )
    assert set(document["paths"]) >= HEALTH


def test_its_schemas_are_schemas(document) -> None:
    def walk(value) -> None:
        if isinstance(value, dict):
            if "schema" in value:
                jsonschema_rs.meta.validate(value["schema"])
            for child in value.values():
                walk(child)
        elif isinstance(value, list):
            for child in value:
                walk(child)

    walk(document)
    jsonschema_rs.meta.validate(document["components"]["schemas"]["Error"])


def test_every_error_code_is_raised_and_every_raised_code_is_documented(kit, document) -> None:
    """By reading the source: a code in ``RequestError("…")`` stands in the table, and back."""
    raised: set[str] = set()
    for path in (kit.root / "serving").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RequestError":
                assert isinstance(node.args[0], ast.Constant), path
                raised.add(node.args[0].value)
    source = (kit.root / "captioner" / "errors.py").read_text("utf-8")
    of_library = {
        node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    assert raised <= set(ERRORS)
    own = {"internal", "job_interrupted"}  # the second is written down, and told later
    assert set(ERRORS) <= raised | of_library | own
    text = str(document["paths"])
    json_only = {"invalid_json"}
    library_only = {
        "unknown_option"
    }  # the service refuses unknown names before the library sees them
    for code in set(ERRORS) - json_only - library_only - {"not_found"}:
        assert f"`{code}`" in text, code


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_every_operation_describes_its_options(document, endpoint) -> None:
    operation = document["paths"][endpoint.path][endpoint.method.lower()]
    named = {parameter["name"] for parameter in operation.get("parameters", [])}
    assert {option.name for option in endpoint.options} <= named
    assert operation["summary"]
    for code in endpoint.all_errors:
        assert code in operation["responses"][str(ERRORS[code].status)]["description"]


def test_real_answers_fit_their_schemas(document, service, kit, make_clip) -> None:
    with service.client() as client:
        job = client.post("/frames/jobs", files={"video": make_clip()})
        place = job.headers["location"]
        answers = {
            ("post", "/frames"): client.post("/frames", files={"video": make_clip()}),
            ("post", "/frames/jobs"): job,
            ("get", "/frames/jobs/{job_id}"): client.get(place),
            ("delete", "/frames/jobs/{job_id}"): client.delete(place),
            ("post", "/caption"): client.post(
                "/caption?n=2&attention=1", files={"image": kit.photo()}
            ),
            ("post", "/translate"): client.post(
                "/translate", json={"text": ["a", ""], "source": "de", "n": 2, "attention": True}
            ),
            ("post", "/generate"): client.post("/generate", json={"prompt": "R", "max_tokens": 3}),
            ("get", "/models"): client.get("/models"),
            ("get", "/status"): client.get("/status"),
            ("get", "/"): client.get("/"),
            ("get", "/docs.json"): client.get("/docs.json"),
        }
    for (method, path), answer in answers.items():
        responses = document["paths"][path][method]["responses"]
        described = responses[str(answer.status_code)]["content"]
        jsonschema_rs.validate(described["application/json"]["schema"], answer.json())


def test_the_limits_are_named(document) -> None:
    assert document["info"]["x-limits"]["max_file_bytes"] == 20 * 2**20


def test_no_path_of_this_machine(document, kit: Path) -> None:
    assert str(kit.root) not in str(document)
