"""Text cut into pieces of words, and pieces back to text: byte-level byte pair encoding.

A text is its UTF-8 bytes, words with the blank before them, and pairs that stood together often in
training are one piece (Sennrich et al. 2016, arXiv 1508.07909; on bytes as GPT-2 does). No text is
unknown: what was never seen falls into more, shorter pieces, at the worst one a byte. Joining is
exact: ``pieces.decode(pieces.encode(text)) == text`` but for white space at the ends and for
unpaired surrogates, which are no text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from captioner.errors import DataError, InvalidOption

PAD, START, END = "<pad>", "<start>", "<end>"
SPECIAL = (PAD, START, END)
BYTES = 256


class Pieces:
    """A trained cutting into pieces; ``<pad>`` is 0, ``<start>`` 1, ``<end>`` 2.

    A text that spells one of the three is text: only a model emits them.
    """

    pad_id, start_id, end_id = 0, 1, 2

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int) -> Pieces:
        """Learns at most ``vocabulary_size`` pieces, specials and single bytes included.

        Of training texts only, and of both languages where they share one vocabulary. The same
        texts give the same pieces. Raises :class:`InvalidOption` where not even the bytes fit.
        """
        least = BYTES + len(SPECIAL)
        if vocabulary_size < least:
            raise InvalidOption(
                f"The vocabulary has room for {vocabulary_size} pieces.",
                hint=f"At least {least}: every byte is one.",
            )
        tokenizer = _tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            min_frequency=2,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator((_clean(text) for text in texts), trainer)
        model = json.loads(tokenizer.to_str())["model"]
        return cls._from_model(model["vocab"], model["merges"])

    @classmethod
    def _from_model(cls, vocabulary: dict[str, int], merges: Sequence[Sequence[str]]) -> Pieces:
        # Built anew: a tokenizer that was trained finds its special tokens in texts, too.
        pairs = [(first, second) for first, second in merges]
        return cls(_tokenizer(models.BPE(vocab=vocabulary, merges=pairs)))

    def __len__(self) -> int:
        """How many pieces there are, the three special ones included."""
        return int(self._tokenizer.get_vocab_size())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pieces) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    @property
    def merges(self) -> list[tuple[str, str]]:
        """The pairs that become one, the earliest learnt first, spelt as the vocabulary is."""
        return [(a, b) for a, b in json.loads(self.to_json())["merges"]]

    @property
    def vocabulary(self) -> dict[str, int]:
        """The number of each piece, spelt in the 256 visible characters that stand for bytes."""
        return dict(self._tokenizer.get_vocab())

    def encode(self, text: str) -> list[int]:
        """A text's pieces, without start and end; white space at its ends falls away."""
        return list(self._tokenizer.encode(_clean(text)).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """:meth:`encode` of many texts at once."""
        found = self._tokenizer.encode_batch([_clean(text) for text in texts])
        return [list(each.ids) for each in found]

    def words(self, text: str) -> list[str]:
        """A text cut into the words that pieces are within, in the vocabulary's spelling."""
        cut = self._tokenizer.pre_tokenizer.pre_tokenize_str(_clean(text))
        return [word for word, _ in cut]

    def decode(self, ids: Iterable[int]) -> str:
        """The text that pieces make; special ones are left out.

        Bytes that are no UTF-8, which a model may emit, become U+FFFD.
        """
        told = [number for number in map(int, ids) if number >= len(SPECIAL)]
        return str(self._tokenizer.decode(told)).strip()

    def spell(self, ids: Iterable[int]) -> list[str]:
        """Each piece as people read it, a blank before a word kept: what labels an attention."""
        return [
            SPECIAL[number] if number < len(SPECIAL) else str(self._tokenizer.decode([number]))
            for number in map(int, ids)
        ]

    def to_json(self) -> str:
        """The pieces and their merges, in order: a bundle's ``pieces.json``."""
        model = json.loads(self._tokenizer.to_str())["model"]
        pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
        return json.dumps({"pieces": pieces, "merges": model["merges"]}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Pieces:
        """Reads what :meth:`to_json` wrote. Raises ``DataError`` for anything else."""
        try:
            found = json.loads(text)
            pieces, merges = found["pieces"], found["merges"]
            if pieces[: len(SPECIAL)] != list(SPECIAL):
                raise ValueError("the special pieces do not come first")
            read = cls._from_model({piece: i for i, piece in enumerate(pieces)}, merges)
            if len(read) != len(pieces):
                raise ValueError("a piece comes twice")
        except Exception as error:  # tokenizers raises plain Exceptions
            raise DataError(
                f"These are no pieces: {text[:60]!r} ({error}).",
                hint='A JSON object with lists under "pieces" and "merges", as training writes it.',
            ) from error
        return read


def _tokenizer(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    # With the blank before the first word, too: a word is the same wherever it stands.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _clean(text: str) -> str:
    """Without white space at the ends; an unpaired surrogate becomes U+FFFD."""
    return text.strip().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
