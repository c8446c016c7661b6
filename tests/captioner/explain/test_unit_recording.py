"""What is recorded of a model is what the model did."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from captioner.errors import InvalidOption
from captioner.explain.units.intervention import believe
from captioner.explain.units.recording import Recording, record, unit_names
from captioner.models.char_language_model import CharLanguageModel

V, LENGTH = 7, 40


def build(cell: str = "lstm", num_layers: int = 2) -> CharLanguageModel:
    torch.manual_seed(0)
    model = CharLanguageModel(V, cell=cell, hidden_size=6, num_layers=num_layers)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return model.eval()


@pytest.fixture
def tokens() -> list[int]:
    return torch.randint(0, V, (LENGTH,), generator=torch.Generator().manual_seed(1)).tolist()


def test_units_are_named_by_part_layer_and_place() -> None:
    names = unit_names(build().cell)
    assert names[0] == "h1.0"
    assert names[6] == "c1.0"
    assert names[-1] == "c2.5"
    assert len(set(names)) == len(names) == 24
    assert unit_names(build("gru", 1).cell) == tuple(f"h1.{place}" for place in range(6))


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman", "nas", "mut1"])
def test_the_top_layers_output_stands_in_the_recording(cell: str, tokens: list[int]) -> None:
    model = build(cell)
    found = record(model, tokens)
    outputs, state = model.hidden(torch.tensor([tokens]))
    columns = [found.column(f"h2.{place}") for place in range(6)]
    np.testing.assert_allclose(found.states[:, columns], outputs[0].detach(), atol=1e-3)
    last = torch.cat(state, 1)[0].detach()
    np.testing.assert_allclose(found.states[-1], last, atol=2e-3, rtol=1e-3)


def test_beliefs_are_the_models(tokens: list[int]) -> None:
    model = build()
    found = record(model, tokens)
    logits, _ = model(torch.tensor([tokens]))
    believed = logits[0].detach().log_softmax(1)
    assert np.isnan(found.log_probs[0])
    expected = believed[:-1].gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
    np.testing.assert_allclose(found.log_probs[1:], expected, atol=1e-5)
    assert found.likeliest.tolist() == believed.topk(5).indices.tolist()
    np.testing.assert_allclose(found.probabilities, believed.topk(5).values.exp(), atol=1e-5)


def test_streams_are_texts_of_their_own(tokens: list[int]) -> None:
    model = build()
    both = record(model, tokens, streams=2)
    second = record(model, tokens[LENGTH // 2 :])
    np.testing.assert_allclose(both.states[LENGTH // 2 :], second.states, atol=1e-3)
    assert len(record(model, tokens, streams=3)) == 39


def test_a_vocabulary_smaller_than_five_is_no_problem() -> None:
    model = CharLanguageModel(2, hidden_size=3, num_layers=1).eval()
    assert record(model, [0, 1, 1]).likeliest[0].tolist()[2:] == [-1, -1, -1]


@pytest.mark.parametrize(("count", "streams"), [(0, 1), (3, 4), (3, 0), (3, -1)])
def test_a_text_too_short_is_refused(count: int, streams: int) -> None:
    with pytest.raises(InvalidOption, match="streams"):
        record(build(), [0] * count, streams=streams)


def test_what_is_shown_lies_between_minus_one_and_one(tokens: list[int]) -> None:
    found = record(build(), tokens)
    raw = found.states[:, found.column("c1.2")].astype(np.float32)
    assert np.abs(raw).max() > 1
    np.testing.assert_allclose(found.shown([found.column("c1.2")])[:, 0], np.tanh(raw), atol=1e-5)
    np.testing.assert_array_equal(found.shown([0])[:, 0], found.states[:, 0])
    with pytest.raises(InvalidOption, match=r"no unit 'c3.0'"):
        found.column("c3.0")


# -- held units


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_unit_held_at_what_it_does_anyway_changes_nothing(cell: str, tokens: list[int]) -> None:
    model = build(cell)
    free = believe(model, tokens)
    outputs, _ = model.hidden(torch.tensor([tokens]))
    np.testing.assert_array_almost_equal(
        believe(model, tokens, {"h2.3": outputs[0, :, 3].detach().numpy()}), free, decimal=5
    )
    alone = believe(model, tokens, {"h1.0": np.full(LENGTH, np.nan)})
    np.testing.assert_array_equal(alone, free)


def test_a_held_cell_state_moves_what_its_layer_gives_out(tokens: list[int]) -> None:
    model = build()
    free = believe(model, tokens[:1])
    held = believe(model, tokens[:1], {"c2.1": 2.0})
    # By hand: h = o · tanh(c), and the logits are linear in h.
    _, (_, _, hidden, cell) = model.hidden(torch.tensor([tokens[:1]]))
    gate = hidden[0, 1] / cell[0, 1].tanh()
    hidden = hidden.clone()
    hidden[0, 1] = gate * torch.tensor(2.0).tanh()
    expected = model.logits(hidden).log_softmax(1).detach().numpy()
    np.testing.assert_allclose(held, expected, atol=1e-5)
    assert np.abs(held - free).max() > 1e-3


def test_a_unit_may_be_held_for_a_while_only(tokens: list[int]) -> None:
    model = build()
    values = np.full(LENGTH, np.nan)
    values[20:] = 3.0
    held, free = believe(model, tokens, {"c1.0": values}), believe(model, tokens)
    np.testing.assert_array_equal(held[:20], free[:20])
    assert np.abs(held[20:] - free[20:]).max() > 1e-3


def test_a_unit_that_is_not_there_cannot_be_held(tokens: list[int]) -> None:
    with pytest.raises(InvalidOption, match="no unit 'x'"):
        believe(build(), tokens, {"x": 0.0})


def test_a_recording_is_plain_arrays(tokens: list[int]) -> None:
    found = record(build(), tokens)
    assert isinstance(found, Recording)
    assert found.states.dtype == np.float16
    assert len(found) == LENGTH
