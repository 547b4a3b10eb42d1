"""The content shards of a corpus, in which the images of its documents lie."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dataflow.lists import flat_list
from trainer.data.corpus import Corpus
from trainer.data.hashing import Closed, hash_of

KEPT_IMAGES = 8 << 20
"""Images whose places are kept in memory, of shards that were asked for last: about 200 MB."""
_FIELDS = ("width", "height", "bytes", "offset")


class DamagedImage(Exception):
    """An image of a document is not what the run stored; says which, and what is wrong."""


class Placed(NamedTuple):
    """Where an image lies in its shard: ``bytes`` from ``offset`` on; and its size as shown."""

    width: int
    height: int
    bytes: int
    offset: int


class _ShardImages:
    """The images of a shard's documents: 24 bytes each, and 8 a document."""

    def __init__(self, column: Any) -> None:
        found, self._offsets = flat_list(column)
        # Copies: what Arrow read has columns that nobody asks for.
        self._fields = [np.array(found.field(name)) for name in _FIELDS]
        self.count = len(found)

    def of(self, row: int) -> list[Placed]:
        first, end = self._offsets[row : row + 2]
        parts = [field[first:end].tolist() for field in self._fields]
        return [Placed(*one) for one in zip(*parts, strict=True)]


class Content:
    """Where the images of a corpus lie, and their bytes. Threads may share it.

    Parameters
    ----------
    corpus : with an index that knows of images; its ``verify`` holds for content shards too, which
        are hashed whole once in each process, ahead of the first read
    opens : whether images are to be read: without, no content shard is opened or checked
    """

    def __init__(self, corpus: Corpus, *, opens: bool = True) -> None:
        self.corpus = corpus
        self.opens = opens
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, _ShardImages] = OrderedDict()
        self._damage: dict[int, str] = {}

    def check_soon(self, shards: Iterable[int]) -> bool:
        """Have shards looked at before anybody reads them (`Checks.soon`)."""
        return self.corpus.checks.soon(
            ((self, shard), partial(self._look, shard)) for shard in shards
        )

    def images(self, shard: int, row: int) -> list[Placed]:
        """The images of the document in a row of a shard's index, in its order.

        Raises
        ------
        DamagedImage
            If the shard is not what the run wrote.
        """
        self.corpus.checks.begin((self, shard), partial(self._look, shard)).result()
        if shard in self._damage:
            raise DamagedImage(self._damage[shard])
        return self._images(shard).of(row)

    def read(self, shard: int, size: int, offset: int) -> bytes:
        """The bytes of an image, as they were before the run.

        Raises
        ------
        DamagedImage
            If they cannot be read; its text is to follow the image's name.
        """
        try:
            data = self.corpus.read_at(self.path(shard), size, offset)
        except (OSError, pa.ArrowException) as error:
            raise DamagedImage(f" cannot be read ({error})") from error
        if len(data) != size:
            raise DamagedImage(f": found {len(data)} bytes at {offset}, expected {size}")
        return data

    def path(self, shard: int) -> str:
        """The path of a content shard in the run."""
        return self.corpus.run.shards[shard].pack.outputs["shard"].path

    def _uri(self, path: str) -> str:
        return f"{self.corpus.run.store.uri}/{path}"

    def _images(self, shard: int) -> _ShardImages:
        with self._lock:
            found = self._kept.pop(shard, None)
        if found is None:
            run = self.corpus.run
            index = run.table(run.shards[shard].tokenize, "index", ["images"])
            found = _ShardImages(index["images"])
        with self._lock:
            self._kept[shard] = found
            while len(self._kept) > 1 and sum(k.count for k in self._kept.values()) > KEPT_IMAGES:
                self._kept.popitem(last=False)
        return found

    def _look(self, shard: int) -> None:
        """Read a shard's index, and look whether the shard is what the run wrote."""
        try:
            self._images(shard)
            damage = self._damage_of(shard) if self.opens else ""
        except Closed:
            return  # nobody waits for it
        except (OSError, pa.ArrowException) as error:
            damage = f"{self._uri(self.path(shard))}, or its index, cannot be read ({error})"
        if damage:
            self._damage[shard] = damage

    def _damage_of(self, shard: int) -> str:
        corpus = self.corpus
        output, store = corpus.run.shards[shard].pack.outputs["shard"], corpus.run.store
        where, size = self._uri(output.path), store.size(output.path)
        if size is None:
            return f"{where} is not there"
        if size != output.bytes:
            return f"{where}: found {size:,} bytes, expected {output.bytes:,}"
        if corpus.verifies_hashes:
            found = hash_of(store, output.path, corpus.closed)
            if found != output.blake3:
                return f"{where}: found BLAKE3 {found[:16]}…, expected {output.blake3[:16]}…"
        return ""
