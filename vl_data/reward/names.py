"""How much of captions is numbers and names: what stands between blanks, counted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

I64 = NDArray[np.int64]

_OPENING = r"[\"'(\[„“‘«]*"
_PART = r"\S+"
_NUMBER = r"\S*\p{N}\S*"
_CAPITAL = rf"\s{_OPENING}\p{{Lu}}"
_FIRST = rf"[.!?:…][\"')\]“”’»]*\s+{_OPENING}\p{{Lu}}"


class Named(NamedTuple):
    """int64[c] of each caption: what stands between blanks, and how many of it are numbers (hold a
    digit) and names (begin with a capital letter that does not begin a sentence)."""

    parts: I64
    numbers: I64
    names: I64


def named(captions: pa.Array) -> Named:
    """Counts of some captions without white space around."""
    # With a sentence's end before it, a caption's first word begins a sentence like any other.
    wide = pa.large_string()
    led = pc.binary_join_element_wise(
        pa.scalar(". ", wide), captions.cast(wide), pa.scalar("", wide)
    )
    return Named(
        _count(captions, _PART),
        _count(captions, _NUMBER),
        _count(led, _CAPITAL) - _count(led, _FIRST),
    )


def _count(texts: pa.Array, pattern: str) -> I64:
    counts: I64 = pc.count_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
    return counts.astype(np.int64)
