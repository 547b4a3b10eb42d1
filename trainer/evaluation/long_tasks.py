"""Questions over long texts of a length in tokens: needles, chains of names, common words.

The kinds follow the ideas of RULER (arXiv:2404.06654); wording, words and sizes are ours. Each has
one short answer, and wrong answers of the same form, so that a model which cannot answer still
shows by likelihood how near it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise

import numpy as np
import torch

from dataflow.tokenizer import Tokenizer
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.haystack import Haystack, draws
from trainer.evaluation.texts import as_tokens

WRONG = 3
"""Wrong answers beside the right one."""
KEYS = 4
"""Needles of the kind with several, the one that is asked for among them."""
HOPS = 3
"""Names of a chain: one is given a value, each other one the value of the name before."""
CHAINS = 4
FREQUENT = 4
"""How often the common word is listed for once of any other."""

_QUALITIES = "amber brisk calm dusty early faded gentle hollow ivory jolly keen lively".split()
_THINGS = "anchor beacon candle drum engine feather glove hammer island jacket kite lantern".split()
# Of five letters each, so that none is likelier for being short.
_LISTED = (
    "apple bread chair dress eagle flute grape horse ingot judge knife lemon mouse nurse olive "
    "piano queen river sheep table uncle voice wheat yacht zebra brush cloud dance earth frost"
).split()


@dataclass(frozen=True)
class LongQuestion:
    """A prompt (its text and its ids, int64 ``[T]``), what should follow it, and what should not.

    ``answer`` and ``wrong`` begin with a blank and end with a full stop, which ends the number.
    """

    text: str
    prompt: torch.Tensor
    answer: str
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class _Parts:
    """What a kind asks: groups of sentences to hide, and the question.

    The sentences of a group stay in order. The first one of the first group is at the depth asked
    for, all others are anywhere.
    """

    hidden: tuple[tuple[str, ...], ...]
    question: str
    answer: str
    wrong: tuple[str, ...]


def _values(generator: np.random.Generator, count: int) -> list[str]:
    """Different numbers of six digits."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[str(generator.integers(100_000, 1_000_000))] = None
    return list(found)


def _names(generator: np.random.Generator, count: int) -> list[str]:
    """Different names, such as ``amber anchor``; no two share a word while words last."""
    qualities = generator.permutation(_QUALITIES).tolist()
    things = generator.permutation(_THINGS).tolist()
    return [f"{qualities[i]} {things[i]}" for i in range(count)]


def _needles(generator: np.random.Generator, *, keys: int) -> _Parts:
    """Numbers of keys. Wrong answers are the other keys' numbers, then numbers not in the text."""
    values = _values(generator, max(keys, WRONG + 1))
    names = _names(generator, keys)
    return _Parts(
        tuple((f"The secret number of the {names[i]} is {values[i]}.",) for i in range(keys)),
        f"\nQuestion: what is the secret number of the {names[0]}?\n"
        f"Answer: the secret number of the {names[0]} is",
        f" {values[0]}.",
        tuple(f" {value}." for value in values[1 : WRONG + 1]),
    )


def _variables(generator: np.random.Generator) -> _Parts:
    """Chains of names of which each takes the value of the one before; the last one's is asked.

    Wrong answers are the other chains' values.
    """
    values = _values(generator, CHAINS)
    letters = generator.permutation(list("ABCDEFGHJKLMNPQRSTUVWXYZ")).tolist()
    chains = [letters[HOPS * c : HOPS * (c + 1)] for c in range(CHAINS)]
    statements = tuple(
        (
            f"Let {chain[0]} be {values[c]}.",
            *(f"Let {name} be the same as {before}." for before, name in pairwise(chain)),
        )
        for c, chain in enumerate(chains)
    )
    last = chains[0][-1]
    return _Parts(
        statements,
        f"\nQuestion: which number is {last}?\nAnswer: the number {last} is",
        f" {values[0]}.",
        tuple(f" {value}." for value in values[1:]),
    )


