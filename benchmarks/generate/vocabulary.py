"""A made-up English-like vocabulary with the rank-frequency law of natural text.

The commonest words are real English function words, so that rules that count them (Gopher's stop
words) see text and not noise; the rest are distinct syllable words.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

_COMMONEST = (
    "the of and to in that is was it for as with be on at by had not are but from or have an they"
    " which one were all we when there can been if more will would who what so their out up into"
    " than some could its two may then do first any my now such like our over even most me after"
    " also made many must before through where much your way well down should because each just"
    " those how too state good very still between never same another while last might us since"
    " off come against right used few during without again place around however home small found"
    " thought went say part once general upon every does got united number hand course water until"
    " always away something fact though less put think almost enough far took head yet better set"
    " nothing night end why called didn eyes find going look asked later knew"
)
FUNCTION_WORDS = _COMMONEST.split()

_ONSETS = [
    *"bcdfghlmnprstvw",
    "br",
    "cr",
    "dr",
    "fl",
    "gr",
    "pl",
    "pr",
    "sh",
    "sl",
    "st",
    "th",
    "tr",
]
_NUCLEI = [*"aeiou", "ai", "ea", "ee", "io", "ou"]
_CODAS = ["", "", "", "n", "r", "s", "l", "t", "nd", "st", "rk", "m"]


def generator(*key: int) -> np.random.Generator:
    """The random stream that belongs to ``key``, independent of any other key's."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


@functools.cache
def vocabulary(size: int, seed: int) -> tuple[str, ...]:
    """``size`` distinct lower-case words, the commonest first.

    Raises
    ------
    ValueError
        If ``size`` is smaller than the number of function words.
    """
    if size < len(FUNCTION_WORDS):
        raise ValueError(f"a vocabulary of {size} words: expected {len(FUNCTION_WORDS)} or more")
    rng = generator(seed, 1)
    words = dict.fromkeys(FUNCTION_WORDS)
    while len(words) < size:
        syllables = rng.integers(2, 5)
        draws = rng.integers(0, 1 << 30, size=(int(syllables), 3))
        words.setdefault(
            "".join(
                _ONSETS[o % len(_ONSETS)] + _NUCLEI[n % len(_NUCLEI)] + _CODAS[c % len(_CODAS)]
                for o, n, c in draws.tolist()
            )
        )
    return tuple(words)


@functools.cache
def cumulative_weights(size: int) -> npt.NDArray[np.float64]:
    """Cumulative Zipf-Mandelbrot probabilities of ranks 0 to ``size - 1`` (float64, last is 1)."""
    weights = 1.0 / (np.arange(size) + 2.7) ** 1.07
    cumulative = np.cumsum(weights)
    cumulative /= cumulative[-1]
    return cumulative


def draw(rng: np.random.Generator, count: int, size: int) -> npt.NDArray[np.int64]:
    """``count`` word ranks below ``size`` drawn by frequency."""
    ranks = np.searchsorted(cumulative_weights(size), rng.random(count), side="right")
    return np.minimum(ranks, size - 1).astype(np.int64)
