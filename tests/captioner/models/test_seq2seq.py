"""Seq2Seq: what is true of it whatever its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.bundle import open_bundle
from captioner.errors import InvalidOption
from captioner.models.seq2seq import Seq2Seq, pad_sources
from captioner.search import SearchOptions

V = 30
SENTENCES = [[5, 6, 7], [8], [], [9, 10, 11, 12, 13, 14]]


def build(attention: str = "soft", cell: str = "gru", **changed: Any) -> Seq2Seq:
    torch.manual_seed(0)
    model = Seq2Seq(
        {"cell": cell, "hidden_size": 12, "embedding_size": 10, "num_layers": 2, "dropout": 0.0},
        {
            "cell": cell,
            "hidden_size": 14,
            "embedding_size": 10,
            "attention": attention,
            "attention_size": 8,
            "dropout": 0.0,
        },
        vocabulary_size=V,
        **changed,
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.double().eval()


FORMS = [(a, c) for a in ("soft", "none") for c in ("gru", "lstm", "elman")]


def forced(model: Seq2Seq, sentences: list[list[int]], ids: list[list[int]]) -> Tensor:
    sources, lengths = pad_sources(sentences)
    longest = max(map(len, ids))
    tokens = torch.zeros(len(ids), longest + 1, dtype=torch.long)
    for row, sentence in enumerate(ids):
        tokens[row, : len(sentence) + 1] = torch.tensor([1, *sentence])
    read, _ = model(sources, lengths, tokens, torch.tensor([len(s) + 1 for s in ids]))
    return model.decoder.logits(read)


@pytest.mark.parametrize(("attention", "cell"), FORMS)
def test_a_batch_gives_what_each_sentence_gives_alone(attention: str, cell: str) -> None:
    model = build(attention, cell)
    ids = [[3, 4], [5, 6, 7], [8], [9, 9, 9]]
    together = forced(model, SENTENCES, ids)
    for row, (sentence, target) in enumerate(zip(SENTENCES, ids, strict=True)):
        alone = forced(model, [sentence], [target])
        torch.testing.assert_close(together[row, : len(target) + 1], alone[0])
    options = SearchOptions(num_beams=3, max_tokens=9)
    found = model.translate(*pad_sources(SENTENCES), options)
    for sentence, best in zip(SENTENCES, found, strict=True):
        alone_best = model.translate(*pad_sources([sentence]), options)[0]
        assert [h.ids for h in best] == [h.ids for h in alone_best]
        assert best[0].log_prob == pytest.approx(alone_best[0].log_prob)


@pytest.mark.parametrize(("attention", "cell"), FORMS)
def test_a_search_is_worth_what_teacher_forcing_says(attention: str, cell: str) -> None:
    model = build(attention, cell)
    found = model.translate(*pad_sources(SENTENCES), SearchOptions(max_tokens=7))
    for sentence, (best,) in zip(SENTENCES, found, strict=True):
        log_probs = forced(model, [sentence], [best.ids])[0].detach().log_softmax(1)
        said = [*best.ids, 2] if best.finished else best.ids
        expected = [float(log_probs[t, token]) for t, token in enumerate(said)]
        assert best.token_log_probs == pytest.approx(expected)


@pytest.mark.parametrize(("attention", "cell"), FORMS)
def test_a_beam_of_one_is_greedy(attention: str, cell: str) -> None:
    model = build(attention, cell)
    (best,) = model.translate(*pad_sources([[5, 6, 7]]), SearchOptions(num_beams=1, max_tokens=6))
    ids: list[int] = []
    while len(ids) < 6:
        logits = forced(model, [[5, 6, 7]], [ids])[0, -1]
        logits[[0, 1]] = float("-inf")
        token = int(logits.argmax())
        if token == 2:
            break
        ids.append(token)
    assert best[0].ids == ids


@pytest.mark.parametrize(("attention", "cell"), FORMS)
def test_frozen_says_the_same(attention: str, cell: str) -> None:
    model = build(attention, cell).float()
    options = SearchOptions(num_beams=2, max_tokens=8)
    before = model.translate(*pad_sources(SENTENCES), options)
    after = model.frozen().translate(*pad_sources(SENTENCES), options)
    assert [h[0].ids for h in before] == [h[0].ids for h in after]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("attention", "cell"), FORMS)
def test_what_is_never_said_is_as_if_it_were_banned(attention: str, cell: str, tied: bool) -> None:
    """Others' probabilities are shared out among the rest, more or less of it at each step."""
    said = [2, 1, 0, *range(4, V, 2)]
    banned = tuple(set(range(V)) - set(said))
    options = SearchOptions(max_tokens=8, banned_ids=(6,), prefix=(4, 8))
    plain = build(attention, cell, tied=tied).float().frozen()
    expected = plain.translate(
        *pad_sources(SENTENCES), replace(options, banned_ids=(6, *banned)), keep_weights=True
    )
    narrow = build(attention, cell, tied=tied).float().frozen(said)
    found = narrow.translate(*pad_sources(SENTENCES), options, keep_weights=True)
    for (ours,), (theirs,) in zip(found, expected, strict=True):
        assert ours.ids == theirs.ids
        assert not {*ours.ids} - {*said}
        if attention == "soft":
            torch.testing.assert_close(ours.weights, theirs.weights)
    with torch.inference_mode():
        logits = [
            each.decoder.advance(
                torch.tensor([start] * 4), each.decoder.begin(memory), memory
            ).logits
            for each, start in ((plain, 1), (narrow, said.index(1)))
            for memory in [each.memory(*pad_sources(SENTENCES))]
        ]
    torch.testing.assert_close(logits[1], logits[0][:, said])


