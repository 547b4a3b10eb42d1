"""Random draws that are the same on every machine: bytes of a BLAKE3 stream, keyed by names.

Neither Python's nor NumPy's generators promise that ``choice`` or ``shuffle`` give the same in the
next version. What is drawn here is integer arithmetic on the output of a hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import blake3
import numpy as np
import numpy.typing as npt

T = TypeVar("T")

_DOMAIN = b"leyden.vl.synthesis.1\0"
_CHUNK = 2048
_WORD = 1 << 64


class Draws:
    """A stream of draws that depends on its key and on nothing else.

    Parameters
    ----------
    key : str or int
        Parts of the key, such as seed, family and number of the sample. ``("a", "b")`` and
        ``("a/b",)`` are different keys, and so are ``1`` and ``"1"``.
    """

    def __init__(self, *key: str | int) -> None:
        named = "\0".join(f"{type(part).__name__}:{part}" for part in key)
        self._hash = blake3.blake3(_DOMAIN + named.encode())
        self._buffer = b""
        self._at = 0
        self._next_chunk = 0

    def _word(self) -> int:
        if self._at == len(self._buffer):
            self._buffer = self._hash.digest(length=_CHUNK, seek=self._next_chunk)
            self._next_chunk += _CHUNK
            self._at = 0
        self._at += 8
        return int.from_bytes(self._buffer[self._at - 8 : self._at], "little")

    def below(self, count: int) -> int:
        """A number of ``0 … count - 1``, each as likely as the others."""
        if count < 1:
            raise ValueError(f"found {count} to draw from, expected at least 1")
        limit = _WORD - _WORD % count
        while (word := self._word()) >= limit:
            pass
        return word % count

    def between(self, low: int, high: int) -> int:
        """A whole number of ``low … high``, both ends included."""
        return low + self.below(high - low + 1)

    def uniform(self, low: float, high: float) -> float:
        """A float of ``[low, high)``."""
        return low + (high - low) * ((self._word() >> 11) / (1 << 53))

    def coin(self) -> bool:
        """True as often as False."""
        return self.below(2) == 1

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, each as likely as the others."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in an order of which each is as likely as the others."""
        found = list(items)
        for i in range(len(found) - 1, 0, -1):
            j = self.below(i + 1)
            found[i], found[j] = found[j], found[i]
        return found

    def picks(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different items, in random order.

        Raises
        ------
        ValueError
            If there are not so many.
        """
        if count > len(items):
            raise ValueError(f"found {len(items)} items, expected at least the {count} asked for")
        return self.shuffled(items)[:count]

    def noise(self, *shape: int) -> npt.NDArray[np.uint8]:
        """uint8 array of ``shape``: every byte as likely as the others."""
        size = int(np.prod(shape))
        # A seed of its own, so that what comes after does not hang on the shape.
        stream = blake3.blake3(_DOMAIN + b"noise\0" + self._word().to_bytes(8, "little"))
        return np.frombuffer(stream.digest(length=size), dtype=np.uint8).reshape(shape)
