"""Text: cutting captions into words, texts into pieces and characters, and numbering them."""

from captioner.text.vocabulary import Vocabulary
from captioner.text.words import join, tokenize

__all__ = ["Vocabulary", "join", "tokenize"]