def test_what_shall_be_said_has_to_fit() -> None:
    for said in ([1, 4], [1, 2, V], [2, 4]):
        with pytest.raises(InvalidOption, match="tokens to keep"):
            build().frozen(said)
    model = build().float().frozen([0, 1, 2, 4, 5])
    with pytest.raises(InvalidOption, match="prefix has the token 7"):
        model.translate(*pad_sources(SENTENCES), SearchOptions(prefix=(4, 7)))


def test_attention_looks_at_real_tokens_only() -> None:
    model = build()
    found = model.translate(*pad_sources(SENTENCES), SearchOptions(max_tokens=5), keep_weights=True)
    for sentence, (best,) in zip(SENTENCES, found, strict=True):
        assert best.weights is not None
        real = best.weights[:, : len(sentence) + 1]
        torch.testing.assert_close(real.sum(1), torch.ones(len(best.ids), dtype=torch.double))
        assert (best.weights[:, len(sentence) + 1 :] == 0).all()


def test_the_plain_form_knows_the_last_hidden_state_only() -> None:
    model = build("none")
    sources, lengths = pad_sources(SENTENCES)
    features, mask = model.features(sources, lengths)
    assert features.shape == (4, 1, 24)
    assert mask is None
    states = model.source(sources, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(features[row, 0, :12], states[row, length - 1, :12])
        torch.testing.assert_close(features[row, 0, 12:], states[row, 0, 12:])


def test_the_two_networks_have_weights_of_their_own() -> None:
    model = build(tied=False)
    own = {id(p) for p in model.source.parameters()}
    assert not own & {id(p) for p in model.decoder.parameters()}


def test_tied_is_one_embedding() -> None:
    model = build()
    assert model.source.embedding.weight is model.decoder.embedding.weight
    assert model.decoder.words.weight is model.decoder.embedding.weight


def test_embeddings_of_different_sizes_are_not_tied() -> None:
    with pytest.raises(InvalidOption, match="8 and 9"):
        Seq2Seq({"embedding_size": 8}, {"embedding_size": 9}, vocabulary_size=V)


@pytest.mark.parametrize("tied", [True, False])
def test_saved_is_loaded(make_translate_bundle: Any, tmp_path: Path, tied: bool) -> None:
    source = {"hidden_size": 12, "embedding_size": 10}
    decoder = {"hidden_size": 14, "embedding_size": 10, "attention_size": 8}
    config = {"source": source, "decoder": decoder, "vocabulary_size": V, "tied": tied}
    model = Seq2Seq(**config).eval()
    state = model.state_dict()
    path = make_translate_bundle(tmp_path, model=config, state=state, storage="float32")
    bundle = open_bundle(path)
    again = Seq2Seq(**bundle.model).eval()
    bundle.load_into(again)
    assert bundle.encoder_path() is None
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_every_parameter_learns() -> None:
    model = build(cell="lstm").train()
    forced(model, SENTENCES, [[3], [4], [5], [6]]).square().mean().backward()
    without = {"decoder.attention.energy.bias"}
    assert all(p.grad is not None for n, p in model.named_parameters() if n not in without)
