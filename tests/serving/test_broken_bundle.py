"""A bundle that cannot be used, from its file to the service's answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from captioner.tasks import load


def test_a_description_that_does_not_fit_disables_only_its_endpoint(
    kit, tiny_bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_bundle.parent, tmp_path / "bundles")
    manifest = tmp_path / "bundles" / "caption" / "bundle.json"
    description = json.loads(manifest.read_text())
    description["model"]["decoder"]["heads"] = 8
    manifest.write_text(json.dumps(description))
    with (
        kit.running(load=lambda task, model: load(task, model=str(manifest.parent))) as service,
        service.client() as client,
    ):
        answer = client.post("/caption", files={"image": kit.photo()})
        assert answer.json()["error"]["code"] == "model_not_available"
        entry = client.get("/models").json()["models"][0]
        assert entry["state"] == "failed"
        assert "model.decoder.heads in bundle.json is not known" in entry["problem"]
        assert client.get("/readyz").status_code == 200
