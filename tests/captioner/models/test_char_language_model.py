"""The character model: chunks are the whole, one-hot is embedding, a stream is its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from captioner.bundle import open_bundle
from captioner.errors import InvalidOption
from captioner.models.aligned import TokenLabeller
from captioner.models.char_language_model import SHORT, CharLanguageModel
from captioner.recurrent import CELLS, detach
from captioner.search import SearchOptions, TokenStream

V = 11


def build(cell: str = "lstm", **changed: Any) -> CharLanguageModel:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"cell": cell, "hidden_size": 13, "num_layers": 2} | changed
    model = CharLanguageModel(V, **settings)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.double().eval()


TEXT = torch.randint(V, (3, 12), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("cell", CELLS)
def test_one_hot_and_embedding_are_one_function(cell: str, size: int | None) -> None:
    models = [build(cell, inputs=kind, embedding_size=size) for kind in ("one_hot", "embedding")]
    models[1].load_state_dict(models[0].state_dict())
    values = [model(TEXT)[0] for model in models]
    torch.testing.assert_close(values[0], values[1])
    for value in values:
        value.log_softmax(2).square().mean().backward()
    for (name, one), two in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("inputs", ["one_hot", "embedding"])
@pytest.mark.parametrize("cell", CELLS)
def test_chunks_give_what_the_whole_gives(cell: str, inputs: str) -> None:
    model = build(cell, inputs=inputs)
    whole, end = model(TEXT)
    state, parts = None, []
    for chunk in TEXT.split([5, 5, 2], 1):
        logits, state = model(chunk, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(state, end)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_is_a_text_of_one_character(cell: str) -> None:
    model = build(cell)
    whole, _ = model(TEXT)
    for frozen in (False, True):
        if frozen:
            model = model.float().frozen()
        state = model.initial_state(3)
        for t, tokens in enumerate(TEXT.unbind(1)):
            with torch.inference_mode():
                logits, state = model.advance(tokens, state)
            torch.testing.assert_close(logits.double(), whole[:, t], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_one_row_goes_through_a_frozen_model_as_through_the_plain_one(layers: int) -> None:
    model = build(num_layers=layers).float()
    text = TEXT.view(1, -1)
    with torch.no_grad():
        whole, end = model(text)
        model.frozen()
        for beginning in (5, SHORT + 1):  # read step by step, and at once
            logits, state = model.read(text[:, :beginning], model.initial_state(1))
            for t in range(beginning, text.shape[1]):
                torch.testing.assert_close(logits, whole[:, t - 1], rtol=1e-4, atol=1e-4)
                logits, state = model.advance(text[:, t], state)
            torch.testing.assert_close(state, end, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.train()(text)[0], whole)  # the weights are as they were


def gradient(model: CharLanguageModel, chunk: int, *, cut: bool = True) -> torch.Tensor:
    """Of the text's mean loss, chunk by chunk, with the state carried (and cut off if ``cut``)."""
    model.zero_grad()
    inputs, targets = TEXT[:, :-1], TEXT[:, 1:]
    state, total = model.initial_state(3), torch.zeros((), dtype=torch.double)
    for part, wanted in zip(inputs.split(chunk, 1), targets.split(chunk, 1), strict=True):
        logits, state = model(part, state)
        total = total - logits.log_softmax(2).gather(2, wanted.unsqueeze(2)).sum()
        if cut:
            state = detach(state)
    total.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("cell", CELLS)
def test_a_chunk_as_long_as_the_text_has_the_full_gradient(cell: str) -> None:
    model = build(cell)
    full = gradient(model, 11, cut=False)
    torch.testing.assert_close(gradient(model, 11), full)
    # Shorter chunks lose what reaches back over a cut, and only the cut does it.
    assert (gradient(model, 4) - full).norm() > 1e-3 * full.norm()
    torch.testing.assert_close(gradient(model, 4, cut=False), full)


def test_a_loss_behind_the_cut_knows_the_values_but_not_the_gradient_before_it() -> None:
    model = build()
    embedded = torch.nn.functional.one_hot(TEXT, V).double().requires_grad_()
    from captioner.recurrent import unroll

    _, state = unroll(model.cell, embedded[:, :4])
    outputs, _ = unroll(model.cell, embedded[:, 4:], state=detach(state))
    outputs.sum().backward()
    assert embedded.grad is not None
    assert (embedded.grad[:, :4] == 0).all()
    assert (embedded.grad[:, 4:] != 0).any()
    changed = TEXT.clone()
    changed[:, 0] = (changed[:, 0] + 1) % V
    assert not torch.equal(model(TEXT)[0][:, 4:], model(changed)[0][:, 4:])


