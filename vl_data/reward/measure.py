"""The signals of documents' captions in their run, and the score that they come to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vl_data.captions import caption_keys, is_boilerplate, is_file_name, normalised
from vl_data.reward import points
from vl_data.reward.caption_words import BIT, Words, buckets_of, distinct_words, of_hashes, sums
from vl_data.reward.echoes import echoed, titles_of
from vl_data.reward.names import named
from vl_data.reward.pairs import CaptionPairs, pairs_of
from vl_data.reward.scores_file import PairScores
from vl_data.signals import schema

I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

COLUMNS = (
    "metadata",
    *(f"images.list.element.{name}" for name in ("digest", "ref", "alt", "caption")),
)
"""What of documents is read."""

REPETITION = ("caption.images", "caption.template_images")
"""What of the signals of ``vl_data.repetition`` is read."""

_MOST_BITS = (1 << 24) // BIT - 1
"""Bits that a float32 still tells in 256ths."""


def image_reward_signals(
    documents: pa.Table,
    worth: NDArray[np.int32],
    repetition: pa.Table | None = None,
    scores: PairScores | None = None,
) -> pa.Table:
    """The columns of ``schema("image_reward")``, row-aligned with ``documents``.

    All are null for a document without captions; gains and agreement too where no model has said
    anything of any of its pairs.

    Parameters
    ----------
    documents : n rows with ``COLUMNS``.
    worth : of a word of each bucket, ``vl_data.reward.caption_words.worths``.
    repetition : ``REPETITION``, row-aligned; None where nobody has counted: shared with none.
    scores : what a model says of pairs.
    """
    pairs = pairs_of(documents)
    words = distinct_words(pairs.caption)
    told = sums(words, worth[buckets_of(words)], len(pairs))
    measured = {
        **_words(pairs, words, told),
        **_shares(pairs, words, titles_of(documents["metadata"])),
        **_points(pairs, told, repetition, scores),
    }
    wanted = schema("image_reward")
    assert list(measured) == wanted.names
    columns = [
        pa.array(values.astype(field.type.to_pandas_dtype()), mask=absent)
        for (values, absent), field in zip(measured.values(), wanted, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=wanted)


def _words(pairs: CaptionPairs, words: Words, told: I64) -> dict[str, tuple[Any, Bools]]:
    without = pairs.count == 0
    n = len(pairs.count)
    row = pairs.row[words.text]
    count = np.bincount(row, minlength=n)
    # Of a document, a word that one caption alone has.
    of_row = of_hashes(row, words.word << np.uint64(24))
    at = np.searchsorted(_keys(of_row.text, of_row.word), _keys(row, words.word))
    own = (np.bincount(at, minlength=len(of_row.text))[at] == 1).astype(np.int64)
    lowest = np.minimum(_least(pairs, told), _MOST_BITS * BIT)
    return {
        "caption.bits": (lowest / BIT, without),
        "caption.word_bits": (
            _by_document(pairs, told) / (BIT * np.maximum(count, 1)),
            without,
        ),
        "caption.own_words": (_least(pairs, sums(words, own, len(pairs))), without),
    }


def _shares(
    pairs: CaptionPairs, words: Words, titles: list[str | None]
) -> dict[str, tuple[Any, Bools]]:
    without = pairs.count == 0
    n = len(pairs.count)
    parts, numbers, names = (_by_document(pairs, found) for found in named(pairs.caption))
    row = pairs.row[words.text]
    repeats = np.bincount(row[echoed(pairs, words, titles)], minlength=n)
    keys = caption_keys(normalised(pairs.caption))
    seen = np.zeros(len(pairs), np.bool_)
    order = np.lexsort((keys, pairs.row))
    first = np.ones(len(pairs), np.bool_)
    ordered_row, ordered_key = pairs.row[order], keys[order]
    first[1:] = (ordered_row[1:] != ordered_row[:-1]) | (ordered_key[1:] != ordered_key[:-1])
    seen[order] = ~first
    return {
        "caption.number_frac": (numbers / np.maximum(parts, 1), without),
        "caption.name_frac": (names / np.maximum(parts, 1), without),
        "caption.echo_frac": (
            repeats / np.maximum(np.bincount(row, minlength=n), 1),
            without,
        ),
        "caption.repeated_frac": (
            np.bincount(pairs.row[seen], minlength=n) / np.maximum(pairs.count, 1),
            without,
        ),
    }


def _points(
    pairs: CaptionPairs, told: I64, repetition: pa.Table | None, scores: PairScores | None
) -> dict[str, tuple[Any, Bools]]:
    without = pairs.count == 0
    plain = normalised(pairs.caption)
    stock = _flags(is_file_name(plain)) | _flags(is_boilerplate(plain))
    informative = _mean(pairs, points.informativeness(told, stock), np.ones(len(pairs), np.bool_))
    ones = np.ones(len(pairs.count), np.int64)
    shared = [ones, ones]
    if repetition is not None:
        shared = [
            pc.fill_null(repetition[name], 1).to_numpy().astype(np.int64) for name in REPETITION
        ]
    original = points.originality(*shared)
    none = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.bool_)
    (gain, known), (unseen, known_unseen) = none, none
    if scores is not None and len(pairs):
        place, there = scores.places(pairs.ids())
        if len(scores.pair):
            gain, known = scores.gain[place], scores.known[place] & there
            unseen, known_unseen = scores.gain_unseen[place], scores.known_unseen[place] & there
    unknown = _by_document(pairs, known) == 0
    agreeing = _mean(pairs, points.agreement(gain), known)
    score = informative + original + np.where(unknown, points.NEUTRAL, agreeing)
    return {
        "image_reward.gain": (_mean(pairs, gain, known) / points.GAIN, unknown),
        "image_reward.gain_unseen": (
            _mean(pairs, unseen, known_unseen) / points.GAIN,
            _by_document(pairs, known_unseen) == 0,
        ),
        "image_reward.informativeness": (informative / points.POINT, without),
        "image_reward.originality": (original / points.POINT, without),
        "image_reward.agreement": (agreeing / points.POINT, unknown),
        "image_reward.score": (score / points.POINT, without),
    }


def _mean(pairs: CaptionPairs, values: I64, known: Bools) -> I64:
    """Of the known values of each document, rounded down; 0 where there is none."""
    total = _by_document(pairs, np.where(known, values, 0))
    mean: I64 = total // np.maximum(_by_document(pairs, known), 1)
    return mean


def _by_document(pairs: CaptionPairs, values: NDArray[Any]) -> I64:
    found = np.zeros(len(pairs.count), np.int64)
    np.add.at(found, pairs.row, values.astype(np.int64))
    return found


def _least(pairs: CaptionPairs, values: I64) -> I64:
    """Of each document's captions; 0 for a document without any."""
    found = np.full(len(pairs.count), np.iinfo(np.int64).max)
    np.minimum.at(found, pairs.row, values)
    found[pairs.count == 0] = 0
    return found


def _keys(text: I64, word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (text.astype(np.uint64) << np.uint64(40)) | word


def _flags(column: pa.Array) -> Bools:
    flags: Bools = column.to_numpy(zero_copy_only=False)
    return flags
