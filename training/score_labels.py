"""``python -m training score-labels``: a labeller's bundle on photos, and on sequences of them.

- Stills: mean average precision where each photo is held for a second, against linear probes on
  the whole photo: on the bundle's own encoder, and with ``--probe`` on another one's weights.
- Sequences: mAP, F1 and how often labels come and go, as the bundle decides and smoothed in every
  other way there is; beside what reads each frame by itself, smoothed in the same ways: the probe,
  or ``--baseline``, another bundle.

``--calibrate`` chooses on the validation split from which probability a label is on, and stores it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captioner.bundle import Bundle, find_bundle
from captioner.errors import DataError
from captioner.metrics.segments import IGNORED, changes_per_second, mean_average_precision
from captioner.models.video_labeller import VideoLabeller
from captioner.tasks.frame_decoding import Decider, FrameDecoding
from captioner.tasks.frames import video_labeller_of
from captioner.vision.encoder import ResNetEncoder
from training.data.photo_sequences import PhotoSequenceDataModule
from training.data.splits import TEST, VALIDATION
from training.data.video_examples import ClipExample
from training.probes import Scores, best_probe, photo_features
from training.score import read_data, store

HELD = 3  # frames that a still is held for: a second and its end at two a second
OFF = (1.0, 0.8, 0.6, 0.4, 0.25)  # where a label goes off, as a share of where it came
AVERAGES = (1.0, 0.5, 0.25)  # weight of the frame itself in a running mean of logits
PENALTIES = (1.0, 1.5, 2.0)  # nats that a change costs in Viterbi smoothing
LOWERED = (1.0, 0.7)  # thresholds in Viterbi smoothing, which holds them up itself
LEVELS = 0.15, 0.9  # thresholds are kept between: below the first nobody would believe a label
WORTH = 1.0  # points of F1 that labels which change less often may cost
SHORTEST = 2  # labelled frames of a segment at least


def main(arguments: Sequence[str]) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m training score-labels", description=__doc__)
    parser.add_argument("--data", required=True, help="a config's YAML, for its `data:`")
    parser.add_argument("--split", default=VALIDATION, choices=(VALIDATION, TEST))
    parser.add_argument("--model", help="a bundle's name or directory")
    parser.add_argument("--baseline", help="the bundle of a labeller without recurrence")
    parser.add_argument("--probe", help="weights of another ResNet-18, to be probed as well")
    parser.add_argument("--cache", default="runs/features", help="where features are kept")
    parser.add_argument("--stills-only", action="store_true", help="leaves out the sequences")
    parser.add_argument("--calibrate", action="store_true", help="stores thresholds in the bundle")
    options = parser.parse_args(arguments)
    data = read_data(options.data, PhotoSequenceDataModule)
    bundle = find_bundle("frames", options.model)
    if bundle.labels() != data.classes:
        raise DataError(f"Bundle {bundle.name!r} has other labels than {options.data!r}.")
    model = video_labeller_of(bundle)
    encoder = _resnet(model)
    print(f"{bundle.name}@{bundle.version}, {options.split}")
    own = photo_features(data, encoder, options.split, options.cache)
    truth = torch.from_numpy(data.photo_labels(options.split))
    probe = best_probe(data, own)
    found = {
        "labeller": mean_average_precision(still_scores(model, own[options.split]), truth),
        "linear probe, the same encoder": mean_average_precision(probe(own[options.split]), truth),
    }
    if options.probe:
        other = ResNetEncoder(18, weights=options.probe)
        features = photo_features(data, other, options.split, options.cache)
        name = f"linear probe, {Path(options.probe).stem}"
        found[name] = mean_average_precision(
            best_probe(data, features)(features[options.split]), truth
        )
    for name, value in found.items():
        print(f"  stills, mAP, {name:<34}{value:6.2f}")
    if options.stills_only:
        return 0
    for split in {VALIDATION, options.split}:
        data.use_clips(split, options.cache, encoder=encoder)
    if options.calibrate:
        bundle = calibrated(bundle, model, data)
    rows = _sequences(data, bundle, model, options.split)
    alone = probe
    if options.baseline:
        alone = _bundle_scores(video_labeller_of(find_bundle("frames", options.baseline)))
    rows |= _smoothed("labeller", data, _bundle_scores(model), options.split)
    rows |= _smoothed("each frame alone", data, alone, options.split)
    print(f"  {'sequences':<44}{'mAP':>8}{'F1':>8}{'changes/s':>11}")
    for name, (precision, f1, changes) in rows.items():
        print(f"  {name:<44}{precision:8.2f}{f1:8.2f}{changes:11.2f}")
    if options.calibrate:
        precision, f1, changes = rows["labeller"]
        scores = {"mAP stills": found["labeller"], "mAP": precision, "F1": f1, "changes/s": changes}
        store(bundle.path, {options.split: {name: round(v, 2) for name, v in scores.items()}})
    return 0


# -- stills -------------------------------------------------------------------------------------


@torch.inference_mode()
def still_scores(model: VideoLabeller, features: Tensor) -> Tensor:
    """Probabilities at the end of a second of each photo: ``(photos, D)`` -> ``(photos, C)``."""
    logits, _ = model.labeller(features.unsqueeze(1).expand(-1, HELD, -1))
    return model.labeller.probabilities(logits[:, -1])


# -- sequences ----------------------------------------------------------------------------------

Score = tuple[float, float, float]  # mAP, F1, changes a second


def _sequences(
    data: PhotoSequenceDataModule, bundle: Bundle, model: VideoLabeller, split: str
) -> dict[str, Score]:
    examples = _examples(data, split)
    logits = _logits(model, examples)
    decider = Decider(FrameDecoding(**bundle.decoding), bundle.labels(), multi_label=True)
    truth = [(example.labels == 1).long() for example in examples]
    known = [example.labels != IGNORED for example in examples]
    times = [example.times for example in examples]
    shown = [torch.where(k, t, IGNORED) for k, t in zip(known, truth, strict=True)]
    return {
        "the truth": (100.0, 100.0, changes_per_second(shown, times)),
        "labeller": scored(logits, [decider.decide(rows.sigmoid()) for rows in logits], examples),
    }


def _smoothed(
    name: str, data: PhotoSequenceDataModule, scores: Scores, split: str
) -> dict[str, Score]:
    """What gives ``scores`` in every smoothing, each with thresholds of its own from validation."""
    chosen_on, examples = _examples(data, VALIDATION), _examples(data, split)
    raw, rest = ([scores(example.rows) for example in part] for part in (chosen_on, examples))
    labels = data.classes
    found = {}
    for share in AVERAGES:
        tuned, logits = ([running_mean(rows, share) for rows in part] for part in (raw, rest))
        on = thresholds(tuned, chosen_on)
        for kind, levels, rule in _rules(on):
            decoding = FrameDecoding(thresholds=levels.tolist(), smoothing=rule)
            decider = Decider(decoding, labels, multi_label=True)
            decided = [decider.decide(rows.sigmoid()) for rows in logits]
            found[f"{name}, mean {share:g}, {kind}"] = scored(logits, decided, examples)
    return found


def _rules(on: Tensor) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
    for share in OFF:
        off = (on * share).tolist()
        yield f"off at {share:g}", on, {"kind": "hysteresis", "off": off, "min_frames": 1}
    for penalty, share in product(PENALTIES, LOWERED):
        rule = {"kind": "viterbi", "switch_penalty": penalty, "min_frames": 1}
        yield f"viterbi {penalty:g} of {share:g}", on * share, rule


def calibrated(bundle: Bundle, model: VideoLabeller, data: PhotoSequenceDataModule) -> Bundle:
    """The bundle with thresholds from validation, stored: see :func:`thresholds`.

    A label goes off at the lowest of ``OFF`` that costs less than ``WORTH`` points of F1.
    """
    examples = _examples(data, VALIDATION)
    logits = _logits(model, examples)
    on = thresholds(logits, examples)
    tried: list[tuple[float, dict[str, Any]]] = []
    for share in OFF:
        off = {"kind": "hysteresis", "off": _rounded(on * share), "min_frames": SHORTEST}
        decoding = {**bundle.decoding, "thresholds": _rounded(on), "smoothing": off}
        decider = Decider(FrameDecoding(**decoding), bundle.labels(), multi_label=True)
        decided = [decider.decide(rows.sigmoid()) for rows in logits]
        tried.append((scored(logits, decided, examples)[1], decoding))
    best = max(f1 for f1, _ in tried)
    chosen = [decoding for f1, decoding in tried if f1 >= best - WORTH][-1]
    description = {**bundle.description, "decoding": chosen}
    text = json.dumps(description, indent=1, ensure_ascii=False, sort_keys=True)
    (bundle.path / "bundle.json").write_text(text + "\n", "utf-8")
    return replace(bundle, description=description)


def thresholds(logits: Sequence[Tensor], examples: Sequence[ClipExample]) -> Tensor:
    """The probability of each label from which its F1 over frames is best, ``(C,)``."""
    scores = torch.cat(list(logits)).sigmoid()
    labels = torch.cat([example.labels for example in examples])
    found = []
    for score, label in zip(scores.t(), labels.t(), strict=True):
        counted = label != IGNORED
        order = score[counted].argsort(descending=True)
        hits = (label[counted][order] == 1).double().cumsum(0)
        said = torch.arange(1, len(hits) + 1)
        f1 = 2 * hits / (said + hits[-1].clamp(min=1))
        found.append(score[counted][order][int(f1.argmax())])
    return torch.stack(found).clamp(*LEVELS)


def scored(
    logits: Sequence[Tensor], decided: Sequence[Tensor], examples: Sequence[ClipExample]
) -> Score:
    """mAP of the scores, the mean of the labels' F1 over frames, changes a second, all over all."""
    labels = torch.cat([example.labels for example in examples])
    on = torch.cat(list(decided)).bool()
    counted = labels != IGNORED
    hits = (on & (labels == 1)).sum(0)
    total = (on & counted).sum(0) + (labels == 1).sum(0)
    present = (labels == 1).any(0)
    f1 = 100 * float((2 * hits / total.clamp(min=1))[present].double().mean())
    changes = changes_per_second(
        [rows.long() for rows in decided], [example.times for example in examples]
    )
    return mean_average_precision(torch.cat(list(logits)), labels), f1, changes


