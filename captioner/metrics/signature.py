"""The line that goes with every printed score, and says what it was measured on."""

from __future__ import annotations

from collections.abc import Sequence

from captioner.metrics.captions import Caption
from captioner.metrics.cider import DocumentFrequency
from captioner.text.words import TOKENIZER


def signature(
    references: Sequence[Sequence[Caption]],
    *,
    search: str,
    document_frequency: DocumentFrequency | None = None,
) -> str:
    """One line, without spaces around ``|``: tokenizer, references, idf, images, search.

    ``tokenizer:ptb-nltk|references:5|idf:scored(1000)|images:1000|search:beam3``. The idf of
    CIDEr-D is of the scored references, or fixed; the number of images it was counted over stands
    in brackets. ``search`` says in a word or two how the captions were found.
    """
    counts = sorted({len(captions) for captions in references})
    num_references = f"{counts[0]}-{counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    idf = f"scored({len(references)})"
    if document_frequency is not None:
        idf = f"fixed({document_frequency.num_images})"
    return (
        f"tokenizer:{TOKENIZER}|references:{num_references}|idf:{idf}"
        f"|images:{len(references)}|search:{search}"
    )
