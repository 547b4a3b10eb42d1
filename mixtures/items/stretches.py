"""Stretches of held-out text: what comes before a blank, and what comes after it.

A stretch begins at a word, and its query and continuation are parted by one blank within a line,
because the trainer puts one blank between a query and a choice: so the true text is scored as it
was written. Text without blanks gives no stretch.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import xxhash

from dataflow.run import Run
from mixtures.items.corpus_texts import samples, shards_of

PER_DOCUMENT = 8
"""Stretches of a document, at most: spread over it."""
KEPT = 1 << 16
"""Stretches of a source that are kept, at most: those of the smallest hashes."""

_BLANK = re.compile(rb"(?<=\S) (?=\S)")
_SPACE = re.compile(rb"\s")
_AFTER = re.compile(rb"\s+(?=\S)")


@dataclass(frozen=True)
class Stretch:
    """``key``: a hash of the seed, the document and the place. ``position``: of its first byte in
    the document, from 0 to 1."""

    key: int
    doc_id: bytes
    source: str
    language: str
    position: float
    query: str
    continuation: str


@dataclass(frozen=True)
class Sizes:
    """Bytes of a query and of a continuation, about: both end where a word does, at most a quarter
    (or 16 bytes) above."""

    query: int = 240
    continuation: int = 80

    @staticmethod
    def _most(size: int) -> int:
        return size + max(16, size // 4)

    def cut(self, text: bytes, start: int) -> tuple[bytes, bytes] | None:
        """Query and continuation of the stretch that begins at ``start``, or None."""
        least = start + self.query
        gap = _BLANK.search(text, least, start + self._most(self.query) + 2)
        if gap is None:
            return None
        begin, least = gap.end(), gap.end() + self.continuation
        end = _SPACE.search(text, least, begin + self._most(self.continuation) + 1)
        if end is not None:
            stop = end.start()
        elif least <= len(text) <= begin + self._most(self.continuation):
            stop = len(text)
        else:
            return None
        return text[start : gap.start()], text[begin:stop]


def stretches(
    run: Run, sizes: Sizes, seed: int, wanted: Callable[[str], bool]
) -> dict[str, list[Stretch]]:
    """Stretches of the held-out documents of each wanted source, by their keys.

    Documents with images are passed over. A source has an entry though none of its documents
    gives a stretch. What comes depends on the run's content and the seed alone.
    """
    root = f"{run.header['logical_root']} {seed}".encode()
    found: dict[str, list[tuple[int, bytes, Stretch]]] = {}
    for shard in shards_of(run, held_out=True):
        for sample in samples(run, shard):
            for i in range(len(sample)):
                source = sample.documents["source"][i]
                if not wanted(source):
                    continue
                kept = found.setdefault(source, [])
                if "images" in sample.documents and sample.documents["images"][i]:
                    continue
                language = sample.documents["lang"][i] or ""
                about = (sample.doc_id(i), source, language)
                for one in _of_text(sample.text(i), about, sizes, root):
                    entry = (-one.key, one.doc_id, one)
                    if len(kept) < KEPT:
                        heapq.heappush(kept, entry)
                    elif entry[0] > kept[0][0]:
                        heapq.heapreplace(kept, entry)
    return {
        source: sorted((one for _, _, one in kept), key=lambda one: (one.key, one.doc_id))
        for source, kept in sorted(found.items())
    }


def _of_text(
    text: bytes, about: tuple[bytes, str, str], sizes: Sizes, root: bytes
) -> Iterator[Stretch]:
    text = text.strip()
    step = max(sizes.query + 2 * sizes.continuation, len(text) // PER_DOCUMENT)
    for start in range(0, len(text), step):
        if start:
            space = _AFTER.search(text, start)
            if space is None:
                return
            start = space.end()
        parts = sizes.cut(text, start)
        if parts is None:
            continue
        key = xxhash.xxh3_64_intdigest(b"%s %s %d" % (root, about[0], start))
        query, continuation = (part.decode() for part in parts)
        yield Stretch(key, *about, start / len(text), query, continuation)