def running_mean(logits: Tensor, share: float) -> Tensor:
    """``m_t = share · x_t + (1 - share) · m_{t-1}`` of ``(T, C)``, from the first frame on."""
    rows = [logits[0]]
    for row in logits[1:]:
        rows.append(share * row + (1 - share) * rows[-1])
    return torch.stack(rows)


def _bundle_scores(model: VideoLabeller) -> Scores:
    @torch.inference_mode()
    def scores(rows: Tensor) -> Tensor:
        logits: Tensor = model.labeller(rows.unsqueeze(0))[0][0]
        return logits

    return scores


@torch.inference_mode()
def _logits(model: VideoLabeller, examples: Sequence[ClipExample]) -> list[Tensor]:
    return [model.labeller(example.rows.unsqueeze(0))[0][0] for example in examples]


def _examples(data: PhotoSequenceDataModule, split: str) -> list[ClipExample]:
    sequences = data.sequences(split)
    return [sequences[item][1] for item in range(len(sequences))]  # type: ignore[arg-type]


def _resnet(model: VideoLabeller) -> ResNetEncoder:
    if not isinstance(model.encoder, ResNetEncoder):
        raise DataError("This bundle's encoder sees whole clips; score-labels is for a ResNet's.")
    return model.encoder


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.tolist()]
