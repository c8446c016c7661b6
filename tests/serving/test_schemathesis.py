"""Schemathesis makes requests from the document, right and wrong ones: it finds no answer that the
document does not describe, no wrong request that is taken, and no 500.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

HOOKS = """
import io
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
"""


def test_no_answer_is_undescribed(kit, tmp_path: Path) -> None:
    (tmp_path / "photos.py").write_text(HOOKS)
    with kit.running() as service:
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
            timeout=120,
        )  # fmt: skip
        counted = httpx.get(f"{service.url}/metrics", trust_env=False).text
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    statuses = {
        line.split('code="')[1][:3]
        for line in counted.splitlines()
        if line.startswith("captioner_requests_total") and 'route="/caption"' in line
    }
    assert {"200", "400", "405", "422"} <= statuses, "right and wrong requests were made"
