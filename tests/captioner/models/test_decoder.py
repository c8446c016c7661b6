import pytest
import torch
from torch import nn

from captioner.errors import InvalidOption
from captioner.models.decoder import Decoder
from captioner.models.frozen_step import LOOKED_UP
from captioner.recurrent import select
from captioner.search import SearchOptions, search

KINDS = [
    {"attention": "none"},
    {"attention": "none", "cell": "gru", "num_layers": 2},
    {"attention": "none", "cell": "elman", "tied": True, "normalise": True},
    {"attention": "soft"},
    {"attention": "soft", "cell": "gru", "tied": True},
    {"attention": "soft", "tied": True, "num_layers": 2, "cell": "gru"},
    *({"attention": "none", "cell": cell} for cell in ("mut1", "mut2", "mut3", "tree:lstm")),
    {"attention": "soft", "cell": "nas"},
    {"attention": "soft", "cell": "mut1", "num_layers": 2},
    {"attention": "soft", "cell": "tree:gru"},
]


def _decoder(**settings: object) -> Decoder:
    torch.manual_seed(0)
    sizes = {"hidden_size": 7, "embedding_size": 5, "attention_size": 4}
    decoder = Decoder(11, 6, **(sizes | settings))
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    return decoder.eval()


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_stepping_equals_teacher_forcing(settings: dict[str, object]) -> None:
    decoder = _decoder(**settings)
    features, tokens = torch.randn(3, 9, 6), torch.randint(0, 11, (3, 5))
    with torch.no_grad():
        read, _ = decoder(features, tokens)
        memory = decoder.memory(features)
        state = decoder.begin(memory)
        for time in range(5):
            step = decoder.advance(tokens[:, time], state, memory)
            state = step.state
            assert torch.allclose(step.logits, decoder.logits(read[:, time]), atol=1e-5)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_a_frozen_decoder_says_the_same(settings: dict[str, object]) -> None:
    decoder = _decoder(**settings)
    memory = decoder.memory(torch.randn(2, 9, 6))
    tokens = torch.tensor([3, 8])
    with torch.no_grad():
        plain = decoder.advance(tokens, decoder.begin(memory), memory).logits
        frozen = decoder.frozen().advance(tokens, decoder.begin(memory), memory).logits
    assert torch.allclose(plain, frozen, atol=1e-5)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_rows_that_go_on_from_one_state_may_share_it(settings: dict[str, object]) -> None:
    decoder = _decoder(**settings)
    memory = decoder.memory(torch.randn(2, 9, 6))
    state = tuple(torch.randn(3, part.shape[1]) for part in decoder.begin(memory))
    tokens, parents = torch.tensor([3, 8, 5, 7]), torch.tensor([0, 1, 2, 2])
    for _ in ("as trained", "frozen"):
        with torch.no_grad():
            shared = decoder.advance(tokens, state, memory, parents)
            own = decoder.advance(tokens, select(state, parents), memory)
        torch.testing.assert_close((shared.logits, *shared.state), (own.logits, *own.state))
        torch.testing.assert_close(shared.weights, own.weights)
        decoder.frozen()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_vocabulary_too_large_for_a_table_says_the_same(cell: str) -> None:
    decoder = _decoder(attention="soft", cell=cell, embedding_size=1)
    assert decoder.vocabulary_size > LOOKED_UP * 1
    memory, tokens = decoder.memory(torch.randn(2, 9, 6)), torch.tensor([3, 8])
    with torch.no_grad():
        plain = decoder.advance(tokens, decoder.begin(memory), memory).logits
        frozen = decoder.frozen().advance(tokens, decoder.begin(memory), memory).logits
    assert torch.allclose(plain, frozen, atol=1e-5)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_beams_of_an_image_share_its_memory(settings: dict[str, object]) -> None:
    decoder = _decoder(**settings)
    features = torch.randn(2, 9, 6)
    tokens = torch.randint(4, 11, (6,))
    memory, repeated = decoder.memory(features), decoder.memory(features.repeat_interleave(3, 0))
    state = decoder.begin(repeated)
    with torch.no_grad():
        shared = decoder.advance(tokens, state, memory)
        apart = decoder.advance(tokens, state, repeated)
    assert torch.allclose(shared.logits, apart.logits, atol=1e-5)


