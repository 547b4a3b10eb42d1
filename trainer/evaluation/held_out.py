"""Which held-out documents of a corpus a model is judged by, and their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc
import torch

from mixtures.documents import HELD_OUT
from trainer.data.corpus import Corpus, Stretch
from trainer.evaluation.errors import EvaluationError

_COLUMNS = ["doc_id", "content_id", "source", "split", "tokens", "token_offset", "text_bytes"]
_READ_TOKENS = 1 << 22


@dataclass(frozen=True)
class HeldOut:
    """A held-out document.

    ``tokens`` of it in the corpus, the end of document counted; the first ``taken`` are read.
    """

    shard: int
    token_offset: int
    tokens: int
    text_bytes: int
    source: str
    taken: int


@dataclass(frozen=True)
class Choice:
    """The documents chosen, and what there was to choose from.

    ``available``: documents and tokens of each source that are held out.
    """

    documents: tuple[HeldOut, ...]
    available: dict[str, tuple[int, int]]


def choose(corpus: Corpus, *, tokens: int, longest: int) -> Choice:
    """Choose held-out documents by content: the same ones in every build that has them.

    Documents come in the order of their content ids, which are hashes of their texts, so a larger
    budget reads what a smaller one does and more. Sources have the shares that they have in what
    was held out.

    Parameters
    ----------
    corpus : Corpus
    tokens : int
        Read at most so many; the last document is cut there.
    longest : int
        Read at most so many of a document, from its first.

    Raises
    ------
    EvaluationError
        If no document of two tokens is held out, or the budgets are too small for one.
    """
    if tokens < 2 or longest < 2:
        raise EvaluationError(
            f"found a budget of {tokens} tokens and {longest} of a document, expected 2 or more: "
            "the first token of a document is never predicted"
        )
    keyed: list[tuple[bytes, bytes, HeldOut]] = []
    available: dict[str, tuple[int, int]] = {}
    run = corpus.run
    for number, shard in enumerate(run.shards):
        if not shard.name.startswith(f"{HELD_OUT}-"):
            continue  # shards are of one split: the index of what was trained on stays unread
        table = run.table(shard.tokenize, "index", _COLUMNS)
        for row in table.filter(pc.equal(table["split"], HELD_OUT)).to_pylist():
            source, count = row["source"], row["tokens"]
            documents, total = available.get(source, (0, 0))
            available[source] = documents + 1, total + count
            if count < 2:  # an empty document is an end of document alone
                continue
            document = HeldOut(
                number, row["token_offset"], count, row["text_bytes"], source,
                min(count, longest),
            )  # fmt: skip
            keyed.append((row["content_id"], row["doc_id"], document))
    if not keyed:
        raise EvaluationError(
            f"{run.store.uri}: found no held-out document, expected some; build the run "
            "again with a share to hold out"
        )
    keyed.sort(key=lambda each: each[:2])
    chosen = []
    left = tokens
    for _, _, document in keyed:
        if left < 2:
            break
        taken = min(document.taken, left)
        chosen.append(replace(document, taken=taken))
        left -= taken
    return Choice(tuple(chosen), available)


def read(
    corpus: Corpus, documents: Sequence[HeldOut]
) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
    """The ids of documents, int64 ``[taken]`` each, some at a time: their numbers and their ids.

    Raises
    ------
    BadShard
        If a shard is not what the run wrote.
    """
    start = 0
    while start < len(documents):
        stop, size = start, 0
        while stop < len(documents) and (stop == start or size < _READ_TOKENS):
            size += documents[stop].taken
            stop += 1
        mine = documents[start:stop]
        found, bad = corpus.read([Stretch(d.shard, d.token_offset, d.taken) for d in mine])
        for error in bad.values():
            raise error
        arrays = [ids for ids in found if ids is not None]
        yield (
            list(range(start, stop)),
            [torch.from_numpy(ids.astype(np.int64)) for ids in arrays],
        )
        start = stop
