"""The order in which a component's documents are laid end to end, epoch after epoch.

In each epoch samples come in the order of a hash of (seed, epoch, content of the sample's first
document), and documents of a sample in the order of a hash of (seed, epoch, their content). There
is no state, and no document's key depends on where in the corpus or when it was read. Samples are
kept together because their tokens lie together: a sequence is then a few range reads. Larger
stretches of a shard may be asked to stay together instead, with their documents in their place.

Of a document that an epoch has t times, each copy follows the one before at a distance of half a
t-th of the epoch to one and a half, drawn by a hash of (seed, epoch, copy, sample): the copies of a
sample's documents stay together as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import blake3
import numpy as np
import numpy.typing as npt

from dataflow.external import Records, sorted_records
from dataflow.run import Run
from dataflow.shards import order_key
from dataflow.tilings import TILINGS
from mixtures.arrays import ArrayWriter
from mixtures.documents import NO_COMPONENT, ShardDocuments, walk
from mixtures.errors import PlanRefused
from mixtures.members import Members
from mixtures.reach import EVERYTHING, ReachTooShort
from mixtures.spec import PlanSpec

_ENTRY = np.dtype(
    [("group", "u8"), ("block", "u8"), ("key", "u8"), ("document", "i8"), ("tokens", "i8")]
)
_EPOCHS = 1 << 15
"""More than any cap: a group is a component's number times this, and an epoch."""


@dataclass(frozen=True)
class Stream:
    """Where a component's documents lie in the stream arrays: entries ``start`` to ``stop``."""

    start: int
    stop: int


def write_streams(
    run: Run,
    members: Members,
    asked: Sequence[int],
    epochs: Sequence[int],
    reaches: Sequence[int],
    writers: dict[str, ArrayWriter],
    scratch: Path,
    memory_bytes: int,
) -> list[Stream]:
    """Lay each component's documents end to end until ``asked`` tokens are reached.

    Memory: ``memory_bytes`` for the sort, and the index of one shard.

    Parameters
    ----------
    asked, epochs, reaches : of each component: tokens, and as `epoch_order` has them
    writers : ``stream_document`` and ``stream_start``, one entry a document laid: its number, and
        the token of the component's stream that it begins at; ``document_offset`` and
        ``document_tokens``, one entry a document of the index; ``shard_start``, one a shard.

    Returns
    -------
    The stretch of the stream arrays of each component.

    Raises
    ------
    ReachTooShort
        If the documents within ``reaches`` have fewer tokens than are asked.
    """
    streams: list[Stream] = []
    reached = [0] * len(asked)
    component, laid, entries = 0, 0, 0
    begins = 0
    for part in epoch_order(run, members, epochs, reaches, writers, scratch, memory_bytes):
        owner = part.component
        while component < owner:
            streams.append(Stream(begins, entries))
            component, laid, begins = component + 1, 0, entries
        ends = laid + np.cumsum(part.tokens)
        starts = ends - part.tokens
        wanted = int(np.searchsorted(starts, asked[owner]))
        writers["stream_document"].add(part.documents[:wanted])
        writers["stream_start"].add(starts[:wanted])
        entries += wanted
        laid = reached[owner] = int(ends[-1])
    while component < len(members.spec.components):
        streams.append(Stream(begins, entries))
        component, begins = component + 1, entries
    if any(found < wanted for found, wanted in zip(reached, asked, strict=True)):
        raise ReachTooShort
    return streams


@dataclass(frozen=True)
class Ordered:
    """Documents of one component and epoch that follow each other, at least one, and their tokens
    as the plan counts them."""

    component: int
    epoch: int
    documents: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]


def epoch_order(
    run: Run,
    members: Members,
    epochs: Sequence[int],
    reaches: Sequence[int],
    writers: dict[str, ArrayWriter],
    scratch: Path,
    memory_bytes: int,
) -> Iterator[Ordered]:
    """All documents in order: component after component, epoch after epoch.

    Memory: ``memory_bytes`` for the sort, and the index of one shard.

    Parameters
    ----------
    epochs : of each component
    reaches : of each component: the greatest hash of samples that its last epoch goes to
    writers : ``document_offset`` and ``document_tokens``, one entry a document of the index;
        ``shard_start``, one a shard; with a tiling ``document_length``, one a document

    Raises
    ------
    PlanRefused
        If documents are to be packed whole that have images, and no tiling counts these.
    """
    batches = _entries(run, members, epochs, reaches, writers)
    for part in sorted_records(
        batches, ("group", "block", "key", "document"), scratch, "order", memory_bytes
    ):
        cuts = np.flatnonzero(np.diff(part["group"])) + 1
        for mine in np.split(part, cuts):
            component, epoch = divmod(int(mine["group"][0]), _EPOCHS)
            yield Ordered(component, epoch, mine["document"], mine["tokens"])


