"""Text to hide things in: sentences made from word lists, or taken from held-out documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import blake3
import numpy as np

from dataflow.tokenizer import Tokenizer
from trainer.data.corpus import Corpus
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.held_out import choose, read

Haystack = Callable[[np.random.Generator], Iterator[str]]
"""Endless sentences, each without blanks at its ends, as a generator draws them."""

_WHO = "baker sailor teacher painter farmer clerk doctor singer gardener weaver driver".split()
_DID = "watched mended carried followed described painted counted moved cleaned remembered".split()
_HOW = "tall small green heavy plain wooden narrow bright quiet broken painted borrowed".split()
_WHAT = "boat lamp bench kettle fence ladder cart letter window barrel basket clock".split()
_WHERE = "harbour market bridge meadow station orchard chapel mill garden valley shore".split()
_WHEN = "morning evening winter summer weekend afternoon holiday autumn spring night".split()

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_PLAIN = re.compile(r"[^\W\d_][^\d\n]{18,298}[.!?]")
_ENOUGH = 64
"""Sentences of a corpus, at least: fewer would repeat within sight of each other."""


def draws(*parts: object) -> np.random.Generator:
    """Random numbers of a name: the same for the same parts, on every machine."""
    digest = blake3.blake3(repr(parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def one_of(generator: np.random.Generator, words: list[str]) -> str:
    """One of some words."""
    return words[int(generator.integers(len(words)))]


def invented(generator: np.random.Generator) -> Iterator[str]:
    """Sentences of everyday nouns, without digits."""

    def pick(words: list[str]) -> str:
        return one_of(generator, words)

    while True:
        match int(generator.integers(3)):
            case 0:
                yield (
                    f"The {pick(_WHO)} {pick(_DID)} the {pick(_HOW)} {pick(_WHAT)} near the "
                    f"{pick(_WHERE)} in the {pick(_WHEN)}."
                )
            case 1:
                yield (
                    f"In the {pick(_WHEN)}, a {pick(_HOW)} {pick(_WHAT)} stood by the "
                    f"{pick(_WHERE)}, and nobody {pick(_DID)} it."
                )
            case _:
                yield (
                    f"Every {pick(_WHEN)} the {pick(_WHO)} and the {pick(_WHO)} {pick(_DID)} what "
                    f"the {pick(_WHERE)} had kept: a {pick(_WHAT)} and a {pick(_HOW)} "
                    f"{pick(_WHAT)}."
                )


def from_corpus(corpus: Corpus, tokenizer: Tokenizer, *, tokens: int = 1 << 20) -> Haystack:
    """Sentences of held-out documents, without digits, so that no number there is an answer.

    They are read in the order of the documents from a drawn place on, and from the first again
    after the last.

    Parameters
    ----------
    tokens : int
        Read at most so many.

    Raises
    ------
    EvaluationError
        If there are too few such sentences, or the tokenizer is not the corpus'.
    """
    if corpus.tokenizer != tokenizer.hash:
        raise EvaluationError(
            f"{corpus.run.store.uri}: found tokens of tokenizer {corpus.tokenizer}, the model has "
            f"{tokenizer.hash}; use the invented haystack, or a corpus of the model's tokenizer"
        )
    documents = choose(corpus, tokens=tokens, longest=tokens).documents
    sentences: list[str] = []
    for _, texts in read(corpus, documents):
        for ids in (text.ids for text in texts):
            body: Any = ids[:-1] if int(ids[-1]) == corpus.eod else ids
            text = tokenizer.decode(body.tolist()).decode(errors="ignore")
            sentences += [s for s in _SENTENCE.split(text) if _PLAIN.fullmatch(s)]
    if len(sentences) < _ENOUGH:
        raise EvaluationError(
            f"{corpus.run.store.uri}: found {len(sentences)} plain sentences in its held-out text, "
            f"expected {_ENOUGH} or more; use the invented haystack"
        )

    def haystack(generator: np.random.Generator) -> Iterator[str]:
        at = int(generator.integers(len(sentences)))
        while True:
            yield sentences[at]
            at = (at + 1) % len(sentences)

    return haystack
