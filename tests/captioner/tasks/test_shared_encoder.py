"""Tasks whose bundles name one encoder have one in memory, as long as any of them is there."""

from __future__ import annotations

import gc
from pathlib import Path

import captioner
from captioner.tasks import shared_encoder


def test_two_tasks_read_through_one_encoder_until_both_are_gone(
    make_tiny_bundle, tmp_path: Path
) -> None:
    one = captioner.load("caption", model=str(make_tiny_bundle(tmp_path)))
    two = captioner.load("caption", model=str(make_tiny_bundle(tmp_path, name="other")))
    assert one._encoder is two._encoder
    before = len(shared_encoder._IN_USE)
    encoder = make_tiny_bundle(tmp_path, attention="none", name="pooled")
    pooled = captioner.load("caption", model=str(encoder))
    assert pooled._encoder is not one._encoder, "another output is another encoder"
    del pooled
    gc.collect()
    assert len(shared_encoder._IN_USE) == before