def _in_haystack(
    parts: Callable[[np.random.Generator], _Parts],
    tokenizer: Tokenizer,
    generator: np.random.Generator,
    haystack: Haystack,
    length: int,
    depth: float,
) -> LongQuestion | int:
    """A question whose prompt and longest answer fill ``length`` tokens but for less than one
    sentence; the tokens that it takes without any haystack, where these are too many."""
    asked = parts(generator)
    where = [np.sort(generator.random(len(group))).tolist() for group in asked.hidden]
    ties = [np.sort(generator.random(len(group))).tolist() for group in asked.hidden]
    sentences = haystack(generator)
    room = length - _longest(tokenizer, asked.answer, asked.wrong)

    def text(filler: list[str]) -> str:
        n = len(filler)
        first = round(depth * n)
        placed: list[tuple[int, float, str]] = []
        for number, group in enumerate(asked.hidden):
            start = 0 if number else first
            for step, sentence in enumerate(group):
                at = start + int(where[number][step] * (n - start + 1))
                if number == 0 and step == 0:
                    at = first
                placed.append((at, ties[number][step], sentence))
        woven: list[str] = []
        before = 0
        for at, _, sentence in sorted(placed):
            woven += [*filler[before:at], sentence]
            before = at
        return " ".join(woven + filler[before:]) + asked.question

    bare = len(as_tokens(tokenizer, text([])))
    if bare > room:
        return bare + length - room
    filler = _filler(tokenizer, sentences, room - bare)
    prompt = as_tokens(tokenizer, text(filler))
    # Sentences side by side may tokenize to more than they do alone.
    while len(prompt) > room:
        filler.pop()
        prompt = as_tokens(tokenizer, text(filler))
    return LongQuestion(text(filler), prompt, asked.answer, asked.wrong)


def _filler(tokenizer: Tokenizer, sentences: Iterator[str], room: int) -> list[str]:
    """Sentences that fit into ``room`` tokens."""
    found: list[str] = []
    while True:
        batch = list(islice(sentences, 64))
        encoded = tokenizer.encode_batch([" " + sentence for sentence in batch])
        for sentence, ids in zip(batch, encoded, strict=True):
            room -= len(ids)
            if room < 0:
                return found
            found.append(sentence)


def _longest(tokenizer: Tokenizer, answer: str, wrong: tuple[str, ...]) -> int:
    return max(len(as_tokens(tokenizer, text)) for text in (answer, *wrong))


def _common_word(
    tokenizer: Tokenizer,
    generator: np.random.Generator,
    _haystack: Haystack,
    length: int,
    _depth: float,
) -> LongQuestion | int:
    """A list of words, of which one comes more often than any other: the answer.

    Wrong answers are words of the list.
    """
    words = generator.permutation(_LISTED).tolist()
    common, others = words[0], words[1:]
    answer, wrong = f" {common}.", tuple(f" {word}." for word in others[:WRONG])
    question = "\nQuestion: which word is listed most often?\nAnswer: the word listed most often is"
    room = length - _longest(tokenizer, answer, wrong)

    def text(rounds: int, more: int) -> str:
        listed: list[str] = []
        # A round has the common word FREQUENT times, every other one once, in an order of its own.
        generator_of = draws("rounds", *words)
        for _ in range(rounds):
            listed += generator_of.permutation([common] * FREQUENT + others).tolist()
        # What is left is filled with others, each less often than a round has the common word.
        listed += (others * (FREQUENT // 2))[:more]
        return "Words: " + ", ".join(listed) + "." + question

    def size(rounds: int, more: int) -> int:
        return len(as_tokens(tokenizer, text(rounds, more)))

    one, two = size(1, 0), size(2, 0)
    if one > room:
        return one + length - room
    # Rounds and words differ by few tokens, so two encodings or three of the long text will do.
    rounds = 1 + (room - one) // (two - one)
    while (taken := size(rounds, 0)) > room:
        rounds -= 1
    more = 0
    for ids in tokenizer.encode_batch([f", {word}" for word in others * (FREQUENT // 2)]):
        taken += len(ids)
        if taken > room:
            break
        more += 1
    while size(rounds, more) > room:
        more -= 1
    whole = text(rounds, more)
    return LongQuestion(whole, as_tokens(tokenizer, whole), answer, wrong)


_Kind = Callable[[Tokenizer, np.random.Generator, Haystack, int, float], LongQuestion | int]

KINDS: dict[str, _Kind] = {
    "needle": partial(_in_haystack, partial(_needles, keys=1)),
    "keys": partial(_in_haystack, partial(_needles, keys=KEYS)),
    "variables": partial(_in_haystack, _variables),
    "common": _common_word,
}
"""One needle, one of several, a chain of names, the most common word."""
DEPTHLESS = frozenset({"common"})
"""Kinds that hide nothing at a place."""


def long_question(
    kind: str,
    tokenizer: Tokenizer,
    haystack: Haystack,
    *,
    length: int,
    depth: float,
    seed: int,
    sample: int,
) -> LongQuestion:
    """Make a question; the same for the same arguments.

    Args:
        kind: of `KINDS`.
        length: tokens of the prompt and the longest answer together, at most; what is missing is
            less than a sentence, or a word.
        depth: where the first hidden sentence is: 0 before all of the haystack, 1 behind it.
        sample: questions of another number are others.

    Raises:
        EvaluationError: the length is too small for the kind.
    """
    generator = draws("long question", kind, length, depth, seed, sample)
    found = KINDS[kind](tokenizer, generator, haystack, length, depth)
    if isinstance(found, int):
        raise EvaluationError(
            f"{kind}: found a length of {length} tokens, expected {found} or more, which the "
            "question takes without anything around it"
        )
    return found
