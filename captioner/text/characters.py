"""Characters to numbers and back, for a model of endless text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError, UnknownCharacters

_SHOWN = 5


class Characters:
    """An ordered set of characters, each with a number; nothing else: no start, no end, no unknown.

    Raises ``DataError`` for an entry that comes twice or is not one character.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self._characters = tuple(characters)
        self._ids = {character: number for number, character in enumerate(self._characters)}
        if not self._characters or len(self._ids) != len(self._characters):
            raise DataError("A list of characters is empty, or one comes twice.")
        if any(len(character) != 1 for character in self._characters):
            raise DataError("A list of characters has an entry that is not one character.")

    @classmethod
    def of(cls, text: str) -> Characters:
        """The characters of a text in the order of their code points."""
        return cls(sorted(set(text)))

    def __len__(self) -> int:
        return len(self._characters)

    def __iter__(self) -> Iterator[str]:
        return iter(self._characters)

    def __getitem__(self, number: int) -> str:
        return self._characters[number]

    def __contains__(self, character: object) -> bool:
        return character in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Characters) and self._characters == other._characters

    def __hash__(self) -> int:
        return hash(self._characters)

    @property
    def begin_id(self) -> int:
        """What stands before a text that has no beginning: a line feed, else the first one."""
        return self._ids.get("\n", 0)

    def unknown(self, text: str) -> list[str]:
        """The characters of ``text`` that have no number, each once, as they come."""
        return [character for character in dict.fromkeys(text) if character not in self._ids]

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's characters.

        Raises :class:`UnknownCharacters` that names those without one: a model has nothing to read
        for them, and leaving them out in silence would continue another text.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            missing = self.unknown(text)
        shown = ", ".join(repr(character) for character in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UnknownCharacters(
            f"The model has never seen {shown}{more}.",
            hint=f"It knows {len(self)} characters: {_shown(self._characters)}",
        )

    def encode_array(self, text: str) -> NDArray[np.int16]:
        """:meth:`encode` of a long text, two bytes a character."""
        missing = self.unknown("".join(sorted(set(text))))
        if missing:
            self.encode("".join(missing))
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        known = np.array([ord(character) for character in self._characters], dtype=np.uint32)
        order = np.argsort(known)
        places = order[np.searchsorted(known, points, sorter=order)]
        return places.astype(np.int16)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the numbers."""
        return "".join(self._characters[int(number)] for number in ids)

    def to_json(self) -> str:
        """A JSON object with all characters in one string: a bundle's ``characters.json``."""
        return json.dumps({"characters": "".join(self._characters)})

    @classmethod
    def from_json(cls, text: str) -> Characters:
        """Reads what :meth:`to_json` wrote. Raises ``DataError`` for anything else."""
        try:
            characters = json.loads(text)["characters"]
            if not isinstance(characters, str):
                raise TypeError("no string")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"These are no characters: {text[:60]!r}.",
                hint='A JSON object with a string under "characters", as training writes it.',
            ) from error
        return cls(characters)


def _shown(characters: Sequence[str]) -> str:
    printable = [character for character in characters if character.isprintable()]
    return "".join(printable[:120]) + ("…" if len(printable) > 120 else "")