def test_rows_say_whose_caption_it_is() -> None:
    decoder = _decoder(attention="soft")
    features, tokens = torch.randn(2, 9, 6), torch.randint(0, 11, (5, 4))
    rows = torch.tensor([0, 0, 1, 1, 1])
    with torch.no_grad():
        found, _ = decoder(features, tokens, rows=rows)
        expected, _ = decoder(features[rows], tokens)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_rows_side_by_side_share_their_image(settings: dict[str, object]) -> None:
    decoder = _decoder(**settings)
    features, tokens = torch.randn(2, 9, 6), torch.randint(0, 11, (6, 4))
    with torch.no_grad():
        shared, looked = decoder(features, tokens)
        apart, looked_apart = decoder(features, tokens, rows=torch.tensor([0, 0, 0, 1, 1, 1]))
    assert torch.allclose(shared, apart, atol=1e-5)
    if looked is not None:
        assert torch.allclose(looked, looked_apart, atol=1e-5)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_lengths_save_steps_and_change_no_other(settings: dict[str, object]) -> None:
    decoder = _decoder(**settings)
    features, tokens = torch.randn(3, 9, 6), torch.randint(0, 11, (3, 5))
    lengths = torch.tensor([5, 2, 3])
    with torch.no_grad():
        whole, _ = decoder(features, tokens)
        short, _ = decoder(features, tokens, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        assert torch.allclose(short[row, :length], whole[row, :length], atol=1e-5)


def test_without_attention_the_lstm_is_torchs_on_word_and_picture() -> None:
    # The lecture's term: W_ih v in every gate is nn.LSTM on [x; v] with [W_x | W_ih].
    decoder = _decoder()
    cell = decoder.cell
    reference = nn.LSTM(5 + 6, 7, batch_first=True)
    with torch.no_grad():
        reference.weight_ih_l0.copy_(torch.cat([cell.weight_ih, cell.weight_context], 1))
        reference.weight_hh_l0.copy_(cell.weight_hh)
        reference.bias_ih_l0.copy_(cell.bias_ih)
        reference.bias_hh_l0.copy_(cell.bias_hh)
        features, tokens = torch.randn(3, 9, 6), torch.randint(0, 11, (3, 5))
        context = features.mean(1, keepdim=True).expand(-1, 5, -1)
        hidden, _ = reference(torch.cat([decoder.embedding(tokens), context], 2))
        assert torch.allclose(decoder(features, tokens)[0], hidden, atol=1e-5)


def test_attention_is_a_distribution_over_the_positions_that_count() -> None:
    decoder = _decoder(attention="soft")
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 4:] = False
    features = torch.randn(2, 9, 6)
    with torch.no_grad():
        _, weights = decoder(features, torch.randint(0, 11, (2, 3)), mask=mask)
        other = features.clone()
        other[1, 4:] = 100.0
        read, _ = decoder(features, torch.tensor([[1, 5], [1, 5]]), mask=mask)
        same, _ = decoder(other, torch.tensor([[1, 5], [1, 5]]), mask=mask)
    assert weights is not None
    assert torch.allclose(weights.sum(2), torch.ones(2, 3))
    assert (weights[1, :, 4:] == 0).all()
    assert torch.allclose(read, same, atol=1e-5)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_gradients_reach_every_parameter(settings: dict[str, object]) -> None:
    decoder = _decoder(**settings).train()
    read, _ = decoder(torch.randn(3, 9, 6), torch.randint(0, 11, (3, 5)))
    decoder.logits(read).log_softmax(2).square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_a_caption_is_the_same_alone_and_in_a_batch(settings: dict[str, object]) -> None:
    decoder = _decoder(**settings).frozen()
    features = torch.randn(12, 9, 6)  # 36 beams: states that several go on from are shared
    options = SearchOptions(num_beams=3, max_tokens=8)
    together = search(decoder, decoder.memory(features), options)
    for number in range(12):
        alone = search(decoder, decoder.memory(features[number : number + 1]), options)
        assert alone[0][0].ids == together[number][0].ids


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_a_small_set_is_learnt_by_heart(settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "embedding_size": 12, "attention_size": 8, "dropout": 0.0}
    decoder = Decoder(11, 6, **(sizes | settings)).train()
    features = torch.randn(4, 9, 6)
    tokens = torch.tensor([[1, 4, 5, 6, 2], [1, 5, 4, 7, 2], [1, 8, 8, 9, 2], [1, 10, 4, 9, 2]])
    optimiser = torch.optim.Adam(decoder.parameters(), lr=2e-2)
    for _ in range(150):
        read, _ = decoder(features, tokens[:, :-1])
        logits = decoder.logits(read).flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = search(decoder.frozen(), decoder.memory(features), SearchOptions(max_tokens=6))
    assert [best[0].ids for best in found] == [row[1:-1] for row in tokens.tolist()]


def test_a_frozen_decoder_that_is_trained_again_uses_its_new_weights() -> None:
    decoder = _decoder(attention="soft").frozen()
    memory = decoder.memory(torch.randn(2, 9, 6))
    tokens = torch.tensor([3, 8])
    with torch.no_grad():
        before = decoder.advance(tokens, decoder.begin(memory), memory).logits
        decoder.train()
        decoder.cell.weight_hh.mul_(2)
        after = decoder.eval().advance(tokens, decoder.begin(memory), memory).logits
        again = decoder.frozen().advance(tokens, decoder.begin(memory), memory).logits
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(after, again, atol=1e-5)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_a_decoder_frozen_for_good_searches_and_does_nothing_else(
    settings: dict[str, object],
) -> None:
    decoder = _decoder(**settings)
    memory, options = decoder.memory(torch.randn(2, 9, 6)), SearchOptions(num_beams=3, max_tokens=6)
    before, size = search(decoder.frozen(), memory, options), _size(decoder)
    found = search(decoder.frozen(for_good=True).eval(), memory, options)
    assert [best[0].ids for best in found] == [best[0].ids for best in before]
    if decoder.shares_states:  # others have no step that could replace their weights
        assert _size(decoder) < size / 2
        with pytest.raises(InvalidOption, match="for good"):
            decoder.train()


def _size(decoder: Decoder) -> int:
    return sum(parameter.numel() for parameter in decoder.parameters())


def test_a_frozen_step_heeds_the_mask() -> None:
    decoder = _decoder(attention="soft")
    features, mask = torch.randn(2, 9, 6), torch.rand(2, 9) > 0.4
    memory = decoder.memory(features, mask)
    tokens = torch.tensor([3, 3, 8, 9])
    state = tuple(part.repeat_interleave(2, 0) for part in decoder.begin(memory))
    with torch.no_grad():
        plain = decoder.advance(tokens, state, memory)
        frozen = decoder.frozen().advance(tokens, state, memory)
    assert torch.allclose(plain.logits, frozen.logits, atol=1e-5)
    assert (frozen.weights[::2][~mask] == 0).all()
