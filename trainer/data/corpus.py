"""A run's token shards, opened for range reads: on a local disk or an object store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import blake3
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflow.run import Run
from dataflow.shards.tar import BLOCK, skim_members
from dataflow.store import Store
from mixtures.plan import Plan
from trainer.data.errors import BadShard, DataError

Verify = Literal["hash", "size"]

GAP_BYTES = 64 << 10
"""Two stretches no farther apart are one read: as long as a read costs, this much is read."""
READ_BYTES = 32 << 20
"""No read is longer, unless one stretch is."""
READERS = 8
"""Reads under way at once from an object store."""
OPEN_FILES = 128
ATTEMPTS = 2
"""A read that failed is tried again on a fresh handle: connections end."""
_HASH_BYTES = 4 << 20
_SPANLESS = 2 * BLOCK
"""Bytes of a ``spans.npy`` member without a row: a tar header, and an npy header, padded."""


@dataclass(frozen=True)
class Stretch:
    """``tokens`` ids that lie ``offset`` bytes into the tar of a shard."""

    shard: int
    offset: int
    tokens: int


@dataclass
class _Read:
    """One range read: bytes ``start`` to ``stop`` of a shard, and the stretches that lie in it."""

    shard: int
    start: int
    stop: int
    wanted: list[int]


class Corpus:
    """The token shards of a run.

    Attributes
    ----------
    run : Run
    root : str
        The run's logical root.
    tokenizer : str
        The tokenizer's hash.
    vocab_size, eod : int
    dtype : uint16 or uint32, of the ids in the shards
    range_reads, bytes_read : int
        How many reads there were so far, and how long they were in all.
    """

    def __init__(self, run: Run, *, verify: Verify = "hash") -> None:
        stats = run.tokenizer.stats
        self.run = run
        self.root: str = run.header["logical_root"]
        self.tokenizer: str = stats["hash"]
        self.vocab_size = int(stats["vocab_size"])
        self.eod = int(stats["specials"]["eod"])
        self.dtype = np.dtype("<u2" if self.vocab_size <= 1 << 16 else "<u4")
        self.range_reads = 0
        self.bytes_read = 0
        self._verify = verify
        self._lock = threading.Lock()
        self._files: dict[int, pa.NativeFile] = {}
        self._checked: set[int] = set()
        self._bad: dict[int, BadShard] = {}
        readers = 1 if run.store.local is not None else READERS
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="corpus-read")

    @classmethod
    def open(
        cls,
        where: str | Path | Store,
        *,
        tokenizer: str | None = None,
        verify: Verify = "hash",
    ) -> Corpus:
        """Open a finished run.

        Parameters
        ----------
        where : a run folder, its uri, or its store
        tokenizer : the hash that is expected, such as a checkpoint's, or None
        verify : what a shard must show when it is first read: ``hash`` its BLAKE3 in the run's
            records, for which all of it is read once in each process; ``size`` its length only.

        Raises
        ------
        RunError
            If it is no finished run of this format.
        DataError
            If its tokens are another tokenizer's.
        """
        store = where if isinstance(where, Store) else Store(str(where))
        corpus = cls(Run.load(store), verify=verify)
        if tokenizer is not None:
            corpus._require(tokenizer, "this run's model")
        return corpus

    def check(self, plan: Plan) -> None:
        """Check that a plan was compiled for this corpus.

        Raises
        ------
        DataError
            If it was for another tokenizer, or for other documents.
        """
        self._require(plan.tokenizer, f"the plan {plan.folder}")
        if plan.corpus != self.root:
            raise DataError(
                f"{self.run.store.uri}: found logical root {self.root[:16]}…, the plan "
                f"{plan.folder} is of {plan.corpus[:16]}…; compile the plan again for this corpus"
            )

    def _require(self, tokenizer: str, whose: str) -> None:
        if tokenizer != self.tokenizer:
            uri = self.run.store.uri
            raise DataError(
                f"{uri}: found tokens of tokenizer {self.tokenizer}, {whose} has tokenizer "
                f"{tokenizer}; run `python -m dataflow retokenize {uri} --tokenizer FOLDER` with "
                f"the folder of tokenizer {tokenizer}"
            )

    def path(self, shard: int) -> str:
        """The path of a shard's token tar in the run."""
        return self.run.shards[shard].tokenize.outputs["shard"].path

    def close(self) -> None:
        """Let go of files and threads."""
        self._readers.shutdown()
        self._files.clear()

    def read(
        self, stretches: Sequence[Stretch]
    ) -> tuple[list[npt.NDArray[Any] | None], dict[int, BadShard]]:
        """The ids of stretches, with few range reads: sorted by place, neighbours in one.

        Returns
        -------
        ids : one array a stretch, in their order; None where the shard is bad
        bad : what is wrong, by number of the shard
        """
        shards = sorted({stretch.shard for stretch in stretches})
        # First, so that no shard is checked by two readers at once.
        list(self._readers.map(self._check, shards))
        reads = [
            read
            for read in _coalesce(stretches, self.dtype.itemsize)
            if read.shard not in self._bad
        ]
        found: list[npt.NDArray[Any] | None] = [None] * len(stretches)
        for read, data in zip(reads, self._readers.map(self._fetch, reads), strict=True):
            if data is None:
                continue
            for i in read.wanted:
                start = stretches[i].offset - read.start
                found[i] = np.frombuffer(data, self.dtype, stretches[i].tokens, start)
        bad = {shard: self._bad[shard] for shard in shards if shard in self._bad}
        for i, stretch in enumerate(stretches):
            if stretch.shard in bad:
                found[i] = None
        return found, bad

    def condemn(self, shard: int, what: str) -> BadShard:
        """Take a shard for bad from now on, in this process: it may come back whole in another."""
        uri = self.run.store.uri
        error = BadShard(
            f"{uri}/{self.path(shard)}: {what}; copy the file again, or build the run again (it "
            "makes what is missing), or go on without its sequences with on_bad_shard: skip",
            shard,
        )
        with self._lock:
            self._files.pop(shard, None)
            return self._bad.setdefault(shard, error)

    def _fetch(self, read: _Read) -> bytes | None:
        """The bytes of one read; None when that condemned the shard."""
        size = read.stop - read.start
        for attempt in range(ATTEMPTS):
            try:
                data: bytes = self._file(read.shard).read_at(size, read.start)
                break
            except (OSError, pa.ArrowException) as error:
                with self._lock:
                    self._files.pop(read.shard, None)
                if attempt == ATTEMPTS - 1:
                    self.condemn(read.shard, f"cannot be read ({error})")
                    return None
        if len(data) != size:
            self.condemn(read.shard, f"found {len(data)} bytes at {read.start}, expected {size}")
            return None
        with self._lock:
            self.range_reads += 1
            self.bytes_read += size
        return data

    def _file(self, shard: int) -> pa.NativeFile:
        """A shard, open. Those that were not read for long are closed."""
        with self._lock:
            file = self._files.pop(shard, None)
        if file is None:
            file = self.run.store.open(self.path(shard))
        with self._lock:
            self._files[shard] = file
            if len(self._files) > OPEN_FILES:
                # Another thread may be reading it: it is closed when the last one lets go.
                del self._files[next(iter(self._files))]
        return file

    def _check(self, shard: int) -> None:
        """Look once whether a shard is what the run wrote."""
        if shard in self._checked or shard in self._bad:
            return
        output = self.run.shards[shard].tokenize.outputs["shard"]
        size = self.run.store.size(output.path)
        if size is None:
            self.condemn(shard, "is not there")
        elif size != output.bytes:
            self.condemn(shard, f"found {size:,} bytes, expected {output.bytes:,}")
        elif self._verify == "hash":
            self._check_hash(shard, output.path, output.blake3)
        self._checked.add(shard)

    def _check_hash(self, shard: int, path: str, expected: str) -> None:
        digest = blake3.blake3()
        try:
            with self.run.store.open(path) as stream:
                while data := stream.read(_HASH_BYTES):
                    digest.update(data)
        except (OSError, pa.ArrowException) as error:
            self.condemn(shard, f"cannot be read ({error})")
            return
        if digest.hexdigest() != expected:
            found = digest.hexdigest()
            self.condemn(shard, f"found BLAKE3 {found[:16]}…, expected {expected[:16]}…")
            return
        with self.run.store.stream(path) as headers:
            for name, _, length in skim_members(headers, path):
                if name.endswith(".spans.npy") and length > _SPANLESS:
                    raise DataError(
                        f"{path}: {name} has loss spans, expected none: this reader puts loss on "
                        "every token of a document"
                    )


def _coalesce(stretches: Sequence[Stretch], itemsize: int) -> Iterator[_Read]:
    """Few reads that hold all stretches, by place."""
    order = sorted(range(len(stretches)), key=lambda i: (stretches[i].shard, stretches[i].offset))
    read: _Read | None = None
    for i in order:
        stretch = stretches[i]
        stop = stretch.offset + stretch.tokens * itemsize
        if (
            read is not None
            and read.shard == stretch.shard
            and stretch.offset <= read.stop + GAP_BYTES
            and stop <= read.start + READ_BYTES
        ):
            read.stop = max(read.stop, stop)
            read.wanted.append(i)
            continue
        if read is not None:
            yield read
        read = _Read(stretch.shard, stretch.offset, stop, [i])
    if read is not None:
        yield read
