"""Every signal a rule may test: its name, Arrow type, unit, range, meaning and origin.

This is the one list of names. A producer writes exactly the columns declared for it, in this order;
a rule, a recipe or a query that names anything else is an error, never a silent no-op.

Conventions:

* A fraction is two integer counts divided in ``float64`` and rounded to ``float32``; 0/0 is 0.
  Compare it with a threshold **rounded to the column's own type**, so that a document that stands
  exactly on a threshold is not moved across it by rounding. (``numpy`` does so by itself; in
  ``pyarrow`` write ``pa.scalar(threshold, column.type)``, in DuckDB ``CAST(0.2 AS FLOAT)``.)
* Characters are Unicode code points. Words are the segments of UAX #29 that do not start with white
  space: a run of letters and digits, one ideograph, one emoji, or one punctuation mark.
* White space, lines and strings behave as Python's ``str.isspace``, ``str.splitlines``,
  ``str.split`` do, by the tables of ``kernels/text``, not by those of the running interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Producer = Literal[
    "scan",
    "language",
    "reward",
    "document",
    "images",
    "captions",
    "repetition",
    "image_reward",
    "preference",
]
"""``images`` and the rest measure documents with images, and pairs of answers: their signals are
those of ``vl_data.signals``."""


@dataclass(frozen=True)
class Signal:
    """One column that rules may test.

    ``minimum`` and ``maximum`` are the values it can take (``None``: no bound), for the check that
    a threshold is reachable. ``source`` is the paper or system that the definition follows.
    """

    name: str
    type: pa.DataType
    unit: str
    minimum: float | None
    maximum: float | None
    doc: str
    source: str
    producer: Producer


LEYDEN = "Leyden"
GOPHER = "Rae et al. 2021, arXiv:2112.11446, A1.1, as in datatrove 0.10"
C4 = "Raffel et al. 2020, arXiv:1910.10683, 2.2, as in datatrove 0.10"
MC4 = "Xue et al. 2021, arXiv:2010.11934, 3.1, as in datatrove 0.10"
FINEWEB = "Penedo et al. 2024, arXiv:2406.17557, 3.6, as in datatrove 0.10"
FINEWEB_C4 = "Penedo et al. 2024, arXiv:2406.17557, 3.5: C4 without the terminal punctuation rule"
MINIMAX_01 = "MiniMax 2025, arXiv:2501.08313, 4.1.1; scale and wording: quality/reward/rubric-1.md"
LID_176 = "Joulin et al. 2016, arXiv:1612.03651: fastText lid.176"


def _count(name: str, unit: str, doc: str, source: str = LEYDEN) -> Signal:
    return Signal(name, pa.int32(), unit, 0, None, doc, source, "scan")


def _ratio(
    name: str, doc: str, source: str = LEYDEN, unit: str = "fraction", maximum: float | None = 1
) -> Signal:
    return Signal(name, pa.float32(), unit, 0, maximum, doc, source, "scan")


def _reward(name: str, doc: str) -> Signal:
    return Signal(name, pa.float32(), "points", 0, 5, doc, MINIMAX_01, "reward")


def _document(name: str, kind: pa.DataType, unit: str, doc: str) -> Signal:
    return Signal(name, kind, unit, None, None, doc, LEYDEN, "document")


_TEXT = (
    _count("text.bytes", "bytes", "length of the text in UTF-8"),
    _count("text.chars", "characters", "length of the text in code points"),
    _count("text.words", "words", "words, each punctuation mark counted as one"),
    _count("text.lines", "lines", "lines, as str.splitlines cuts them"),
    _count("text.paragraphs", "paragraphs", "parts between runs of two or more newlines"),
    _count("text.max_line_chars", "characters", "the longest line"),
    _ratio("text.alpha_frac", "characters that are letters (L)"),
    _ratio("text.upper_frac", "characters that are upper-case letters (Lu)"),
    _ratio("text.digit_frac", "characters that are decimal digits (Nd)"),
    _ratio("text.punct_frac", "characters that are punctuation (P) or symbols (S)"),
    _ratio("text.space_frac", "characters that are white space"),
    _ratio("text.non_ascii_frac", "characters above U+007F"),
    _count(
        "text.control_chars",
        "characters",
        "control characters (Cc) other than tab, line feed and carriage return",
    ),
    _count("text.replacement_chars", "characters", "U+FFFD, the trace of a wrong decoding"),
)

_GOPHER_QUALITY = (
    _count("gopher.words", "words", "words that are not punctuation alone", GOPHER),
    _ratio(
        "gopher.mean_word_chars",
        "mean length of the words that are not punctuation alone",
        GOPHER,
        "characters per word",
        None,
    ),
    _ratio("gopher.hash_ratio", "'#' per word", GOPHER, "per word", None),
    _ratio("gopher.ellipsis_ratio", "'...' or '…' per word", GOPHER, "per word", None),
    _ratio("gopher.bullet_line_frac", "lines that start with '•' or '-'", GOPHER),
    _ratio("gopher.ellipsis_line_frac", "lines that end with '...' or '…'", GOPHER),
    _ratio("gopher.alpha_word_frac", "words with at least one letter", GOPHER),
    Signal(
        "gopher.stop_words",
        pa.int8(),
        "words",
        0,
        8,
        "how many of the, be, to, of, and, that, have, with occur, in this spelling",
        GOPHER,
        "scan",
    ),
)

_GOPHER_REPETITION = (
    _ratio("gopher.dup_line_frac", "lines seen before in the document", GOPHER),
    _ratio("gopher.dup_para_frac", "paragraphs seen before in the document", GOPHER),
    _ratio("gopher.dup_line_char_frac", "characters in lines seen before", GOPHER),
    _ratio("gopher.dup_para_char_frac", "characters in paragraphs seen before", GOPHER),
    *(
        _ratio(
            f"gopher.top_{n}_gram_char_frac",
            f"characters in all copies of the most frequent word {n}-gram (the first of equals), "
            "words joined by one space; overlapping copies count each",
            GOPHER,
            maximum=None,
        )
        for n in (2, 3, 4)
    ),
    *(
        _ratio(
            f"gopher.dup_{n}_gram_char_frac",
            f"characters in word {n}-grams seen before, none overlapping another",
            GOPHER,
        )
        for n in (5, 6, 7, 8, 9, 10)
    ),
)

_C4 = (
    _count("c4.lines", "lines", "lines before any rule", C4),
    _count("c4.long_word_lines", "lines", "lines removed for a word over 1,000 characters", C4),
    _count(
        "c4.unpunctuated_lines",
        "lines",
        "lines then removed for not ending in . ? ! \" or ', or for ending in an ellipsis",
        C4,
    ),
    _count("c4.short_lines", "lines", "lines then removed for fewer than 3 words", C4),
    _count("c4.javascript_lines", "lines", "lines then removed for the word javascript", C4),
    _count("c4.policy_lines", "lines", "lines then removed for a cookie or policy phrase", C4),
    _count("c4.lorem_ipsum_lines", "lines", "lines left that hold 'lorem ipsum'", C4),
    _count("c4.curly_bracket_lines", "lines", "lines left that hold '{'", C4),
    _count("c4.kept_lines", "lines", "lines that every line rule keeps", C4),
    _count("c4.words", "words", "words between white space in the kept lines", C4),
    _count("c4.sentences", "sentences", "sentences in the kept lines", C4),
    _count("mc4.long_lines", "lines", "lines of 200 characters or more", MC4),
)

_FINEWEB = (
    _ratio("fineweb.line_punct_ratio", "non-blank lines ending in a terminal mark", FINEWEB),
    _ratio("fineweb.short_line_ratio", "non-blank lines of 30 characters or fewer", FINEWEB),
    _ratio(
        "fineweb.char_dup_ratio",
        "characters in non-blank lines seen before, of the characters that are not newlines",
        FINEWEB,
    ),
    _ratio("fineweb.new_line_ratio", "newlines per word", FINEWEB, "per word", None),
    _count("fineweb.c4_lorem_ipsum_lines", "lines", "c4.lorem_ipsum_lines, any ending", FINEWEB_C4),
    _count(
        "fineweb.c4_curly_bracket_lines", "lines", "c4.curly_bracket_lines, any ending", FINEWEB_C4
    ),
    _count("fineweb.c4_kept_lines", "lines", "c4.kept_lines, any ending", FINEWEB_C4),
    _count("fineweb.c4_sentences", "sentences", "c4.sentences, any ending", FINEWEB_C4),
)

_LANGUAGE = (
    Signal(
        "lang.label",
        pa.string(),
        "ISO 639 code",
        None,
        None,
        "the most probable language of the full text, such as en, de, zh",
        LID_176,
        "language",
    ),
    Signal(
        "lang.score",
        pa.float32(),
        "probability",
        0,
        1,
        "the model's probability of that language, rounded to 4 decimals",
        LID_176,
        "language",
    ),
)

_REWARD = (
    _reward("reward.depth", "knowledge depth: how much there is to know in it, to 1/64 point"),
    _reward("reward.helpfulness", "how far it helps a person with a task, to 1/64 point"),
    _reward("reward.coherence", "whether it is one readable text, to 1/64 point"),
    Signal(
        "reward.category",
        pa.string(),
        "name",
        None,
        None,
        "what the text is; one of quality.reward.labels.CATEGORIES",
        MINIMAX_01,
        "reward",
    ),
)

_DOCUMENT = (
    _document("source", pa.string(), "name", "the source's name in the recipe"),
    _document("uri", pa.string(), "uri", "where in the source the document was found"),
    _document("license", pa.string(), "SPDX id", "licence, or unknown"),
    _document("media_type", pa.string(), "media type", "such as text/html, text/x-python"),
    _document("encoding", pa.string(), "name", "character encoding the record was decoded from"),
    _document(
        "captured_at", pa.timestamp("s", tz="UTC"), "time", "when the record was captured, or null"
    ),
)

SIGNALS: dict[str, Signal] = {
    signal.name: signal
    for signal in (
        *_TEXT,
        *_GOPHER_QUALITY,
        *_GOPHER_REPETITION,
        *_C4,
        *_FINEWEB,
        *_LANGUAGE,
        *_REWARD,
        *_DOCUMENT,
    )
}
"""All signals by name, in the order in which their producers write them."""


def schema(producer: Producer) -> pa.Schema:
    """Return the Arrow schema of the columns that one producer writes, in order."""
    return pa.schema(
        [
            pa.field(signal.name, signal.type, nullable=producer != "scan")
            for signal in SIGNALS.values()
            if signal.producer == producer
        ]
    )
