"""Captions to words as the COCO evaluation cuts them, and words back to a readable sentence.

The COCO caption metrics run Stanford's PTB tokenizer (CoreNLP 3.4.1, ``-preserveLines
-lowerCase``) and drop a list of punctuation tokens. That needs Java. Here NLTK's
``NLTKWordTokenizer`` does the cutting, and rules around it close the gap. NLTK is imported at
the first call: answering a request only joins words.

Known differences that stay: addresses (``me@home.com``, ``http://...``), a number before a
fraction (``1 1/2`` is one PTB token), ``A.`` and ``I.`` as initials, ``po'boy``, ``dunkin'``.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache

TOKENIZER = "ptb-nltk"
"""Names this tokenizer in the signature line of a score."""

DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""Tokens that the COCO evaluation removes. Its list has the brackets in upper case only
(``-LRB-``), its tokens come lower-cased, and so brackets stay."""

BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[a-zA-Z]\w*);")

# Typographic marks become what a typewriter has; marks that are never part of a word stand
# alone; emoji (beyond the Basic Multilingual Plane), control and joining characters vanish.
_MARKS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛", "'"),
        **dict.fromkeys("“”„‟«»‹›", '"'),
        **dict.fromkeys("‒–—―", "--"),
        "…": " ... ",
        "€": "$",
        "£": " # ",
        "¢": " cents ",
        "½": " 1/2",
        "¼": " 1/4",
        "¾": " 3/4",
        **{mark: f" {mark} " for mark in "~|^\\°™©®¿¡"},
        "\u00ad": "",  # soft hyphen
        "\ufe0f": "",  # turns the character before it into an emoji
    }
)
_NOT_TEXT = re.compile(r"[^\u0020-\u007e\u00a1-\u200a\u2010-\ud7ff\ue000-\ufefe\uff00-\ufffd]+")

# What may follow a protected word. A full stop may too: "u.s.." ends a sentence.
_AFTER = r"""(?=[\s,;:.!?)"'\]}]|$)"""
_ABBREVIATIONS = frozenset(
    """
    st ave rd blvd ct sq mt ft bldg dept univ  mr mrs ms dr jr sr prof hon messrs mme mlle
    co inc ltd corp bros assn intl mfg plc  gov sen rep pres rev gen col maj capt cmdr sgt lt
    cpl pvt adm  jan feb mar apr jun jul aug sep sept oct nov dec
    mon tue tues wed thu thurs fri  calif fla ky  vs etc cf est ext tel
    """.split()  # noqa: SIM905
)
_BEFORE_NUMBERS = "no|nos|fig|figs|art|prop|op|pp|ca"
_PROTECTED = re.compile(
    rf"""
      (?<![\w.'&-])(?i:(?:[a-z]\.){{2,}}|ph\.d\.){_AFTER}               # u.s.  p.m.
    | (?<![\w.'&-])(?i:{"|".join(sorted(_ABBREVIATIONS))})\.{_AFTER}   # st.  etc.
    | (?<![\w.'&-])(?i:{_BEFORE_NUMBERS})\.(?=\s+\d)                    # no. 5
    | (?<![\w.'&-])[b-hj-zB-HJ-Z]\.{_AFTER}                             # letter b.
    | (?<![\w&])[A-Z]+&[A-Z]+(?![\w&])                                  # A&M
    | (?<![\w'])(?i:'n'|'em){_AFTER}                                    # rock 'n' roll
    | (?<![\w'])'\d\d(?:s(?![\w'])|(?=\s|$))                            # '98  '90s
    | (?<![\w'])(?i:'t)(?=(?:is|was))                                   # 'tis
    | (?<![\w'])(?i:y')(?=all\b)                                        # y'all
    | [!?]{{2,}}                                                        # !!
    """,
    re.VERBOSE,
)

