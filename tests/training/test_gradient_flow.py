"""The monitor in trainings of every kind, and the command that draws one batch's flow."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
PARITY = ROOT / "configs" / "proof" / "parity.yaml"
Run = Callable[..., Any]
SHORT = (
    *("--data.init_args.length=12", "--data.init_args.batches=4", "--trainer.max_epochs=1"),
    *("--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"),
)
MONITOR = {
    "class_path": "training.gradient_flow.GradientFlowMonitor",
    "init_args": {"every_n_steps": 2},
}


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "gradient_flow" / "flow.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def logged(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.glob("csv/*/metrics.csv")
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_proof_task_is_watched_and_learns_the_same(tmp_path: Path, run: Run) -> None:
    losses = []
    for name, more in (
        ("plain", ()),
        ("watched", (f"--trainer.callbacks+={json.dumps(MONITOR)}",)),
    ):
        (tmp_path / name).mkdir()
        done = run("fit", "--config", str(PARITY), *SHORT, *more, folder=tmp_path / name)
        assert done.returncode == 0, done.stderr[-3000:]
        rows = logged(tmp_path / name / "runs" / "proof-parity")
        losses.append([float(row["train_loss"]) for row in rows if row["train_loss"]])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    found = lines(tmp_path / "watched" / "runs" / "proof-parity")
    assert [(line["step"], line["name"], line["kind"]) for line in found] == [
        (0, "model.cell", "LSTM"),
        (2, "model.cell", "LSTM"),
    ]
    assert len(found[0]["hidden"]) == len(found[0]["memory"]) == 12
    assert set(found[0]["open_share"]) == {"i", "f", "o"}
    assert len({row["grad_norm"] for row in rows if row.get("grad_norm")}) == 2
    decades = {row["flow/model.cell"] for row in rows if row.get("flow/model.cell")}
    expected = [math.log10(line["memory"][-1] / line["memory"][0]) for line in found]
    assert sorted(map(float, decades)) == pytest.approx(sorted(expected), rel=1e-5)
    folder = tmp_path / "watched" / "runs" / "proof-parity" / "gradient_flow"
    assert sorted(path.name for path in folder.glob("*.png")) == ["step-0.png", "step-2.png"]


def test_a_captioner_is_watched(tmp_path: Path, run: Run, config: Run, shapes_table: Path) -> None:
    """Stepped by attention: each word's step is one of the run, from start to the last word."""
    path = config(tmp_path, shapes_table, trainer__max_epochs=1, trainer__callbacks=[MONITOR])
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    found = lines(tmp_path / "runs")
    assert {line["name"] for line in found} == {"model.decoder.cell"}
    assert all(len(line["hidden"]) >= 4 for line in found)
    assert all(norm > 0 for line in found for norm in line["hidden"])


def test_a_labeller_of_frames_is_watched_in_both_directions(
    tmp_path: Path, run: Run, write_video: Run
) -> None:
    (tmp_path / "videos").mkdir()
    rows = ["video,split,label,start_s,end_s"]
    for number in range(4):
        write_video(tmp_path / "videos" / f"v{number}.mp4", ["red"] * 4 + ["blue"] * 5, seed=number)
        split = "train" if number < 2 else "validation"
        rows += [f"v{number},{split},red,0,0.4", f"v{number},{split},blue,0.4,0.9"]
    (tmp_path / "segments.csv").write_text("\n".join(rows) + "\n")
    settings = {
        "model": {
            "class_path": "training.frames.FramesModule",
            "init_args": {
                "encoder": {"depth": 18, "output": "pooled", "weights": None},
                "labeller": {"cell": "mut1", "hidden_size": 6, "bidirectional": True},
            },
        },
        "data": {
            "class_path": "training.data.videos.FrameDataModule",
            "init_args": {
                "labels": "segments.csv",
                "videos": "videos",
                "preprocessing": {"size": 32},
                "batch_size": 2,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1,
            "default_root_dir": "runs",
            "logger": False,
            "enable_progress_bar": False,
            "callbacks": [MONITOR],
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    done = run("fit", "--config", "config.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    found = lines(tmp_path / "runs")
    assert [line["name"].rsplit(".", 1)[1] for line in found] == ["ahead", "back"]
    assert [line["kind"] for line in found] == ["MUT1"] * 2
    assert [len(line["hidden"]) for line in found] == [9, 9]


def test_the_command_draws_a_config_before_and_after_training(tmp_path: Path, run: Run) -> None:
    done = run("fit", "--config", str(PARITY), *SHORT, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    norms = []
    for more in ((), ("--ckpt_path", "best")):
        out = ("--out", "flow.png", "--config", str(PARITY))
        done = run(
            "gradient-flow",
            *(*out, *more, "--data.init_args.length=12", "--trainer.accelerator=cpu"),
            folder=tmp_path,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "model.cell (LSTM): gradient of h at the last" in done.stdout
        with Image.open(tmp_path / "flow.png") as picture:
            assert picture.size == (1500, 460)
        (flow,) = json.loads((tmp_path / "flow.json").read_text()).values()
        norms.append(flow["hidden"])
    assert len(norms[0]) == 12
    assert norms[0] != norms[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--out", "flow.svg"), "must end in .png"),
        (("--out", "none/flow.png"), "no folder 'none'"),
        (("--out", "flow.png", "--ckpt_path", "best"), "no checkpoint"),
        (("--out", "flow.png", "--model.init_args.cell=lstn"), "'lstn' is unknown"),
    ],
    ids=str,
)
def test_the_command_refuses_in_a_sentence(
    arguments: tuple[str, ...], says: str, tmp_path: Path, run: Run
) -> None:
    done = run("gradient-flow", "--config", str(PARITY), *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