def _entries(
    run: Run,
    members: Members,
    epochs: Sequence[int],
    reaches: Sequence[int],
    writers: dict[str, ArrayWriter],
) -> Iterator[Records]:
    """A record for every document, epoch and copy, shard by shard; writes the documents' places."""
    spec = members.spec
    columns = list(dict.fromkeys(["content_id", "member", "token_offset", *members.columns]))
    if spec.packing == "whole":
        columns.append("images")
    wanted = np.array(epochs, np.int64)
    greatest = np.array(reaches, np.uint64)
    writers["shard_start"].add([0])
    # An empty batch first: without any the sort would not know the records' type.
    yield np.zeros(0, _ENTRY)
    for shard in walk(run, columns):
        writers["shard_start"].add([shard.first + len(shard)])
        writers["document_offset"].add(shard.column("token_offset"))
        writers["document_tokens"].add(shard.tokens)
        lengths = shard.expanded(spec.tiling)
        if spec.tiling is not None:
            writers["document_length"].add(lengths)
        component = members.components(shard)
        if spec.packing == "whole":
            _leave_out(shard, component, lengths, spec)
        times = members.times_drawn(shard, component)
        for epoch in range(int(wanted.max())):
            ends = np.where(wanted > epoch + 1, np.uint64(EVERYTHING), greatest)
            drawn = (component >= 0) & (wanted[component] > epoch)
            keys = order_key(shard.table["content_id"], _seed(b"document", spec.seed, epoch))
            for copy in range(int(times.max(initial=1))):
                rows = np.flatnonzero(drawn & (times > copy))
                blocks = _blocks(shard, spec, times, epoch, copy)[rows]
                within = blocks <= ends[component[rows]]
                rows, blocks = rows[within], blocks[within]
                found = np.empty(len(rows), _ENTRY)
                found["group"] = component[rows].astype(np.int64) * _EPOCHS + epoch
                found["block"] = blocks
                found["key"] = 0 if spec.together else keys[rows]
                found["document"] = shard.first + rows
                found["tokens"] = lengths[rows]
                yield found


def _leave_out(
    shard: ShardDocuments,
    component: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.int64],
    spec: PlanSpec,
) -> None:
    """Take documents out that would have to be cut and are not to be: an image never is."""
    pictured = (shard.images > 0) & (component != NO_COMPONENT)
    if spec.tiling is None and pictured.any():
        named = spec.components[int(component[pictured][0])].name
        raise PlanRefused(
            f"shard {shard.shard} of the index: component {named!r} has documents with images and "
            "the plan has no tiling to count their features by; give one of "
            f"{', '.join(TILINGS)}"
        )
    kept_whole = pictured | (spec.longer == "leave_out")
    component[kept_whole & (lengths > spec.length)] = NO_COMPONENT


def _blocks(
    shard: ShardDocuments, spec: PlanSpec, times: npt.NDArray[np.int64], epoch: int, copy: int
) -> npt.NDArray[np.uint64]:
    """Where a copy of each document lies in an epoch that has it ``times`` times.

    The first lies at the hash of its sample; a later one as many ``times``-th parts of the epoch
    behind it, give or take a quarter of one. Places go round.
    """
    first = shard.blocks(_seed(b"sample", spec.seed, epoch), spec.together)
    if not copy:
        return first
    count = times.astype(np.uint64)
    part = np.uint64(EVERYTHING) // count
    # Below half a part.
    away = (
        shard.blocks(_seed(b"copy %d" % copy, spec.seed, epoch), spec.together)
        // np.uint64(2)
        // count
    )
    found: npt.NDArray[np.uint64] = first + np.uint64(copy) * part - part // np.uint64(4) + away
    return found


def _seed(domain: bytes, seed: int, epoch: int) -> int:
    """A seed of its own for every use and epoch."""
    payload = b"leyden.plan.1\0%s\0%d\0%d" % (domain, seed, epoch)
    return int.from_bytes(blake3.blake3(payload).digest(length=8), "little")
