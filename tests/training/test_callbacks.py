"""What a training shows in TensorBoard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Run = Callable[..., Any]


def test_sample_captions_lie_beside_their_pictures(
    shapes_table: Path, tmp_path: Path, run: Run, config: Run
) -> None:
    path = config(
        tmp_path,
        shapes_table,
        trainer__max_epochs=2,
        trainer__logger={
            "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
            "init_args": {"save_dir": "runs", "name": "tensorboard"},
        },
        trainer__callbacks=[
            {"class_path": "training.callbacks.SampleCaptions", "init_args": {"photos": 3}}
        ],
        model__init_args__search={"num_beams": 2, "length_penalty": 0.6, "max_tokens": 6},
    )
    done = run("fit", "--config", str(path), folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "|search:beam2-lp0.6" in done.stdout
    events = EventAccumulator(
        str(tmp_path / "runs" / "tensorboard" / "version_0"),
        size_guidance={"images": 0, "tensors": 0},
    ).Reload()
    assert events.Tags()["images"] == ["sample/0", "sample/1", "sample/2"]
    for photo in range(3):
        images = events.Images(f"sample/{photo}")
        texts = events.Tensors(f"sample/{photo}/text_summary")
        assert [image.step for image in images] == [text.step for text in texts]
        assert len(texts) == 2  # one an epoch, none of the sanity check
        assert images[0].width == 224
        (caption,) = texts[-1].tensor_proto.string_val
        assert set(caption.decode().split()) <= {"a", "red", "green", "square", "circle", "alone"}
