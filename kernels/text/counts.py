"""Which integers a document gives, and which of them make each signal.

A row of counts is int64[COLUMNS]; each part of the pass owns a slice of it. A signal is one count,
or the quotient of two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.text import c4, characters, lines, ngrams, segment

# Where each part's counts begin.
TEXT_BYTES = 0
STOP_WORDS = 1
CHARACTERS = 2
WORDS = CHARACTERS + characters.COUNTS
REPETITION = WORDS + segment.STATE
LINES = REPETITION + len(ngrams.TOP_GRAMS) + len(ngrams.DUPLICATE_GRAMS)
C4 = LINES + lines.COUNTS
COLUMNS = C4 + c4.COUNTS

_CHARS = CHARACTERS + characters.CHARS
_NEWLINES = CHARACTERS + characters.NEWLINES
_WORDS = WORDS + segment.WORDS
_PLAIN_WORDS = WORDS + segment.PLAIN_WORDS
_FILLED_LINES = LINES + lines.FILLED_LINES
ELLIPSES = CHARACTERS + characters.ELLIPSES


class SignalCounts(NamedTuple):
    """A signal's name and the columns it is made of.

    ``less``: a column to take from the denominator, or -1.
    """

    name: str
    numerator: int
    denominator: int = -1
    less: int = -1

    def column(self, counts: NDArray[np.int64]) -> NDArray[np.generic]:
        """Return the signal of each row of ``counts``: int32 or int8, or float32 for a quotient."""
        numerator = counts[:, self.numerator]
        if self.denominator < 0:
            return numerator.astype(np.int8 if self.numerator == STOP_WORDS else np.int32)
        denominator = counts[:, self.denominator]
        if self.less >= 0:
            denominator = denominator - counts[:, self.less]
        quotient = np.zeros(len(counts), np.float64)
        np.divide(numerator, denominator, out=quotient, where=denominator > 0)
        return quotient.astype(np.float32)


def _repetition() -> list[SignalCounts]:
    grams = [("top", n) for n in ngrams.TOP_GRAMS] + [("dup", n) for n in ngrams.DUPLICATE_GRAMS]
    return [
        SignalCounts(f"gopher.{kind}_{n}_gram_char_frac", REPETITION + place, _CHARS)
        for place, (kind, n) in enumerate(grams)
    ]


SIGNALS = (
    SignalCounts("text.bytes", TEXT_BYTES),
    SignalCounts("text.chars", _CHARS),
    SignalCounts("text.words", _WORDS),
    SignalCounts("text.lines", C4 + c4.LINES),
    SignalCounts("text.paragraphs", LINES + lines.PARAGRAPHS),
    SignalCounts("text.max_line_chars", C4 + c4.MAX_CHARS),
    SignalCounts("text.alpha_frac", CHARACTERS + characters.LETTERS, _CHARS),
    SignalCounts("text.upper_frac", CHARACTERS + characters.UPPER, _CHARS),
    SignalCounts("text.digit_frac", CHARACTERS + characters.DIGITS, _CHARS),
    SignalCounts("text.punct_frac", CHARACTERS + characters.PUNCT, _CHARS),
    SignalCounts("text.space_frac", CHARACTERS + characters.SPACES, _CHARS),
    SignalCounts("text.non_ascii_frac", CHARACTERS + characters.NON_ASCII, _CHARS),
    SignalCounts("text.control_chars", CHARACTERS + characters.CONTROLS),
    SignalCounts("text.replacement_chars", CHARACTERS + characters.REPLACEMENTS),
    SignalCounts("gopher.words", _PLAIN_WORDS),
    SignalCounts("gopher.mean_word_chars", WORDS + segment.PLAIN_CHARS, _PLAIN_WORDS),
    SignalCounts("gopher.hash_ratio", CHARACTERS + characters.HASHES, _WORDS),
    SignalCounts("gopher.ellipsis_ratio", ELLIPSES, _WORDS),
    SignalCounts("gopher.bullet_line_frac", C4 + c4.BULLETS, C4 + c4.LINES),
    SignalCounts("gopher.ellipsis_line_frac", C4 + c4.ELLIPSES, C4 + c4.LINES),
    SignalCounts("gopher.alpha_word_frac", WORDS + segment.ALPHA_WORDS, _WORDS),
    SignalCounts("gopher.stop_words", STOP_WORDS),
    SignalCounts("gopher.dup_line_frac", LINES + lines.DUP_LINES, LINES + lines.LINES),
    SignalCounts("gopher.dup_para_frac", LINES + lines.DUP_PARAGRAPHS, LINES + lines.PARAGRAPHS),
    SignalCounts("gopher.dup_line_char_frac", LINES + lines.DUP_LINE_CHARS, _CHARS),
    SignalCounts("gopher.dup_para_char_frac", LINES + lines.DUP_PARAGRAPH_CHARS, _CHARS),
    *_repetition(),
    SignalCounts("c4.lines", C4 + c4.LINES),
    SignalCounts("c4.long_word_lines", C4 + c4.LONG_WORD_LINES),
    SignalCounts("c4.unpunctuated_lines", C4 + c4.UNPUNCTUATED_LINES),
    SignalCounts("c4.short_lines", C4 + c4.SHORT_LINES),
    SignalCounts("c4.javascript_lines", C4 + c4.JAVASCRIPT_LINES),
    SignalCounts("c4.policy_lines", C4 + c4.POLICY_LINES),
    SignalCounts("c4.lorem_ipsum_lines", C4 + c4.LOREM_LINES),
    SignalCounts("c4.curly_bracket_lines", C4 + c4.CURLY_LINES),
    SignalCounts("c4.kept_lines", C4 + c4.KEPT_LINES),
    SignalCounts("c4.words", C4 + c4.KEPT_WORDS),
    SignalCounts("c4.sentences", C4 + c4.SENTENCES),
    SignalCounts("mc4.long_lines", LINES + lines.LONG_LINES),
    SignalCounts("fineweb.line_punct_ratio", LINES + lines.ENDED_LINES, _FILLED_LINES),
    SignalCounts("fineweb.short_line_ratio", LINES + lines.SHORT_LINES, _FILLED_LINES),
    SignalCounts("fineweb.char_dup_ratio", LINES + lines.FILLED_DUP_CHARS, _CHARS, _NEWLINES),
    SignalCounts("fineweb.new_line_ratio", _NEWLINES, _WORDS),
    SignalCounts("fineweb.c4_lorem_ipsum_lines", C4 + c4.ANY_LOREM_LINES),
    SignalCounts("fineweb.c4_curly_bracket_lines", C4 + c4.ANY_CURLY_LINES),
    SignalCounts("fineweb.c4_kept_lines", C4 + c4.ANY_KEPT_LINES),
    SignalCounts("fineweb.c4_sentences", C4 + c4.ANY_SENTENCES),
)
"""Every signal of the pass, under the names and in the order of ``quality/signals.py``."""