_RULES = {  # by the mark that a text must have for the rules to be worth a try
    ".": [
        (re.compile(r"""(?<=[^\s.])\.(?=[\s"')\]}]|$)"""), " ."),  # it. underneath
        (re.compile(r"(?<!\S)\.(?=[a-z])"), ". "),  # .a
    ],
    "-": [
        (re.compile(r"(?<!\S)(-+)(?=[a-z])"), r"\1 "),  # -ependent
        (re.compile(r"""(?<=\w)(-+)(?=[\s,;:.!?)"'\]}]|$)"""), r" \1"),  # multi- tiered
        (re.compile(r"-{3,}"), " -- "),  # dog---cat
    ],
    "=": [(re.compile(r"(?<=\w)=(?=\w)"), " = ")],
    "/": [
        (re.compile(r"(?<=\w)/(?=\s|$)"), " /"),  # canal/
        (re.compile(r"(?<!\S)/(?=\w)"), "/ "),  # /road
    ],
    "+": [(re.compile(r"(?<=[^\s+])\+(?![^\s+])"), " +")],  # 2+
    ":": [(re.compile(r"(?<=\d:\d\d)(?=[ap]m\b)"), " ")],  # 5:54pm
}
_STOPS_OR_HYPHENS = re.compile(r"(?:\.{2,}|-{2,})\Z")

# Words with commas and full stops only, the last word without its full stop apart: nearly every
# caption is like that, and needs no further cutting but of the words that the Penn Treebank
# takes apart. (Many times as fast as the way through NLTK, and a test holds the two equal.)
_PLAIN = re.compile(
    r"(?P<words>(?:[a-z0-9]+(?:-[a-z0-9]+)*,?\s+|[.,]\s+)*)(?:(?P<last>[a-z]{2,})\.\s*)?\Z"
)
_FUSED = {
    "cannot": ("can", "not"),
    "gimme": ("gim", "me"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "wanna": ("wan", "na"),
}


def tokenize(caption: str) -> list[str]:
    """Cut a caption into lower-case words, without punctuation, as the COCO evaluation does.

    ``"The dog's T-shirt isn't red."`` gives ``the dog 's t-shirt is n't red``. A caption
    without any word gives an empty list. Line breaks count as spaces.
    """
    text = caption
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity.group()), text)
    text = _NOT_TEXT.sub(" ", text.translate(_MARKS))
    plain = _PLAIN.match(text.lower() + " ")
    if plain and plain["last"] not in _ABBREVIATIONS:
        return _split_plain(plain)
    return [word for word in _cut(text) if not _is_dropped(word)]


def _split_plain(plain: re.Match[str]) -> list[str]:
    words = plain["words"].replace(",", " ").replace(".", " ").split()
    if plain["last"]:
        words.append(plain["last"])
    if _FUSED.keys().isdisjoint(words):
        return words
    return [part for word in words for part in _FUSED.get(word, (word,))]


def _is_dropped(word: str) -> bool:
    return word in DROPPED or _STOPS_OR_HYPHENS.match(word) is not None


def _cut(text: str) -> Iterator[str]:
    start = 0
    for protected in _PROTECTED.finditer(text):
        yield from _cut_plain(text[start : protected.start()].lower())
        yield protected.group().lower()
        start = protected.end()
    yield from _cut_plain(text[start:].lower())


def _cut_plain(text: str) -> Iterator[str]:
    for mark, rules in _RULES.items():
        if mark in text:
            for pattern, replacement in rules:
                text = pattern.sub(replacement, text)
    for word in _nltk_tokenize()(text):
        yield BRACKETS.get(word, word)


@cache
def _nltk_tokenize() -> Callable[[str], list[str]]:
    from nltk.tokenize import NLTKWordTokenizer

    tokenize: Callable[[str], list[str]] = NLTKWordTokenizer().tokenize
    return tokenize


_CLITICS = frozenset(["n't", "'s", "'m", "'d", "'ll", "'re", "'ve", "%", ")", "]", "}"])
_OPENING = frozenset(["$", "#", "(", "[", "{", "y'", "'t"])
_FUSED_PAIRS = frozenset(pair for pair in _FUSED.values() if pair != ("can", "not"))
_UNBRACKETED = {token: bracket for bracket, token in BRACKETS.items()}


def join(words: Sequence[str]) -> str:
    """Put words together to a sentence that reads well; the inverse of what ``tokenize`` cuts.

    ``the dog 's owner does n't pay $ 5`` gives ``the dog's owner doesn't pay $5``.
    """
    text = ""
    previous = ""
    for token in words:
        word = _UNBRACKETED.get(token, token)
        glued = word in _CLITICS or previous in _OPENING or (previous, word) in _FUSED_PAIRS
        text += word if glued or not text else f" {word}"
        previous = word
    return text
