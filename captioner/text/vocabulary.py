"""Words to numbers and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from captioner.errors import DataError

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
SPECIAL = (PAD, START, END, UNKNOWN)


class Vocabulary:
    """An ordered set of words, each with a number.

    The four special words come first: ``<pad>`` 0, ``<start>`` 1, ``<end>`` 2, ``<unk>`` 3. The
    words given follow in their order: word ``i`` has the number ``4 + i``.

    Raises ``DataError`` for a word that comes twice, is empty, or is named like a special word.
    """

    pad_id = 0
    start_id = 1
    end_id = 2
    unk_id = 3

    def __init__(self, words: Sequence[str]) -> None:
        self._words = (*SPECIAL, *words)
        self._ids = {word: number for number, word in enumerate(self._words)}
        if len(self._ids) != len(self._words) or "" in self._ids:
            count = Counter(self._words)
            wrong = [word for word in count if count[word] > 1 or not word]
            raise DataError(
                f"The vocabulary has {wrong[0]!r} where a new, non-empty word belongs.",
                hint=f"Every word may come once, and none may be one of {' '.join(SPECIAL)}.",
            )

    @classmethod
    def from_captions(cls, captions: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """The words that come at least ``min_count`` times in tokenised captions.

        The most frequent word comes first; words equally frequent stand in alphabetical order.
        """
        count = Counter(word for caption in captions for word in caption)
        kept = [word for word in count if count[word] >= min_count and word not in SPECIAL]
        return cls(sorted(kept, key=lambda word: (-count[word], word)))

    @property
    def words(self) -> tuple[str, ...]:
        """The words without the special ones: ``Vocabulary(v.words) == v``."""
        return self._words[len(SPECIAL) :]

    def __len__(self) -> int:
        """How many numbers there are: the words and the four special ones."""
        return len(self._words)

    def __iter__(self) -> Iterator[str]:
        """All words in the order of their numbers, the special ones included."""
        return iter(self._words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __getitem__(self, number: int) -> str:
        """The word with this number, special ones included; IndexError outside."""
        if number < 0:
            raise IndexError(f"no word has the number {number}")
        return self._words[number]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._words == other._words

    def __hash__(self) -> int:
        return hash(self._words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.words)} words)"

    def id(self, word: str) -> int:
        """The number of a word; that of ``<unk>`` where the word is not known."""
        return self._ids.get(word, self.unk_id)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """The numbers of the words, without start and end; unknown words become ``unk_id``."""
        return [self._ids.get(token, self.unk_id) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of the numbers; padding, start and end are left out, ``<unk>`` stays."""
        silent = (self.pad_id, self.start_id, self.end_id)
        return [self[number] for number in map(int, ids) if number not in silent]

    def extended(self, words: Iterable[str]) -> Vocabulary:
        """A vocabulary with new words behind the old ones, whose numbers stay as they are.

        Words already known are left out, so are repetitions.
        """
        new = dict.fromkeys(word for word in words if word not in self._ids)
        return Vocabulary([*self.words, *new])

    def to_json(self) -> str:
        """A JSON object with the words in their order, the special ones left out."""
        return json.dumps({"words": self.words}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Read what ``to_json`` wrote. Raises ``DataError`` for anything else."""
        try:
            words = json.loads(text)["words"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(
                f"This is not a vocabulary: {text[:60]!r}.",
                hint='It must be a JSON object with a list of strings under "words".',
            ) from error
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(
                "The vocabulary's words are not a list of strings.",
                hint='It must be a JSON object with a list of strings under "words".',
            )
        return cls(words)
