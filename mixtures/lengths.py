"""The length classes of documents, relative to L1: the ``text_128k`` length times a run's scale.

MiniMax-01 (arXiv:2501.08313, Table 6) has L1 = 131,072 tokens: short is below 32K, medium up to
128K, long above.
"""

from __future__ import annotations

from typing import Literal

LengthClass = Literal["short", "medium", "long"]


def bounds(length: LengthClass | None, l1: int) -> tuple[int, int | None]:
    """The least tokens of a class, and the least that are too many (None: no limit).

    Short is below L1/4, medium from there to L1 inclusive, long above. Tokens are those of the
    index, the end of document counted.
    """
    quarter = -(-l1 // 4)
    if length == "short":
        return 0, quarter
    if length == "medium":
        return quarter, l1 + 1
    return (l1 + 1, None) if length == "long" else (0, None)
