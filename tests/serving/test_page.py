"""The page as files over HTTP: what is served, how it is guarded, and what its files may hold.

What a person does with it is in ``tests/browser``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "serving" / "page"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
MOST_BYTES = 120_000


def words() -> dict[str, list[str]]:
    """What stands under each key, such as ``photo.title``, in all languages."""
    found, section = {}, ""
    for line in (FOLDER / "words.js").read_text("utf-8").splitlines():
        if opened := re.fullmatch(r"  (\w+): \{", line):
            section = f"{opened[1]}."
        elif line == "  },":
            section = ""
        elif entry := re.fullmatch(r'\s+"?([\w-]+)"?: (\[".*"\]),', line):
            found[section + entry[1]] = json.loads(entry[2])
        else:
            assert not line.startswith("  "), line
    return found


def test_a_browser_gets_the_page_and_a_program_gets_json(reader) -> None:
    with reader.client() as client:
        page = client.get("/", headers=BROWSER)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.text == (FOLDER / "index.html").read_text("utf-8")
        assert client.get("/").json()["service"] == "captioner"
        assert client.get("/").headers["vary"] == page.headers["vary"] == "Accept"


def test_every_file_that_the_page_names_is_served(reader) -> None:
    named = set(re.findall(r'(?:href|src)="page/([^"]+)"', (FOLDER / "index.html").read_text()))
    for script in SCRIPTS:
        named |= set(re.findall(r'(?:from|import\()\s*"\./([^"]+)"', script.read_text("utf-8")))
    assert named == {path.name for path in FILES} - {"index.html"}, "no file is there for nothing"
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    with reader.client() as client:
        for path in FILES:
            if path.suffix == ".html":
                continue
            answer = client.get(f"/page/{path.name}")
            assert answer.content == path.read_bytes()
            assert answer.headers["content-type"].split(";")[0] == kinds[path.suffix]


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/page/page.css", "/page/icon.svg"])
def test_every_part_is_guarded(reader, path: str) -> None:
    with reader.client() as client:
        headers = client.get(path, headers=BROWSER).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in headers


def test_what_a_browser_has_already_is_not_sent_again(reader) -> None:
    with reader.client() as client:
        for path in ("/", "/page/main.js"):
            first = client.get(path, headers=BROWSER)
            assert first.headers["cache-control"] == "no-cache"
            etag = first.headers["etag"]
            again = client.get(path, headers=BROWSER | {"If-None-Match": f'"other", {etag}'})
            assert again.status_code == 304
            assert again.content == b""
            assert again.headers["etag"] == etag
            changed = client.get(path, headers=BROWSER | {"If-None-Match": '"other"'})
            assert changed.status_code == 200


@pytest.mark.parametrize(
    "name", ["nothing.js", "..", "../app.py", "..%2fapp.py", "%2e%2e%2fapp.py", "main.js%00", "/"]
)
def test_only_the_page_s_own_files_are_there(reader, name: str) -> None:
    answer = reader.raw(
        f"GET /page/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.split(b" ", 2)[1] in (b"404", b"400")
    assert b"not_found" in answer or b" 400 " in answer


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in FILES) <= MOST_BYTES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere_and_no_text_becomes_markup(path: Path) -> None:
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?:)?//\w+\.\w+", re.sub(r"^\s*//.*$", "", text, flags=re.M))
    for forbidden in (
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
        "localStorage", "document.cookie", "indexedDB", "<script>", "onclick=", "style=",
    ):  # fmt: skip
        assert forbidden not in text, forbidden


def test_both_languages_say_everything() -> None:
    for key, (english, korean) in words().items():
        assert english.strip(), key
        assert korean.strip(), key
        values = [set(re.findall(r"\{(\w+)\}", text)) for text in (english, korean)]
        assert values[0] == values[1], key


def test_every_key_that_is_named_has_words_and_every_word_is_used() -> None:
    keys = set(words())
    sources = [path for path in FILES if path.stem != "words"]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    named = set(re.findall(r'data-(?:text|label|hint|tip)="([\w.]+)"', text))
    named |= set(re.findall(r'\b(?:say|text|button)\("([\w.]+)"', text))
    assert named <= keys
    # The rest are put together from a part and a name.
    parts = set(re.findall(r"`([a-z]+)\.", text))
    ends = set(re.findall(r"`\$\{\w+\}\.(\w+)`", text))
    quoted = set(re.findall(r'"([\w.-]+)"', text))
    for key in keys - named:
        first, _, last = key.partition(".")
        assert key in quoted or first in parts or last in ends, f"nobody says {key}"
