"""Items whose text is in the train documents of a corpus.

As GPT-3 looked for it (arXiv:2005.14165, appendix C): an item is contaminated if 13 words in a row
of its query and right answer are in a train document too. An item of 8 to 12 words is looked for as
a whole, and so is a query of so many; a shorter one is not looked for, because so few words in a
row say little, and is counted. Unlike there, n-grams that many documents have count too, and the
whole item is left out. Words are content words (`kernels.text.word_hashes`): letters' case and
punctuation do not matter. "Question:" and "Answer:" around a query are no text of it. N-grams are
compared by 64-bit hashes.

The corpus is read once, a few megabytes of text in memory; the items' n-grams are held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflow.run import Run, ShardRecords
from kernels.text import buffers_of, word_hashes
from mixtures.items.benchmarks import ANSWER, QUESTION
from mixtures.items.corpus_texts import samples, shards_of
from mixtures.items.grams import GramSet, grams
from mixtures.items.item import Item

LONGEST, SHORTEST = 13, 8

_TOGETHER = 8 << 20

U64 = npt.NDArray[np.uint64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Contaminated:
    """An item, the first train document that has words of it, how many of the item's n-grams are
    in any, of how many, and in how many documents."""

    item: int
    id: str
    document: str
    source: str
    shard: str
    found: int
    grams: int
    documents: int

    def as_json(self) -> dict[str, Any]:
        """The fields."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Checked:
    """What is contaminated, in the items' order; the numbers of items that are too short to look
    for; and what was read in how long."""

    items: int
    contaminated: tuple[Contaminated, ...]
    unchecked: tuple[int, ...]
    documents: int
    text_bytes: int
    seconds: float

    @property
    def megabytes_per_second(self) -> float:
        """Text that was read a second, in 10**6 bytes."""
        return self.text_bytes / 1e6 / max(self.seconds, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "items": self.items,
            "contaminated": [one.as_json() for one in self.contaminated],
            "unchecked": len(self.unchecked),
            "documents": self.documents,
            "text_bytes": self.text_bytes,
            "seconds": self.seconds,
            "megabytes_per_second": self.megabytes_per_second,
        }


def check(items: Sequence[Item], run: Run, progress: Progress | None = None) -> Checked:
    """Look for items in a run's train documents; ``progress`` is told of shards.

    Raises
    ------
    ShardError
        If a shard is damaged.
    """
    of_items = [_grams_of(item) for item in items]
    lengths = sorted({n for mine in of_items for n in mine})
    sets, owners = {}, {}
    for n in lengths:
        sizes = [len(mine.get(n, ())) for mine in of_items]
        hashes = np.concatenate([mine[n] for mine in of_items if n in mine])
        sets[n] = GramSet(hashes)
        which = np.searchsorted(sets[n].hashes, hashes)
        owners[n] = _Owners(which, np.repeat(np.arange(len(items)), sizes), len(sets[n].hashes))
    hits: list[_Hit | None] = [None] * len(items)
    documents = text_bytes = 0
    began = time.perf_counter()
    shards = shards_of(run, held_out=False)
    for number, shard in enumerate(shards):
        for texts, about in _batches(run, shard) if lengths else ():
            data, offsets = buffers_of(texts)
            words, places = word_hashes(data, offsets)
            documents += len(texts)
            text_bytes += int(offsets[-1] - offsets[0])
            for n, hashes in grams(words, lengths):
                at, which = sets[n].find(hashes)
                document = np.searchsorted(places, at, side="right") - 1
                inside = at + n <= places[document + 1]
                for d, g in zip(document[inside].tolist(), which[inside].tolist(), strict=True):
                    for item in owners[n].of(g):
                        document_id, source = about[d]
                        hit = hits[item] or _Hit(document_id, source, shard.name, set(), set())
                        hit.grams.add((n, g))
                        hit.documents.add(document_id)
                        hits[item] = hit
        if progress is not None:
            progress(number + 1, len(shards))
    contaminated = tuple(
        Contaminated(
            i, item.id, hit.document.hex(), hit.source, hit.shard, len(hit.grams),
            sum(len(np.unique(mine)) for mine in of_items[i].values()), len(hit.documents),
        )
        for i, (item, hit) in enumerate(zip(items, hits, strict=True))
        if hit is not None
    )  # fmt: skip
    unchecked = tuple(i for i, mine in enumerate(of_items) if not mine)
    seconds = time.perf_counter() - began
    return Checked(len(items), contaminated, unchecked, documents, text_bytes, seconds)


@dataclass
class _Hit:
    """The first document that has a part of an item, and what was found of it."""

    document: bytes
    source: str
    shard: str
    grams: set[tuple[int, int]]
    documents: set[bytes]


class _Owners:
    """The items of each n-gram of a set."""

    def __init__(
        self, which: npt.NDArray[np.int64], items: npt.NDArray[np.int64], count: int
    ) -> None:
        order = np.argsort(which, kind="stable")
        self._items = items[order]
        self._starts = np.searchsorted(which[order], np.arange(count + 1))

    def of(self, gram: int) -> list[int]:
        """Numbers of items."""
        found: list[int] = self._items[self._starts[gram] : self._starts[gram + 1]].tolist()
        return found


def _grams_of(item: Item) -> dict[int, U64]:
    """The n-grams of an item that are looked for, by n; none of a short one."""
    query = item.asked.strip().removeprefix(QUESTION).removesuffix(ANSWER).strip()
    data, offsets = buffers_of(pa.array([f"{query} {item.right}", query], pa.large_string()))
    words, places = word_hashes(data, offsets)
    found: dict[int, list[U64]] = {}
    for begin, end in ((places[0], places[1]), (places[1], places[2])):
        size = int(min(LONGEST, end - begin))
        if size >= SHORTEST:
            for n, hashes in grams(words[begin:end], [size]):
                found.setdefault(n, []).append(hashes)
    return {n: np.unique(np.concatenate(mine)) for n, mine in found.items()}


def _batches(run: Run, shard: ShardRecords) -> Iterator[tuple[pa.Array, list[tuple[bytes, str]]]]:
    """Texts of a shard, some megabytes at a time, and each document's id and source."""
    texts: list[bytes] = []
    about: list[tuple[bytes, str]] = []
    size = 0
    for sample in samples(run, shard):
        for i in range(len(sample)):
            text = sample.text(i)
            texts.append(text)
            about.append((sample.doc_id(i), sample.documents["source"][i]))
            size += len(text)
        if size >= _TOGETHER:
            yield _strings(texts), about
            texts, about, size = [], [], 0
    if texts:
        yield _strings(texts), about


def _strings(texts: Sequence[bytes]) -> pa.Array:
    return pa.array(texts, pa.large_binary()).cast(pa.large_string())
