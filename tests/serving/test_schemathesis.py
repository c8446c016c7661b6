"""Schemathesis makes requests from the document, right and wrong ones: it finds no answer that the
document does not describe, no wrong request that is taken, and no 500.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx

from captioner.errors import MissingBundle

HOOKS = """
import io
import re
import schemathesis
from hypothesis import strategies as st
from PIL import Image

def photo(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (9, 99, 199)).save(buffer, kind)
    return buffer.getvalue()

PHOTOS = st.sampled_from([photo(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")])
for media_type in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, PHOTOS | st.binary(max_size=200))

@schemathesis.hook
def before_call(context, case, kwargs):
    # Languages and models that could be there, to those that are.
    for name, one in (("source", "de"), ("target", "en"), ("model", "generate")):
        given = case.body.get(name) if isinstance(case.body, dict) else None
        if isinstance(given, str) and re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", given):
            case.body[name] = one
    # A tenth of a second may be asked for, and may not be enough: a right answer is 503 then.
    if re.fullmatch("[1-9][0-9]{2,4}", str((case.headers or {}).get("X-Timeout-Ms", ""))):
        case.headers["X-Timeout-Ms"] = "60000"
"""


def test_no_answer_is_undescribed(kit, bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "photos.py").write_text(HOOKS)
    settings = kit.load_from(bundles)

    def load(task: str, model):
        if task == "frames":
            raise MissingBundle("There is none.")
        if task == "caption":
            return kit.task()
        found = load_any(task, model)
        for generator in getattr(found, "generators", {}).values():
            brief(generator)
        return found

    def brief(generator) -> None:
        # Of 20,000 characters that a request may ask for, the first few are enough.
        whole = generator.search_options
        generator.search_options = lambda options: replace(whole(options), max_tokens=5)

    load_any = settings.pop("load")
    with kit.running(load=load, **settings) as service:
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/docs.json",
                "--checks", "all",
                # A photo can be of the right type and yet too small, or damaged.
                "--exclude-checks", "positive_data_acceptance",
                "-n", "40", "--seed", "1", "--generation-database", "none", "--no-color",
            ],
            cwd=tmp_path,
            env=os.environ | {"SCHEMATHESIS_HOOKS": "photos", "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=240,
        )  # fmt: skip
        counted = httpx.get(f"{service.url}/metrics", trust_env=False).text
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    for route in ("/caption", "/translate", "/generate"):
        statuses = {
            line.split('code="')[1][:3]
            for line in counted.splitlines()
            if line.startswith("captioner_requests_total") and f'route="{route}"' in line
        }
        assert {"200", "400", "405", "422"} <= statuses, "right and wrong requests were made"
