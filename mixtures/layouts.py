"""The two forms in which a plan's arrays say what is in a sequence, read in place."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mixtures.arrays import advise
from mixtures.piece import Piece

_SCAN = 1 << 22

Arrays = Mapping[str, npt.NDArray[Any]]


class Layout(Protocol):
    """Sequences by number, and documents by the sequences they are in."""

    def pieces(self, sequence: int) -> list[Piece]:
        """The pieces of a sequence in order."""
        ...

    def inverse(self, document: int) -> list[tuple[int, Piece]]:
        """The sequences of a document, in no order, and which piece of it lies there."""
        ...


class StreamLayout:
    """Documents of a component end to end, cut every ``length`` tokens."""

    def __init__(self, arrays: Arrays, components: Sequence[dict[str, Any]], length: int) -> None:
        self._length = length
        self._ordinal = arrays["sequence_ordinal"]
        self._first = arrays["sequence_first"]
        self._of_component = arrays["component_sequence"]
        self._laid = arrays["stream_document"]
        self._laid_at = arrays["stream_start"]
        self._tokens = arrays["document_tokens"]
        self._streams = np.array([c["start"] for c in components], np.int64)
        self._sequences_before = _before([c["drawn"] // length for c in components])

    def pieces(self, sequence: int) -> list[Piece]:
        """Their lengths sum to the plan's."""
        entry = int(self._first[sequence])
        start = int(self._ordinal[sequence]) * self._length - int(self._laid_at[entry])
        left = self._length
        pieces = []
        while left:
            document = int(self._laid[entry])
            taken = min(left, int(self._tokens[document]) - start)
            pieces.append(Piece(document, start, taken))
            left -= taken
            start = 0
            entry += 1
        return pieces

    def inverse(self, document: int) -> list[tuple[int, Piece]]:
        """By a pass over the stream."""
        entries = _entries(self._laid, document)
        return [found for entry in entries for found in self._places(document, entry)]

    def _places(self, document: int, entry: int) -> Iterator[tuple[int, Piece]]:
        """The sequences over which a stream entry stretches."""
        component = int(np.searchsorted(self._streams, entry, side="right")) - 1
        first, end = self._sequences_before[component : component + 2].tolist()
        begin = int(self._laid_at[entry])
        stop = begin + int(self._tokens[document])
        for j in range(begin // self._length, min(-(-stop // self._length), end - first)):
            low, high = max(begin, j * self._length), min(stop, (j + 1) * self._length)
            yield int(self._of_component[first + j]), Piece(document, low - begin, high - low)


class WholeLayout:
    """Documents of a component packed whole: a list of pieces a sequence."""

    def __init__(self, arrays: Arrays, components: Sequence[dict[str, Any]], length: int) -> None:
        self._length = length
        self._component = arrays["sequence_component"]
        self._ordinal = arrays["sequence_ordinal"]
        self._of_component = arrays["component_sequence"]
        self._packed_first = arrays["packed_first"]
        self._documents = arrays["piece_document"]
        self._starts = arrays["piece_start"]
        self._lengths = arrays.get("document_length", arrays["document_tokens"])
        self._sequences_before = _before([c["sequences"] for c in components]).tolist()

    def pieces(self, sequence: int) -> list[Piece]:
        """Their lengths sum to the plan's at most."""
        packed = self._sequences_before[int(self._component[sequence])]
        packed += int(self._ordinal[sequence])
        first, stop = self._packed_first[packed : packed + 2].tolist()
        documents = self._documents[first:stop]
        starts = self._starts[first:stop]
        lengths = np.minimum(self._lengths[documents] - starts, self._length)
        return [
            Piece(*piece)
            for piece in zip(documents.tolist(), starts.tolist(), lengths.tolist(), strict=True)
        ]

    def inverse(self, document: int) -> list[tuple[int, Piece]]:
        """By a pass over the pieces."""
        entries = _entries(self._documents, document)
        packed = np.searchsorted(self._packed_first, entries, side="right") - 1
        size = int(self._lengths[document])
        found = []
        for entry, sequence in zip(entries, self._of_component[packed].tolist(), strict=True):
            start = int(self._starts[entry])
            found.append((sequence, Piece(document, start, min(size - start, self._length))))
        return found


def _before(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    """How many come before each, and all of them."""
    found: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return found


def _entries(array: npt.NDArray[np.int64], document: int) -> list[int]:
    """Where an array has a document."""
    found: list[int] = []
    advise(array, mmap.MADV_SEQUENTIAL)
    for low in range(0, len(array), _SCAN):
        hits = np.flatnonzero(array[low : low + _SCAN] == document)
        found += (hits + low).tolist()
    advise(array, mmap.MADV_RANDOM)
    return found
