"""Text: cutting captions into words, and numbering words."""

from captioner.text.vocabulary import Vocabulary
from captioner.text.words import join, tokenize

__all__ = ["Vocabulary", "join", "tokenize"]
