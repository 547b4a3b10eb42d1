"""What the documents of preference pairs say of their scores: the signal ``preference.gap``."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa

KEY = "preference"
"""Of the metadata: ``chosen``, ``rejected`` and ``gap``, where the source has scores."""
SIGNAL = "preference.gap"


def gaps(metadata: Any) -> pa.Array:
    """float32 [n]: the gap between the scores of each document's answers, null where it has none.

    Parameters
    ----------
    metadata : string column of documents, JSON objects or null
    """
    needle = f'"{KEY}"'
    found = []
    for text in metadata.to_pylist():
        scores = orjson.loads(text).get(KEY) if text is not None and needle in text else None
        found.append(scores.get("gap") if isinstance(scores, dict) else None)
    return pa.array(found, pa.float32())
