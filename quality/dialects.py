"""Named sets of rules with the thresholds their papers give: what a recipe's ``use:`` means.

A rule is named after its signal. Bounds are inclusive: "drop if over .3" is ``max=0.3``.
"""

from __future__ import annotations

from dataclasses import dataclass

from quality.rules import Rule


@dataclass(frozen=True)
class Dialect:
    """A named, ordered set of rules; ``source`` says where its thresholds come from."""

    name: str
    doc: str
    source: str
    rules: tuple[Rule, ...]


def _at_most(signal: str, maximum: float) -> Rule:
    return Rule(signal, signal, max=maximum)


def _at_least(signal: str, minimum: float) -> Rule:
    return Rule(signal, signal, min=minimum)


def _between(signal: str, minimum: float, maximum: float) -> Rule:
    return Rule(signal, signal, min=minimum, max=maximum)


_DIALECTS = (
    Dialect(
        "gopher.quality",
        "prose of a sensible length, made of words, with English stop words",
        "Rae et al. 2021, arXiv:2112.11446, A1.1",
        (
            _between("gopher.words", 50, 100_000),
            _between("gopher.mean_word_chars", 3, 10),
            _at_most("gopher.hash_ratio", 0.1),
            _at_most("gopher.ellipsis_ratio", 0.1),
            _at_most("gopher.bullet_line_frac", 0.9),
            _at_most("gopher.ellipsis_line_frac", 0.3),
            _at_least("gopher.alpha_word_frac", 0.8),
            _at_least("gopher.stop_words", 2),
        ),
    ),
    Dialect(
        "gopher.repetition",
        "no document that mostly repeats its own lines, paragraphs or phrases",
        "Rae et al. 2021, arXiv:2112.11446, table A1",
        (
            _at_most("gopher.dup_line_frac", 0.30),
            _at_most("gopher.dup_para_frac", 0.30),
            _at_most("gopher.dup_line_char_frac", 0.20),
            _at_most("gopher.dup_para_char_frac", 0.20),
            _at_most("gopher.top_2_gram_char_frac", 0.20),
            _at_most("gopher.top_3_gram_char_frac", 0.18),
            _at_most("gopher.top_4_gram_char_frac", 0.16),
            _at_most("gopher.dup_5_gram_char_frac", 0.15),
            _at_most("gopher.dup_6_gram_char_frac", 0.14),
            _at_most("gopher.dup_7_gram_char_frac", 0.13),
            _at_most("gopher.dup_8_gram_char_frac", 0.12),
            _at_most("gopher.dup_9_gram_char_frac", 0.11),
            _at_most("gopher.dup_10_gram_char_frac", 0.10),
        ),
    ),
    Dialect(
        "c4.document",
        "C4's rules for whole documents, over the lines that its line rules keep",
        "Raffel et al. 2020, arXiv:1910.10683, 2.2",
        (
            _at_most("c4.lorem_ipsum_lines", 0),
            _at_most("c4.curly_bracket_lines", 0),
            _at_least("c4.sentences", 5),
        ),
    ),
    Dialect(
        "mc4.document",
        "mC4's rule for whole documents: three lines of 200 characters or more",
        "Xue et al. 2021, arXiv:2010.11934, 3.1",
        (_at_least("mc4.long_lines", 3),),
    ),
    Dialect(
        "fineweb.c4",
        "C4's rules for whole documents as FineWeb runs them: lines may end in any character",
        "Penedo et al. 2024, arXiv:2406.17557, 3.5",
        (
            _at_most("fineweb.c4_lorem_ipsum_lines", 0),
            _at_most("fineweb.c4_curly_bracket_lines", 0),
            _at_least("fineweb.c4_sentences", 5),
        ),
    ),
    Dialect(
        "fineweb.quality",
        "no lists, menus and templates: FineWeb's own four rules",
        "Penedo et al. 2024, arXiv:2406.17557, 3.6; the newline rule as in datatrove 0.10",
        (
            _at_least("fineweb.line_punct_ratio", 0.12),
            _at_most("fineweb.short_line_ratio", 0.67),
            _at_most("fineweb.char_dup_ratio", 0.01),
            _at_most("fineweb.new_line_ratio", 0.3),
        ),
    ),
    Dialect(
        "fineweb.language",
        "English, with a probability of at least .65 (FineWeb: above .65)",
        "Penedo et al. 2024, arXiv:2406.17557, 3.3",
        (
            Rule("lang.label", "lang.label", in_=("en",)),
            _at_least("lang.score", 0.65),
        ),
    ),
)

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _DIALECTS}
"""The dialects by name, with what they are and where their thresholds come from."""

PRESETS: dict[str, tuple[Rule, ...]] = {name: d.rules for name, d in DIALECTS.items()}
"""The rules of each dialect, in order."""
