"""``python -m training score-labels``: a labeller's bundle on photos, and on sequences of them.

- Stills: mean average precision where each photo is held for a second, against linear probes on
  the whole photo: on the bundle's own encoder, and with ``--probe`` on another one's weights.
- Sequences: mAP, F1 and how often labels come and go, as the bundle decides and smoothed in every
  other way there is; beside what reads each frame by itself, smoothed in the same ways: the probe,
  or ``--baseline``, another bundle. Levels from which labels are on are chosen for each way, on
  validation: for its own scores on one half of the sequences at a time, which the other half has.

``--calibrate`` chooses a way and its levels on the validation split, and stores them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from captioner.bundle import Bundle, find_bundle
from captioner.errors import DataError
from captioner.metrics.segments import mean_average_precision
from captioner.models.video_labeller import VideoLabeller
from captioner.tasks.frame_decoding import Decider, FrameDecoding
from captioner.tasks.frames import video_labeller_of
from captioner.vision.encoder import ResNetEncoder
from training.data.photo_sequences import PhotoSequenceDataModule
from training.data.splits import TEST, VALIDATION
from training.data.video_examples import ClipExample
from training.label_levels import (
    LEVELS,
    RULES,
    Rule,
    Scored,
    Truth,
    all_counts,
    best_levels,
    chosen_apart,
    padded,
)
from training.probes import Scores, best_probe, photo_features
from training.score import read_data, store

HELD = 3  # frames that a still is held for: a second and its end at two a second
WORTHS = (0.0, 1.0, 2.0, 4.0, 8.0)  # points of F1 that one change a second less may cost
COST = 1.0  # points of F1 that the decoding that is stored may cost, to be steadier
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
    parser.add_argument("--disturbed", type=float, help="share of shots, in place of the config's")
    parser.add_argument("--stills-only", action="store_true", help="leaves out the sequences")
    parser.add_argument("--calibrate", action="store_true", help="stores thresholds in the bundle")
    options = parser.parse_args(arguments)
    data = read_data(options.data, PhotoSequenceDataModule)
    if options.disturbed is not None:
        data.shots.disturbed = options.disturbed
        data.shots.check()
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
    examples = _examples(data, options.split)
    decided = _decided(bundle, model, examples)
    print(f"  sequences {'':<40}{'mAP':>8}{'F1':>8}{'changes/s':>11}{'in excess':>11}")
    print(_line("the truth", 100.0, Scored(100.0, Truth(examples).changes(), 0.0)))
    print(_line("as the bundle decides", *decided))
    alone = probe
    if options.baseline:
        alone = _bundle_scores(video_labeller_of(find_bundle("frames", options.baseline)))
    for name, scores in (("labeller", _bundle_scores(model)), ("each frame alone", alone)):
        precision, ways = _ways(data, scores, options.split, RULES)
        for way in ways:
            print(_line(f"{name}, {way.rule}, {way.worth:g} a change", precision, way.scored))
    if options.calibrate:
        precision, (f1, changes, _) = decided
        stored = {"mAP stills": found["labeller"], "mAP": precision, "F1": f1, "changes/s": changes}
        store(
            bundle.path, {options.split: {name: round(value, 2) for name, value in stored.items()}}
        )
    return 0


# -- stills -------------------------------------------------------------------------------------


@torch.inference_mode()
def still_scores(model: VideoLabeller, features: Tensor) -> Tensor:
    """Probabilities at the end of a second of each photo: ``(photos, D)`` -> ``(photos, C)``."""
    logits, _ = model.labeller(features.unsqueeze(1).expand(-1, HELD, -1))
    return model.labeller.probabilities(logits[:, -1])


# -- sequences ----------------------------------------------------------------------------------


class Way(NamedTuple):
    """A rule, with levels that were chosen for so many points of F1 a change."""

    rule: Rule
    worth: float
    scored: Scored


def _line(name: str, precision: float, scored: Scored) -> str:
    f1, changes, excess = scored
    return f"  {name:<50}{precision:8.2f}{f1:8.2f}{changes:11.2f}{excess:11.2f}"


def _decided(
    bundle: Bundle, model: VideoLabeller, examples: Sequence[ClipExample]
) -> tuple[float, Scored]:
    decider = Decider(FrameDecoding(**bundle.decoding), bundle.labels(), multi_label=True)
    logits = _all_scores(_bundle_scores(model), examples)
    truth = Truth(examples)
    on = padded([decider.decide(rows.sigmoid()) for rows in logits], False)
    return _precision(logits, examples), truth.score(truth.counts(on))


def _ways(
    data: PhotoSequenceDataModule, scores: Scores, split: str, rules: Sequence[Rule]
) -> tuple[float, list[Way]]:
    """The mAP of ``scores``, and what every way to decide makes of them."""
    examples, known = _examples(data, split), _examples(data, VALIDATION)
    logits, truth = _all_scores(scores, examples), Truth(examples)
    found = []
    for rule in rules:
        counts = all_counts(rule, _all_scores(scores, known), Truth(known))
        for worth in WORTHS:
            if split == VALIDATION:
                found.append(Way(rule, worth, chosen_apart(counts, truth, worth)))
                continue
            levels = LEVELS[best_levels(counts, Truth(known).seconds, worth)]
            said = rule.decide(padded(logits, torch.nan), levels)
            found.append(Way(rule, worth, truth.score(truth.counts(said))))
    return _precision(logits, examples), found


def calibrated(bundle: Bundle, model: VideoLabeller, data: PhotoSequenceDataModule) -> Bundle:
    """The bundle with the steadiest way to decide on the way, and levels from validation, stored.

    That is the one with the fewest changes of those that cost less than ``COST`` points of the best
    F1, of ways that do not wait for the end of a video.
    """
    causal = [rule for rule in RULES if rule.kind == "hysteresis"]
    _, ways = _ways(data, _bundle_scores(model), VALIDATION, causal)
    best = max(way.scored.f1 for way in ways)
    chosen = min(
        (way for way in ways if way.scored.f1 >= best - COST), key=lambda way: way.scored.changes
    )
    examples = _examples(data, VALIDATION)
    truth = Truth(examples)
    counts = all_counts(chosen.rule, _all_scores(_bundle_scores(model), examples), truth)
    levels = LEVELS[best_levels(counts, truth.seconds, chosen.worth)]
    decoding = bundle.decoding | chosen.rule.decoding(levels, shortest=SHORTEST)
    description = {**bundle.description, "decoding": decoding}
    text = json.dumps(description, indent=1, ensure_ascii=False, sort_keys=True)
    (bundle.path / "bundle.json").write_text(text + "\n", "utf-8")
    return replace(bundle, description=description)


def _precision(logits: Sequence[Tensor], examples: Sequence[ClipExample]) -> float:
    return mean_average_precision(
        torch.cat(list(logits)), torch.cat([example.labels for example in examples])
    )


def _all_scores(scores: Scores, examples: Sequence[ClipExample]) -> list[Tensor]:
    return [scores(example.rows) for example in examples]


def _bundle_scores(model: VideoLabeller) -> Scores:
    @torch.inference_mode()
    def scores(rows: Tensor) -> Tensor:
        logits: Tensor = model.labeller(rows.unsqueeze(0))[0][0]
        return logits

    return scores


def _examples(data: PhotoSequenceDataModule, split: str) -> list[ClipExample]:
    sequences = data.sequences(split)
    return [sequences[item][1] for item in range(len(sequences))]  # type: ignore[arg-type]


def _resnet(model: VideoLabeller) -> ResNetEncoder:
    if not isinstance(model.encoder, ResNetEncoder):
        raise DataError("This bundle's encoder sees whole clips; score-labels is for a ResNet's.")
    return model.encoder
