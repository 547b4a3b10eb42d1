"""A run's token shards, opened for range reads: on a local disk or an object store."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataflow.run import Run
from dataflow.shards import ShardError, read_token_shard
from dataflow.store import Store
from mixtures.plan import Plan
from trainer.closing import Closing
from trainer.data.checks import Checks
from trainer.data.errors import BadShard, DataError
from trainer.data.hashing import HASH_BYTES, Closed, Hashing
from trainer.data.loss_spans import LossSpans, has_spans

Verify = Literal["hash", "size"]

GAP_BYTES = 64 << 10
"""Two stretches no farther apart are one read: as long as a read costs, this much is read."""
READ_BYTES = 32 << 20
"""No read is longer, unless one stretch is."""
READERS = 8
"""Reads under way at once from an object store."""
CHECKERS = 2
"""Shards whose hash is computed at once, of those on an object store; of local ones, one."""
OPEN_FILES = 128
ATTEMPTS = 2
"""A read that failed is tried again on a fresh handle: connections end."""


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


class Corpus(Closing):
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
    checks : Checks
        The looks at shards, which `close` ends.
    closed : Event
        Set by `close`.
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
        self._files: dict[str, pa.NativeFile] = {}
        self._spans: dict[int, LossSpans] = {}
        self._bad: dict[int, BadShard] = {}
        self.closed = threading.Event()
        readers, checkers = (1, 1) if run.store.local is not None else (READERS, CHECKERS)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="corpus-read")
        self.checks = Checks(checkers)

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

    @property
    def verifies_hashes(self) -> bool:
        """Whether a shard is read once for its hash."""
        return self._verify == "hash"

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
        self.closed.set()
        self.checks.close()
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
        for check in [self.checks.begin(shard, partial(self._check, shard)) for shard in shards]:
            check.result()
        reads = [
            read for read in coalesce(stretches, self.dtype.itemsize) if read.shard not in self._bad
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

    def check_soon(self, shards: Iterable[int]) -> bool:
        """Begin to look whether shards are what the run wrote: a whole one takes a while to hash.

        Returns
        -------
        False where enough shards wait already; then ask again later.
        """
        return self.checks.soon((shard, partial(self._check, shard)) for shard in shards)

    def condemn(self, shard: int, what: str) -> BadShard:
        """Take a shard for bad from now on, in this process: it may come back whole in another."""
        uri = self.run.store.uri
        error = BadShard(
            f"{uri}/{self.path(shard)}: {what}; copy the file again, or build the run again (it "
            "makes what is missing), or go on without its sequences by --on-bad-shard skip",
            shard,
        )
        with self._lock:
            self._files.pop(self.path(shard), None)
            return self._bad.setdefault(shard, error)

    def _fetch(self, read: _Read) -> bytes | None:
        """The bytes of one read; None when that condemned the shard."""
        size = read.stop - read.start
        try:
            data = self.read_at(self.path(read.shard), size, read.start)
        except (OSError, pa.ArrowException) as error:
            self.condemn(read.shard, f"cannot be read ({error})")
            return None
        if len(data) != size:
            self.condemn(read.shard, f"found {len(data)} bytes at {read.start}, expected {size}")
            return None
        return data

    def read_at(self, path: str, size: int, start: int) -> bytes:
        """One range read of a file of the run, or two where the first fails: ``size`` bytes from
        ``start``, fewer where it ends. Threads may share it.

        Raises
        ------
        OSError, ArrowException
            As the second try did.
        """
        for attempt in range(ATTEMPTS):
            try:
                data: bytes = self._file(path).read_at(size, start)
                break
            except (OSError, pa.ArrowException):
                with self._lock:
                    self._files.pop(path, None)
                if attempt == ATTEMPTS - 1:
                    raise
        with self._lock:
            self.range_reads += 1
            self.bytes_read += len(data)
        return data

    def _file(self, path: str) -> pa.NativeFile:
        """A file of the run, open. Those that were not read for long are closed."""
        with self._lock:
            file = self._files.pop(path, None)
        if file is None:
            file = self.run.store.open(path)
        with self._lock:
            self._files[path] = file
            if len(self._files) > OPEN_FILES:
                # Another thread may be reading it: it is closed when the last one lets go.
                del self._files[next(iter(self._files))]
        return file

    def carries_loss(
        self, shard: int, document: int, first: int, count: int
    ) -> npt.NDArray[np.bool_] | None:
        """Which of ``count`` tokens of a document from its ``first`` carry loss; None: all do.

        Parameters
        ----------
        shard : one that `read` has read, and that is not bad
        document : the byte of the shard's tar that its ids begin at
        """
        return self._spans[shard].carries(document, first, count)

    def _check(self, shard: int) -> None:
        """Look whether a shard is what the run wrote, and which of its tokens carry loss."""
        output = self.run.shards[shard].tokenize.outputs["shard"]
        for attempt in range(ATTEMPTS):
            try:
                size = self.run.store.size(output.path)
                if size is None:
                    self.condemn(shard, "is not there")
                elif size != output.bytes:
                    self.condemn(shard, f"found {size:,} bytes, expected {output.bytes:,}")
                elif self._verify == "hash":
                    self._check_hash(shard, output.path, output.blake3)
                else:
                    self._spans[shard] = self._find_spans(output.path)
                return
            except Closed:
                return  # nobody waits for it
            except (OSError, pa.ArrowException, ShardError) as error:
                if attempt == ATTEMPTS - 1:
                    self.condemn(shard, f"cannot be read ({error})")

    def _check_hash(self, shard: int, path: str, expected: str) -> None:
        """Read a shard once from end to end, for its hash and its loss spans."""
        spans, damage = LossSpans({}), ""
        with self.run.store.open(path) as raw:
            hashing = Hashing(raw, self.closed)
            source = io.BufferedReader(hashing, HASH_BYTES)
            try:
                spans = LossSpans.of_samples(read_token_shard(source, path))
            except ShardError as error:
                damage = str(error)
            while source.read(HASH_BYTES):
                pass
        if hashing.digest != expected:
            self.condemn(shard, f"found BLAKE3 {hashing.digest[:16]}…, expected {expected[:16]}…")
        elif damage:
            self.condemn(shard, damage)
        else:
            self._spans[shard] = spans

    def _find_spans(self, path: str) -> LossSpans:
        """The loss spans of a shard whose hash is not asked for: mostly its headers alone."""
        with self.run.store.stream(path) as headers:
            if not has_spans(headers, path):
                return LossSpans({})
        with self.run.store.stream(path) as source:
            return LossSpans.of_samples(read_token_shard(source, path))


def coalesce(stretches: Sequence[Stretch], itemsize: int) -> Iterator[_Read]:
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
