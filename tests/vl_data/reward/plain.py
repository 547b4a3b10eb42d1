"""The signals of captions in their run as their definitions read, document by document."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from math import floor, log2
from typing import Any

import numpy as np

Document = list[dict[str, Any]]
"""Images with ``caption``, ``ref`` and ``alt``."""


def words(text: str) -> set[str]:
    """Of a text of ASCII letters, digits, blanks, hyphens and exclamation marks."""
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def logarithm(value: int) -> int:
    """⌊256 · log2⌋; exact for the small numbers of tests, which are no near powers."""
    return floor(256 * log2(value))


def signals(run: list[Document], shared: list[tuple[int, int]], gains: dict[Any, int]) -> Any:
    """Rows of the signals; ``gains`` by (image's digest, caption), in 1024ths."""
    told = [image for document in run for image in document if image["caption"]]
    texts = Counter(word for image in told for word in words(image["caption"]))
    worth = {word: logarithm(len(told) + 1) - logarithm(n) for word, n in texts.items()}
    return [_row(document, worth, *one, gains) for document, one in zip(run, shared, strict=True)]


def unseen_of(gain: Any) -> Any:
    """What tests have a model say of a pair without an image, where it says ``gain``."""
    return 2 * gain + 1


def _row(
    document: Document, worth: dict[str, int], images: int, templates: int, gains: dict[Any, int]
) -> dict[str, Any] | None:
    pairs = [image for image in document if image["caption"]]
    if not pairs:
        return None
    captions = [image["caption"] for image in pairs]
    each = [words(caption) for caption in captions]
    total = sum(map(len, each))
    worths = [sum(worth[word] for word in mine) for mine in each]
    own = [len(mine - set().union(*(each[:i] + each[i + 1 :]))) for i, mine in enumerate(each)]
    parts = [part for caption in captions for part in caption.split()]
    names = [
        part
        for caption in captions
        for before, part in zip(["!", *caption.split()], caption.split(), strict=False)
        if part[0].isupper() and not before.endswith("!")
    ]
    echoes = 0
    for image, mine in zip(pairs, each, strict=True):
        beside = f"{image['ref'].rpartition('/')[2].rpartition('.')[0]} {image['alt'] or ''}"
        echoes += len(mine & words(beside))
    keys = [" ".join(re.findall(r"[a-z0-9]+", caption.lower())) for caption in captions]
    repeated = sum(key in keys[:i] for i, key in enumerate(keys))
    informative = [min(128, worth // 128) for worth in worths]
    original = max(0, 64 - max(16 * floor(log2(images)), 8 * floor(log2(templates))))
    known = [gains[key] for i in pairs if (key := (i["digest"], i["caption"])) in gains]
    unseen = [unseen_of(gain) for gain in known]
    agreement = [min(128, max(0, 64 + gain // 4)) for gain in known]
    mean = sum(informative) // len(informative)
    agreeing = sum(agreement) // len(agreement) if known else None
    score = mean + original + (64 if agreeing is None else agreeing)
    return {
        "caption.bits": np.float32(Fraction(min(worths), 256)),
        "caption.word_bits": np.float32(sum(worths) / (256 * max(total, 1))),
        "caption.own_words": min(own),
        "caption.number_frac": np.float32(
            sum(any(c.isdigit() for c in part) for part in parts) / len(parts)
        ),
        "caption.name_frac": np.float32(len(names) / len(parts)),
        "caption.echo_frac": np.float32(echoes / max(total, 1)),
        "caption.repeated_frac": np.float32(repeated / len(captions)),
        "image_reward.gain": None if not known else sum(known) // len(known) / 1024,
        "image_reward.gain_unseen": None if not known else sum(unseen) // len(unseen) / 1024,
        "image_reward.informativeness": mean / 64,
        "image_reward.originality": original / 64,
        "image_reward.agreement": None if agreeing is None else agreeing / 64,
        "image_reward.score": score / 64,
    }
