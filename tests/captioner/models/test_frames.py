"""What labellers and classifiers of frames promise, whatever reads the frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from captioner.errors import InvalidOption
from captioner.models.frame_losses import (
    frame_binary_cross_entropy,
    frame_cross_entropy,
    frame_loss,
    smoothing_loss,
)
from captioner.models.frames import ClipClassifier, FrameLabeller
from captioner.recurrent import CELLS, detach, select

BATCH, TIME, FEATURE, CLASSES = 4, 6, 3, 5
LENGTHS = torch.tensor([5, 6, 1, 4])

CAUSAL = [
    *({"cell": name} for name in CELLS),
    {"cell": "lstm", "num_layers": 2},
    {"cell": "gru", "refinement": "recurrent", "refinement_size": 4},
    {"cell": "elman", "refinement": "convolution", "refinement_size": 4, "refinement_layers": 2},
    {"cell": "lstm", "refinement": "convolution", "refinement_layers": 3, "multi_label": True},
    {"cell": None, "refinement": "convolution", "refinement_size": 4, "refinement_layers": 1},
    {"cell": None},
    {"cell": "none", "num_layers": 0},
    {"cell": "lstm", "normalise": True, "entry_size": 4, "skip": True},
    {"cell": None, "normalise": True, "skip": True},
    {"cell": "lstm", "entry_size": 4, "skip": True, "normalise_hidden": True},
]
WHOLE = [
    {"cell": "lstm", "bidirectional": True},
    {"cell": "gru", "num_layers": 2, "bidirectional": True},
    {"cell": "elman", "bidirectional": True, "refinement": "recurrent", "refinement_size": 4},
    {"cell": "lstm", "bidirectional": True, "refinement": "convolution", "refinement_layers": 2},
    {"cell": None, "bidirectional": True, "refinement": "convolution", "refinement_layers": 3},
    {"cell": "lstm", "bidirectional": True, "normalise_hidden": True},
]
POOLED: list[dict[str, object]] = [
    {"cell": cell, "pooling": pooling, "bidirectional": both}
    for pooling in ("last", "mean", "attention")
    for cell, both in ((None, False), ("lstm", False), ("gru", True))
]
POOLED.append({"cell": None, "pooling": "middle"})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than tensors of this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def labeller(**settings: object) -> FrameLabeller:
    torch.manual_seed(0)
    return FrameLabeller(FEATURE, CLASSES, **({"hidden_size": 6} | settings)).double().eval()


def classifier(**settings: object) -> ClipClassifier:
    torch.manual_seed(0)
    return ClipClassifier(FEATURE, CLASSES, **({"hidden_size": 6} | settings)).double().eval()


def clips(batch: int = BATCH, time: int = TIME) -> Tensor:
    return torch.randn(
        batch, time, FEATURE, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


def noise_past_end(features: Tensor) -> Tensor:
    past = torch.arange(TIME) >= LENGTHS.unsqueeze(1)
    return torch.where(past.unsqueeze(2), 100 * torch.randn_like(features), features)


@pytest.mark.parametrize("settings", [*CAUSAL, *WHOLE], ids=str)
def test_every_frame_has_logits_and_every_parameter_a_gradient(settings: dict[str, object]) -> None:
    model = labeller(**settings)
    stages, _ = model.stages(clips())
    logits, _ = model(clips())
    assert logits.shape == (BATCH, TIME, CLASSES)
    assert_close(logits, stages[-1])
    assert len(stages) == 1 + ("refinement" in settings)
    sum(stage.square().sum() for stage in stages).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
@pytest.mark.parametrize("settings", CAUSAL, ids=str)
def test_chunks_with_a_carried_state_equal_the_whole(settings: dict[str, object]) -> None:
    model, features = labeller(**settings), clips()
    assert model.causal
    whole, last = model(features)
    for cuts in itertools.product([False, True], repeat=TIME - 1):  # every chunking there is
        places = [0, *(place for place, cut in enumerate(cuts, 1) if cut), TIME]
        state, pieces = None, []
        for start, end in itertools.pairwise(places):
            piece, state = model(features[:, start:end], state=state)
            pieces.append(piece)
        assert_close(torch.cat(pieces, 1), whole)
        assert_close(state, last)


@pytest.mark.parametrize("settings", CAUSAL, ids=str)
def test_rows_may_end_in_any_chunk(settings: dict[str, object]) -> None:
    model, features = labeller(**settings), clips()
    whole, last = model(features, LENGTHS)
    state, pieces = None, []
    for start, end in itertools.pairwise([0, 2, 2, 5, 6]):
        lengths = (LENGTHS - start).clamp(0, end - start)
        piece, state = model(features[:, start:end], lengths, state)
        pieces.append(piece)
    assert_close(torch.cat(pieces, 1), whole)
    assert_close(state, last)


@pytest.mark.parametrize("settings", [*CAUSAL, *WHOLE], ids=str)
def test_a_padded_row_is_the_row_alone(settings: dict[str, object]) -> None:
    model, features = labeller(**settings), clips()
    logits, state = model(noise_past_end(features), LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, alone_state = model(features[row : row + 1, :length])
        assert_close(logits[row : row + 1, :length], alone)
        assert not logits[row, length:].any()
        assert_close(select(state, torch.tensor([row])), alone_state)


@pytest.mark.parametrize("settings", CAUSAL, ids=str)
def test_a_causal_labeller_does_not_know_the_future(settings: dict[str, object]) -> None:
    features = clips().requires_grad_()
    logits, _ = labeller(**settings)(features)
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), features)
    assert gradient[:, 3].any()
    assert not gradient[:, 4:].any()


@pytest.mark.parametrize("settings", WHOLE, ids=str)
def test_a_bidirectional_labeller_knows_both_sides_and_refuses_chunks(
    settings: dict[str, object],
) -> None:
    model, features = labeller(**settings), clips().requires_grad_()
    assert not model.causal
    logits, state = model(features)
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), features)
    assert gradient[:, 2].any()
    assert gradient[:, 4].any()
    with pytest.raises(InvalidOption, match="whole clip"):
        model(features, state=state)


def test_layers_both_ways_read_each_other_as_torchs_do() -> None:
    model = labeller(cell="lstm", num_layers=2, bidirectional=True)
    theirs = nn.LSTM(FEATURE, 6, num_layers=2, bidirectional=True, batch_first=True).double()
    names = {f"{kind}_{side}" for kind in ("weight", "bias") for side in ("ih", "hh")}
    theirs.load_state_dict(
        {
            f"{name}_l{layer}{suffix}": model.state_dict()[f"reader.layers.{layer}.{way}.{name}"]
            for name, layer in itertools.product(names, range(2))
            for way, suffix in (("ahead", ""), ("back", "_reverse"))
        }
    )
    packed = nn.utils.rnn.pack_padded_sequence(clips(), LENGTHS, True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    outputs, _ = model.reader(clips(), LENGTHS)
    assert_close(outputs, expected)


@pytest.mark.parametrize("settings", [{"cell": None}, {"cell": "none", "bidirectional": True}])
def test_the_baseline_has_no_memory(settings: dict[str, object]) -> None:
    model, features = labeller(**settings), clips()
    logits, state = model(features)
    assert state == ()
    order = torch.tensor([3, 1, 0, 5, 2, 4])
    assert_close(model(features[:, order])[0], logits[:, order])
    again, _ = model(features[:, :2], state=state)
    assert_close(again, logits[:, :2])


def test_a_convolution_sees_as_far_as_it_says() -> None:
    # Two layers: 2 · (2² - 1) = 6 frames besides its own, all earlier, or three on each side.
    for both, seen in ((False, range(4, 11)), (True, range(7, 14))):
        model = labeller(
            cell=None, bidirectional=both, refinement="convolution", refinement_layers=2
        )
        features = clips(1, 20).requires_grad_()
        (gradient,) = torch.autograd.grad(model(features)[0][:, 10].sum(), features)
        assert gradient[0].any(1).nonzero().flatten().tolist() == list(seen)


def test_a_detached_state_goes_on_without_its_history() -> None:
    model, features = labeller(refinement="convolution"), clips().requires_grad_()
    _, state = model(features[:, :3])
    logits, _ = model(features[:, 3:], state=detach(state))
    (gradient,) = torch.autograd.grad(logits.sum(), features)
    assert not gradient[:, :3].any()


def test_probabilities_are_of_one_class_or_of_each_label() -> None:
    logits = torch.randn(2, 3, CLASSES)
    assert_close(labeller().probabilities(logits).sum(2), torch.ones(2, 3))
    assert_close(labeller(multi_label=True).probabilities(logits), logits.sigmoid())


def test_dropout_is_drawn_in_training_only() -> None:
    features = clips()
    for name in ("dropout", "feature_dropout"):
        model = labeller(**{name: 0.5})
        assert_close(model(features)[0], model(features)[0])
        model.train()
        assert (model(features)[0] - model(features)[0]).any()


@pytest.mark.parametrize("settings", POOLED, ids=str)
def test_a_clip_has_logits_that_padding_does_not_change(settings: dict[str, object]) -> None:
    model, features = classifier(**settings), clips()
    logits = model(noise_past_end(features), LENGTHS)
    assert logits.shape == (BATCH, CLASSES)
    for row, length in enumerate(LENGTHS.tolist()):
        assert_close(logits[row : row + 1], model(features[row : row + 1, :length]))
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    empty = model(features, torch.zeros(BATCH, dtype=torch.int64))
    assert empty.isfinite().all()


@pytest.mark.parametrize("both", [False, True])
def test_the_last_output_has_read_every_frame(both: bool) -> None:
    features = clips().requires_grad_()
    logits = classifier(bidirectional=both)(features, LENGTHS)
    (gradient,) = torch.autograd.grad(logits.square().sum(), features)
    assert torch.equal(gradient.abs().sum(2) > 0, torch.arange(TIME) < LENGTHS.unsqueeze(1))


def test_the_last_output_is_the_final_state() -> None:
    model = classifier(cell="lstm", num_layers=2)
    outputs, state = model.reader(clips(), LENGTHS)
    assert_close(model.reader.ends(outputs, LENGTHS), state[2])  # h of the upper layer


def test_the_single_frame_model_sees_the_middle_frame_only() -> None:
    features = clips().requires_grad_()
    logits = classifier(cell=None, pooling="middle")(features, LENGTHS)
    (gradient,) = torch.autograd.grad(logits.square().sum(), features)
    seen = [row.any(1).nonzero().flatten().tolist() for row in gradient]
    assert seen == [[2], [3], [0], [2]]


def test_a_bag_of_frames_has_no_order() -> None:
    features = clips()
    for pooling in ("mean", "attention"):
        model = classifier(cell=None, pooling=pooling)
        assert_close(model(features), model(features.flip(1)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: labeller(cell="lstn"), "'lstn'"),
        (lambda: labeller(num_layers=0, bidirectional=True), "num_layers is 0"),
        (lambda: labeller(cell=None, num_layers=-1), "num_layers is -1"),
        (lambda: labeller(refinement="attention"), "'attention' is unknown"),
        (lambda: labeller(cell=None, refinement="recurrent"), "needs a cell"),
        (lambda: labeller(refinement="convolution", refinement_layers=0), "layers is 0"),
        (lambda: classifier(pooling="max"), "'max' is unknown"),
        (lambda: classifier(pooling="middle"), "'lstm' reads many"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    make: Callable[[], object], words: str
) -> None:
    with pytest.raises(InvalidOption, match=words):
        make()


@pytest.mark.parametrize("cell", ["lstm", None])
def test_frames_of_another_size_are_refused(cell: str | None) -> None:
    for features in (torch.zeros(2, 3, FEATURE + 1), torch.zeros(3, FEATURE)):
        with pytest.raises(ValueError, match=r"\(batch, time, 3\) is expected"):
            labeller(cell=cell)(features.double())


def some_logits(classes: int = CLASSES) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 6, classes, generator=generator, dtype=torch.float64).requires_grad_()


TARGETS = torch.tensor([[0, 1, -1, 4, 4, -1], [2, -1, -1, -1, -1, -1]])
MANY = torch.where(torch.arange(CLASSES) == 3, -1, TARGETS.unsqueeze(2) % 2)
MANY = torch.where(TARGETS.unsqueeze(2) == -1, -1, MANY)
"""Of the labelled frames each label but number 3 has a target."""


def test_cross_entropy_is_the_mean_over_labelled_frames() -> None:
    logits, known = some_logits(), TARGETS != -1
    for weight in (None, torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0]).double()):
        expected = functional.cross_entropy(logits[known], TARGETS[known], weight)
        assert_close(frame_cross_entropy(logits, TARGETS, weight), expected)


def test_label_smoothing_is_torchs_over_the_labelled_frames() -> None:
    logits, known = some_logits(), TARGETS != -1
    expected = functional.cross_entropy(logits[known], TARGETS[known], label_smoothing=0.2)
    assert_close(frame_cross_entropy(logits, TARGETS, label_smoothing=0.2), expected)
    found = frame_loss([logits, logits], TARGETS, label_smoothing=0.2, smoothing=0)
    assert_close(found, 2 * expected)


def test_binary_cross_entropy_is_the_mean_over_targets_that_count() -> None:
    logits, known = some_logits(), MANY != -1
    expected = functional.binary_cross_entropy_with_logits(logits[known], MANY[known].double())
    assert_close(frame_binary_cross_entropy(logits, MANY), expected)
    mask = torch.arange(6).expand(2, 6) < 4
    known &= mask.unsqueeze(2)
    expected = functional.binary_cross_entropy_with_logits(logits[known], MANY[known].double())
    assert_close(frame_binary_cross_entropy(logits, MANY, mask=mask), expected)


def test_positive_targets_may_weigh_more() -> None:
    # One label on and one off at a logit of 0: (3 log 2 + log 2) / 2.
    found = frame_binary_cross_entropy(
        torch.zeros(1, 1, 2), torch.tensor([[[1, 0]]]), torch.tensor([3.0, 3.0])
    )
    assert_close(found, 2 * torch.tensor(2.0).log())


@pytest.mark.parametrize("multi_label", [False, True])
def test_unlabelled_frames_have_no_gradient(multi_label: bool) -> None:
    targets = MANY if multi_label else TARGETS
    logits = some_logits()
    frame_loss([logits], targets, multi_label=multi_label).backward()
    assert not logits.grad[TARGETS == -1].any()
    counted = TARGETS != -1
    assert logits.grad[counted][:, :3].all()
    # Label 3 has no target, and no neighbour that would smooth it but frame 4's.
    if multi_label:
        assert logits.grad[..., 3].nonzero().tolist() == [[0, 1], [0, 4]]


@pytest.mark.parametrize("multi_label", [False, True])
def test_nothing_labelled_costs_nothing(multi_label: bool) -> None:
    logits = some_logits()
    targets = torch.full((2, 6, CLASSES) if multi_label else (2, 6), -1)
    weight = torch.ones(CLASSES).double()
    loss = frame_loss([logits], targets, multi_label=multi_label, weight=weight)
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()
    assert smoothing_loss(logits[:, :1]) == 0


@pytest.mark.parametrize(
    ("frames", "expected", "gradient"),
    [
        # Δ² = (log σ(2) + log 2)² and (log σ(-2) + log 2)²: (0.3206 + 2.0557) / (2 pairs · 2)
        ([(0, 0), (1, -1), (1, -1)], 0.594083, [0, 0.6652, 0]),
        # The step to (9, -9): 0.4805, and 299.5 cut to 16; the cut one has no gradient.
        ([(0, 0), (0, 0), (9, -9)], 4.120113, [0, 0, 0]),
    ],
)
def test_smoothing_loss_worked_out_by_hand(
    frames: list[tuple[int, int]], expected: float, gradient: list[float]
) -> None:
    logits = torch.tensor([frames], dtype=torch.float64, requires_grad=True)
    loss = smoothing_loss(logits)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert logits.grad[0, :, 0].tolist() == pytest.approx(gradient, abs=1e-4)
    assert logits.grad[0, :, 1].tolist() == pytest.approx([-g for g in gradient], abs=1e-4)


def test_smoothing_of_a_label_is_that_of_on_and_off() -> None:
    logits = some_logits(1)
    two = torch.cat([logits, torch.zeros_like(logits)], 2)
    assert_close(smoothing_loss(logits, multi_label=True), smoothing_loss(two))


def test_smoothing_counts_pairs_of_frames_that_count() -> None:
    logits = some_logits()
    mask = torch.tensor([[1, 1, 0, 1, 1, 1], [1, 0, 0, 0, 0, 0]]).bool()
    pairs = torch.cat([logits[:1, :2], logits[:1, 3:5], logits[:1, 4:]])
    assert_close(smoothing_loss(logits, mask), smoothing_loss(pairs))
    assert_close(smoothing_loss(logits, torch.ones_like(mask)), smoothing_loss(logits))


def test_the_loss_is_the_sum_over_stages() -> None:
    first, second = some_logits(), 2 * some_logits()
    parts = [
        frame_cross_entropy(logits, TARGETS) + 0.15 * smoothing_loss(logits, TARGETS != -1)
        for logits in (first, second)
    ]
    assert_close(frame_loss([first, second], TARGETS), parts[0] + parts[1])
    plain = frame_loss([first], TARGETS, smoothing=0)
    assert_close(plain, frame_cross_entropy(first, TARGETS))
