"""Writes plans that pack documents whole: orders, packs, schedules, and keeps what is drawn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflow.run import Run
from mixtures.arrays import ArrayWriter, create_array, map_array
from mixtures.inventory import Inventory, account
from mixtures.members import Members
from mixtures.order import Ordered, epoch_order
from mixtures.packer import WINDOW, Packed, Packer
from mixtures.quotas import Quotas
from mixtures.reach import EVERYTHING, ReachTooShort, last_reaches
from mixtures.refusal import check_supply
from mixtures.sharing import Shares, draw
from mixtures.spec import PlanSpec

WHOLE_ARRAYS = {
    "sequence_component": "u2",
    "sequence_ordinal": "i8",
    "component_sequence": "i8",
    "packed_first": "i8",
    "piece_document": "i8",
    "piece_start": "i8",
    "document_offset": "i8",
    "document_tokens": "i8",
    "shard_start": "i8",
}
EXPANDED_ARRAYS = {"document_length": "i8"}
"""Also there with a tiling."""

_SPARE = 8
"""Sequences of a component that are packed beyond its quota: it may be drawn one more than that,
and phases begin and end within sequences."""
_COPIED = 1 << 20

I64 = npt.NDArray[np.int64]


@dataclass
class _Component:
    """What was packed of a component: tokens and pieces of its sequences; its first piece."""

    packer: Packer
    first: int = 0
    fills: list[I64] = field(default_factory=list)
    counts: list[I64] = field(default_factory=list)
    tokens: int = 0


def write_whole(
    run: Run,
    members: Members,
    inventory: Inventory,
    sort_bytes: int,
    *,
    folder: Path,
    all_: bool = False,
) -> dict[str, Any]:
    """Write the arrays; return the head's account of them.

    Memory: ``sort_bytes``, the index of one shard, and 110 bytes a sequence.

    Raises
    ------
    PlanRefused
        If the corpus cannot give what the specification asks for.
    ReachTooShort
        If documents that were not ordered are needed; with ``all_`` all are.
    """
    where, spec = run.store.uri, members.spec
    check_supply(where, spec, [0] * len(spec.components), inventory)  # the sources' names
    wanted = _wanted(spec)
    supply = [inventory.epoch_of(component, spec.l1) for component in spec.components]
    epochs = _epochs(spec, supply, wanted)
    # A window takes documents ahead, and what it has no room for waits.
    ahead = [tokens + 2 * WINDOW * spec.length if tokens else 0 for tokens in wanted]
    largest = max(inventory.longest, 2 * spec.together)
    reaches = last_reaches(ahead, supply, epochs, largest, all_=all_)
    names = {**WHOLE_ARRAYS, **(EXPANDED_ARRAYS if spec.tiling is not None else {})}
    scratch = folder / "scratch"
    scratch.mkdir()
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(create_array(folder, name, dtype))
            for name, dtype in names.items()
        }
        pieces = {
            name: stack.enter_context(create_array(scratch, name, "i8"))
            for name in ("piece_document", "piece_start")
        }
        ordered = epoch_order(run, members, epochs, reaches, writers, scratch, sort_bytes)
        packed = _pack(spec, epochs, reaches, wanted, ordered, pieces)
        fills = [_joined(component.fills) for component in packed]
        drawn = draw(Shares.of(spec), fills, spec.sequences, spec.length)
        if len(drawn) < spec.sequences:
            check_supply(where, spec, _asked(spec, drawn, fills, wanted), inventory)
            raise AssertionError("a component is used up though its epochs are not")
        counts = np.bincount(drawn, minlength=len(packed)).tolist()
        starts = _keep(packed, counts, pieces, scratch, writers)
        _write_sequences(drawn, len(packed), writers)
        arrays = {name: writer.describe() for name, writer in writers.items()}
    shutil.rmtree(scratch)
    components = []
    for number, component in enumerate(spec.components):
        left_out, left_out_tokens = inventory.left_out_of(component, spec.l1)
        used = int(fills[number][: counts[number]].sum())
        components.append(
            {
                **account(component, spec.l1, inventory),
                "left_out_documents": left_out,
                "left_out_tokens": left_out_tokens,
                "sequences": counts[number],
                "drawn": used,
                "fill": used / (counts[number] * spec.length) if counts[number] else 1.0,
                "packed_fill": _fill(fills[number], spec.length),
                "best_fill": packed[number].packer.histogram.best_fill(),
                "start": starts[number],
                "stop": starts[number + 1],
            }
        )
    total = sum(component["drawn"] for component in components)
    return {
        "components": components,
        "fill": total / (spec.sequences * spec.length),
        "arrays": arrays,
    }


def _wanted(spec: PlanSpec) -> list[int]:
    """Tokens of each component that its sequences need not be packed beyond."""
    quotas = Quotas(spec)
    whole = [-(-quotas.at(c, quotas.end) // quotas.unit) for c in range(len(spec.components))]
    return [tokens + _SPARE * spec.length if tokens else 0 for tokens in whole]


def _epochs(spec: PlanSpec, supply: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """How many epochs of each component are ordered."""
    return [
        min(component.passes, -(-tokens // epoch)) if epoch else 0
        for component, epoch, tokens in zip(spec.components, supply, wanted, strict=True)
    ]


def _pack(
    spec: PlanSpec,
    epochs: Sequence[int],
    reaches: Sequence[int],
    wanted: Sequence[int],
    ordered: Iterator[Ordered],
    pieces: dict[str, ArrayWriter],
) -> list[_Component]:
    """Pack each component until it has what is wanted, or has nothing left."""
    packed = [_Component(Packer(spec.length)) for _ in spec.components]
    written, before = 0, None

    def keep(component: int, sequences: Iterator[Packed]) -> None:
        nonlocal written
        mine = packed[component]
        while mine.tokens < wanted[component]:
            found = next(sequences, None)
            if found is None:
                return
            if not mine.fills:
                mine.first = written
            pieces["piece_document"].add(found.documents)
            pieces["piece_start"].add(found.starts)
            written += len(found.documents)
            mine.fills.append(found.fills)
            mine.counts.append(found.counts)
            mine.tokens += int(found.fills.sum())

    def check_reach(component: int) -> None:
        if reaches[component] < EVERYTHING and packed[component].tokens < wanted[component]:
            raise ReachTooShort

    def end(component: int, epoch: int) -> None:
        if epoch + 1 == epochs[component]:
            check_reach(component)  # this is not yet the end of the epoch
        keep(component, packed[component].packer.end_epoch(last=epoch + 1 == epochs[component]))

    for part in ordered:
        here = (part.component, part.epoch)
        if before is not None and here != before:
            end(*before)
        before = here
        if packed[part.component].tokens < wanted[part.component]:
            keep(part.component, packed[part.component].packer.add(part.documents, part.tokens))
    if before is not None:
        end(*before)
    for component in range(len(packed)):
        check_reach(component)  # nothing of its last epoch may have been ordered at all
    return packed


def _asked(
    spec: PlanSpec,
    drawn: npt.NDArray[np.uint16],
    fills: Sequence[I64],
    wanted: Sequence[int],
) -> list[int]:
    """Tokens that each component would have to give, as far as sequences went before one was used
    up: the rest of the plan is taken to be filled as they are."""
    quotas, done = Quotas(spec), len(drawn)
    used = [
        int(found[:count].sum())
        for found, count in zip(fills, np.bincount(drawn, minlength=len(fills)), strict=True)
    ]
    tokens, places = (sum(used), done * spec.length) if done else (1, 1)
    rest = [
        (quotas.at(c, quotas.end) - quotas.at(c, done * spec.length)) * tokens
        for c in range(len(fills))
    ]
    asked = []
    for c, found in enumerate(fills):
        asked.append(used[c] - (-rest[c] // (quotas.unit * places)))
        if wanted[c] and used[c] == int(found.sum()):
            # The one that is used up lacks a token at least.
            asked[c] = max(asked[c], used[c] + 1)
    return asked


def _keep(
    packed: Sequence[_Component],
    counts: Sequence[int],
    pieces: dict[str, ArrayWriter],
    scratch: Path,
    writers: dict[str, ArrayWriter],
) -> list[int]:
    """Copy the pieces of the sequences that are drawn; return where each component's begin."""
    starts = [0]
    writers["packed_first"].add([0])
    for component, count in zip(packed, counts, strict=True):
        ends = np.cumsum(_joined(component.counts)[:count])
        writers["packed_first"].add(starts[-1] + ends)
        starts.append(starts[-1] + (int(ends[-1]) if count else 0))
    for name, writer in pieces.items():
        writer.flush()
        found = map_array(scratch, name, writer.describe())
        for number, component in enumerate(packed):
            stop = component.first + starts[number + 1] - starts[number]
            for low in range(component.first, stop, _COPIED):
                writers[name].add(found[low : min(low + _COPIED, stop)])
    return starts


def _write_sequences(
    drawn: npt.NDArray[np.uint16], components: int, writers: dict[str, ArrayWriter]
) -> None:
    """The arrays that have an entry a sequence."""
    ordinal = np.zeros(len(drawn), np.int64)
    for component in range(components):
        mine = np.flatnonzero(drawn == component)
        ordinal[mine] = np.arange(len(mine))
        writers["component_sequence"].add(mine)
    writers["sequence_component"].add(drawn)
    writers["sequence_ordinal"].add(ordinal)


def _joined(parts: Sequence[I64]) -> I64:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _fill(fills: I64, length: int) -> float:
    return int(fills.sum()) / (len(fills) * length) if len(fills) else 1.0
