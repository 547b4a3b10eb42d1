"""A student's sums as the file's description has them, one document and one output at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from kernels.text import gram_sums_reference as grams
from quality.reward.student.model import SCALE_BITS, StudentModel


def plain_points(model: StudentModel, text: str, signals: Mapping[str, Any]) -> list[int]:
    """Units of 2^-16 point of each output."""
    word_bits = len(model.word_weights).bit_length() - 1
    gram_bits = len(model.gram_weights).bit_length() - 1
    words = grams.weighted_sums(grams.word_buckets(text, word_bits), model.word_weights)
    found = grams.weighted_sums(grams.gram_buckets(text, gram_bits), model.gram_weights)
    points = []
    for j in range(len(model.intercepts)):
        total = int(model.intercepts[j]) + (words[j] * int(model.word_scales[j]) >> SCALE_BITS)
        if j < len(found):
            total += found[j] * int(model.gram_scales[j]) >> SCALE_BITS
        for s, name in enumerate(model.signals):
            begin, end = int(model.edge_places[s]), int(model.edge_places[s + 1])
            place = bisect_right(model.edges[begin:end].tolist(), float(signals[name]))
            total += int(model.bins[begin + s + place, j])
        points.append(total)
    return points
