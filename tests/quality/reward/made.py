"""Small labelled corpora and students, made in a moment."""

from __future__ import annotations

import numpy as np
import xxhash

from quality.reward.labels import CATEGORIES, HIGHEST, Label

DEEP = "because mechanism therefore derivation theorem trade-off measured evidence".split()
SHALLOW = "click buy now free subscribe cookie menu home login share".split()


def label_of(text: str, depth: int, *, split: str = "train", category: str = "news") -> Label:
    """A label of a text by a rater that there is not."""
    return Label(
        content_id=xxhash.xxh3_128_digest(text.encode()),
        origin="made for a test",
        uri="none",
        offset=0,
        language="en",
        characters=len(text),
        rater="a",
        rubric=1,
        rating=1,
        split=split,  # type: ignore[arg-type]
        depth=depth,
        helpfulness=min(depth + 1, HIGHEST),
        coherence=HIGHEST - depth,
        category=category,
        reason="made for a test",
    )


def corpus(documents: int, seed: int = 0) -> tuple[list[Label], list[str]]:
    """Texts of deep and shallow words; the share of deep ones is the depth."""
    random = np.random.default_rng(seed)
    labels, texts = [], []
    for _ in range(documents):
        depth = int(random.integers(0, HIGHEST + 1))
        words = [
            str(random.choice(DEEP if random.random() < depth / HIGHEST else SHALLOW))
            for _ in range(int(random.integers(30, 90)))
        ]
        text = " ".join(words) + "."
        texts.append(text)
        labels.append(label_of(text, depth, category=CATEGORIES[2 if depth > 2 else 13]))
    return labels, texts
