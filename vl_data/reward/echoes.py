"""Words of captions that say again what stands beside the image anyway."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vl_data.reward.caption_words import Words, distinct_words
from vl_data.reward.pairs import CaptionPairs

TITLE = "title"
"""The key of a document's metadata."""

_APART = str.maketrans("-_+.", "    ")


def echoed(pairs: CaptionPairs, words: Words, titles: Sequence[str | None]) -> NDArray[np.bool_]:
    """Which ``words`` of the captions of ``pairs`` its image's file name, its alternative text
    (where that is not the caption) or the document's title has too: bool[w].

    Parameters
    ----------
    words : ``distinct_words(pairs.caption)``.
    titles : of each document, None without one.
    """
    beside = []
    told = zip(
        pairs.row.tolist(),
        pairs.caption.to_pylist(),
        pairs.images.field("ref").to_pylist(),
        pairs.images.field("alt").to_pylist(),
        strict=True,
    )
    for row, caption, ref, alt in told:
        # After a "#" stands what a container calls its member.
        name = PurePosixPath(ref.rpartition("#")[2] or ref).stem.translate(_APART)
        other = alt if alt is not None and alt.strip() != caption else ""
        beside.append(f"{name}\n{other}\n{titles[row] or ''}")
    known = distinct_words(pa.array(beside, pa.large_string()))
    return np.isin(_keys(words), _keys(known))


def titles_of(metadata: pa.ChunkedArray) -> list[str | None]:
    """The title in each document's metadata (JSON objects or null), where it has one."""
    needle = f'"{TITLE}"'
    found = []
    for text in metadata.to_pylist():
        title = orjson.loads(text).get(TITLE) if text is not None and needle in text else None
        found.append(title if isinstance(title, str) else None)
    return found


def _keys(words: Words) -> NDArray[np.uint64]:
    return (words.text.astype(np.uint64) << np.uint64(40)) | words.word