def test_saved_is_loaded(make_generate_bundle: Any, tmp_path: Path) -> None:
    config = {"vocabulary_size": V, "hidden_size": 13, "embedding_size": 5}
    model = CharLanguageModel(**config).eval()
    state = model.state_dict()
    path = make_generate_bundle(tmp_path, model=config, state=state, storage="float32")
    bundle = open_bundle(path)
    again = CharLanguageModel(**bundle.model).eval()
    bundle.load_into(again)
    torch.testing.assert_close(again(TEXT), model(TEXT), rtol=0, atol=0)


def test_unknown_inputs_are_refused() -> None:
    with pytest.raises(InvalidOption, match="two_hot"):
        CharLanguageModel(V, inputs="two_hot")  # type: ignore[arg-type]


# -- streams ----------------------------------------------------------------------------------


def said(stream: TokenStream) -> list[int]:
    return [emitted.id for emitted in stream]


def test_a_cold_stream_takes_the_most_probable_each_time() -> None:
    model = build()
    ids = said(TokenStream(model, [3, 4], SearchOptions(max_tokens=6)))
    text = [3, 4]
    for expected in ids:
        logits, _ = model(torch.tensor([text]))
        assert int(logits[0, -1].argmax()) == expected
        text.append(expected)
    assert len(ids) == 6


def test_a_stream_says_what_each_token_was_worth() -> None:
    model = build()
    options = SearchOptions(max_tokens=8, temperature=0.7, top_k=4, top_p=0.9, seed=1)
    found = list(TokenStream(model, [3], options))
    ids = [3, *(emitted.id for emitted in found)]
    log_probs = model(torch.tensor([ids]))[0][0].detach().log_softmax(1)
    for t, emitted in enumerate(found):
        assert emitted.log_prob == pytest.approx(float(log_probs[t, emitted.id]), abs=1e-5)
        assert emitted.id in log_probs[t].topk(4).indices


def test_a_seed_gives_the_same_text_again() -> None:
    model = build()
    options = SearchOptions(max_tokens=30, temperature=1.0, seed=7)
    assert said(TokenStream(model, [3], options)) == said(TokenStream(model, [3], options))
    other = SearchOptions(max_tokens=30, temperature=1.0, seed=8)
    assert said(TokenStream(model, [3], options)) != said(TokenStream(model, [3], other))


def test_a_stream_goes_on_where_another_stopped() -> None:
    model = build()
    whole = said(TokenStream(model, [3], SearchOptions(max_tokens=10)))
    first = TokenStream(model, [3], SearchOptions(max_tokens=4))
    begun = said(first)
    # The state has the last token read: the next prompt is what comes behind it.
    second = TokenStream(model, [whole[4]], SearchOptions(max_tokens=5), state=first.state)
    assert [*begun, whole[4], *said(second)] == whole


def test_banned_tokens_never_come() -> None:
    model = build()
    options = SearchOptions(max_tokens=40, temperature=2.0, seed=0, banned_ids=(0, 1, 2, 3, 4))
    assert min(said(TokenStream(model, [3], options))) >= 5


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        ([], {}),
        ([V], {}),
        ([-1], {}),
        ([1], {"num_beams": 2}),
        ([1], {"length_penalty": 1.0}),
        ([1], {"no_repeat_ngram_size": 2}),
        ([1], {"prefix": (1,)}),
        ([1], {"temperature": 1.0, "seed": (1, 2)}),
        ([1], {"banned_ids": (V,)}),
        ([1], {"banned_ids": tuple(range(V))}),
    ],
)
def test_what_a_stream_cannot_do_is_refused(prompt: list[int], options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        TokenStream(build(), prompt, SearchOptions(**options))


# -- the aligned form -------------------------------------------------------------------------


def test_the_aligned_form_labels_every_token_and_goes_on_in_chunks() -> None:
    torch.manual_seed(0)
    model = TokenLabeller(V, 4, hidden_size=8).eval()
    whole, _ = model(TEXT)
    assert whole.shape == (3, 12, 4)
    first, state = model(TEXT[:, :7])
    second, _ = model(TEXT[:, 7:], state=state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_a_bidirectional_aligned_form_reads_each_text_by_its_own_length() -> None:
    torch.manual_seed(0)
    model = TokenLabeller(V, 4, hidden_size=8, bidirectional=True).eval()
    lengths = torch.tensor([12, 5, 9])
    logits, _ = model(TEXT, lengths)
    alone, _ = model(TEXT[1:2, :5])
    torch.testing.assert_close(logits[1, :5], alone[0])
    assert (logits[1, 5:] == 0).all()
