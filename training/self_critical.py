"""Self-critical sequence training on CIDEr-D (Rennie et al. 2017, arXiv 1612.00563).

For every photo several captions are sampled; each is praised or blamed by how much better its
CIDEr-D is than the mean of the photo's other samples: ``loss = -(r - b) Σ log p``. Rewards use the
document frequencies of the training captions, and the end token is a word like the others, since
a reward blind to it teaches endings such as "with a".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captioner.errors import InvalidOption
from captioner.metrics import CiderD
from captioner.search import Hypothesis, SearchOptions, search
from training.caption import CaptionModule
from training.processes import share

END = "<end>"


class SelfCriticalModule(CaptionModule):
    """The second stage: begins from a bundle or checkpoint that cross-entropy has trained.

    Args:
        samples: captions sampled for each photo, at least 2: each is compared with the others.
        temperature: of the policy that is trained, ``softmax(logits / temperature)``. Below 1 after
            label smoothing: at 1 a tenth of all words is drawn from the whole vocabulary, the
            longer of two samples is nearly always the worse, and what is learnt is to be short.
    """

    def __init__(self, samples: int = 5, temperature: float = 0.5, **settings: Any) -> None:
        super().__init__(**settings)
        if samples < 2:
            raise InvalidOption(
                f"samples is {samples}.",
                hint="At least 2: each is judged by the mean of the others.",
            )
        if not temperature > 0:
            raise InvalidOption(f"temperature is {temperature}.", hint="Above 0: it samples.")
        self.samples, self.temperature = samples, temperature
        self._cider: CiderD | None = None

    def on_fit_start(self) -> None:
        """Document frequencies and reference vectors of the training captions, once."""
        super().on_fit_start()
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        references = [
            [[*caption, END] for caption in captions] for captions in data.references("train")
        ]
        self._cider = CiderD(references)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Samples without gradient, scores them, and rescoring them carries the gradient.

        Without dropout: what is praised or blamed is what the network that sampled would say.
        """
        assert self.model is not None
        assert self._cider is not None
        decoder = self.model.decoder
        features = self.features(batch)
        options = SearchOptions(
            num_return=self.samples,
            temperature=self.temperature,
            max_tokens=self.search_settings.max_tokens,
        )
        decoder.eval()
        with torch.no_grad():
            memory = decoder.memory(features.detach())
            found = search(decoder, memory, options)
        rewards = self._rewards(found, batch["index"].tolist()).to(features.device)
        advantage = rewards - (rewards.sum(1, keepdim=True) - rewards) / (self.samples - 1)
        flat = [hypothesis for row in found for hypothesis in row]
        tokens, real = _padded(flat, decoder.start_id, decoder.end_id, features.device)
        read, _ = decoder(features, tokens[:, :-1])
        log_probs = (decoder.logits(read) / self.temperature).log_softmax(2)
        chosen = log_probs.gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)
        loss = -(advantage.view(-1, 1) * chosen * real).sum() / real.sum()
        loss = loss * share(self, real.sum())
        self.log("reward", rewards.mean(), prog_bar=True, batch_size=len(found))
        return loss

    def _rewards(self, found: list[list[Hypothesis]], indices: list[int]) -> Tensor:
        assert self._cider is not None
        return torch.tensor(
            [
                [
                    self._cider.score_one(
                        index,
                        self.vocabulary.decode(hypothesis.ids)
                        + ([END] if hypothesis.finished else []),
                    )
                    for hypothesis in row
                ]
                for index, row in zip(indices, found, strict=True)
            ],
            dtype=torch.float32,
        )


def _padded(
    hypotheses: list[Hypothesis], start_id: int, end_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """``(rows, 1 + T)`` tokens from start, and which of the T predictions are real."""
    longest = max(len(hypothesis.token_log_probs) for hypothesis in hypotheses)
    tokens = torch.zeros(len(hypotheses), longest + 1, dtype=torch.long)
    tokens[:, 0] = start_id
    real = torch.zeros(len(hypotheses), longest)
    for row, hypothesis in enumerate(hypotheses):
        ids = hypothesis.ids + ([end_id] if hypothesis.finished else [])
        tokens[row, 1 : len(ids) + 1] = torch.tensor(ids)
        real[row, : len(ids)] = 1
    return tokens.to(device), real.to(device)
