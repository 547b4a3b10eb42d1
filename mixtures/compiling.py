"""Compiles a plan: counts, checks, schedules, orders, and writes arrays and head."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import numpy.typing as npt
import orjson

from dataflow.run import Run
from mixtures.arrays import ArrayWriter, create_array, map_array
from mixtures.interleave import interleave
from mixtures.inventory import Inventory, account, take_inventory
from mixtures.members import SORT_BYTES, Members, open_members
from mixtures.order import Stream, write_streams
from mixtures.quotas import Quotas
from mixtures.reach import ReachTooShort, last_reaches
from mixtures.refusal import check_supply
from mixtures.spec import Packing, PlanSpec
from mixtures.whole import write_whole

FORMAT = "leyden.plan"
VERSIONS: dict[Packing, int] = {"stream": 1, "whole": 2}
"""The format of each packing's plans."""
POLICIES: dict[Packing, str] = {"stream": "components/1", "whole": "whole/1"}
"""``components/1``: documents of a component end to end, cut at sequence ends; whole sequences are
interleaved. ``whole/1``: documents of a component packed by best fit, window after window; their
sequences are interleaved by the tokens in them."""

HEAD = "plan.json"
_WINDOW = 1 << 20

STREAM_ARRAYS = {
    "sequence_component": "u2",
    "sequence_ordinal": "i8",
    "sequence_first": "i8",
    "component_sequence": "i8",
    "stream_document": "i8",
    "stream_start": "i8",
    "document_offset": "i8",
    "document_tokens": "i8",
    "shard_start": "i8",
}


def canonical(value: Any) -> bytes:
    """JSON with sorted keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def plan_key(run: Run, spec: PlanSpec) -> str:
    """The hash of all that a plan is made of: it names the folder."""
    made_of = {**_inputs(run, spec), "spec": spec.model_dump(mode="json")}
    if any(component.by_signals for component in spec.components):
        # The corpus's root is that of what was kept: it does not name what signals were measured.
        made_of["signals"] = [
            record.outputs[role].blake3
            for partition in run.partitions
            for record, role in run.signals(partition)
        ]
    if run.grade is not None and any(component.tiers for component in spec.components):
        # Nor what is of which tier.
        made_of["tiers"] = run.header["tiers_root"]
    return str(blake3.blake3(canonical(made_of)).hexdigest())


def _inputs(run: Run, spec: PlanSpec) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSIONS[spec.packing],
        "policy": POLICIES[spec.packing],
        "corpus": run.header["logical_root"],
        "tokenizer": run.tokenizer.stats["hash"],
    }


def head_hash(head: dict[str, Any]) -> str:
    """The plan's hash: of the head, which has the hashes of all arrays."""
    body = {key: value for key, value in head.items() if key != "hash"}
    return str(blake3.blake3(canonical(body)).hexdigest())


def compile_plan(run: Run, spec: PlanSpec, out: Path, sort_bytes: int = SORT_BYTES) -> Path:
    """Write the plan of ``spec`` over ``run`` under ``out`` unless it is there; return its folder.

    Raises
    ------
    PlanRefused
        If the corpus cannot give what the specification asks for.
    """
    folder = out / f"plan-{plan_key(run, spec)[:16]}"
    if (folder / HEAD).exists():
        return folder
    out.mkdir(parents=True, exist_ok=True)
    with open_members(run, spec, sort_bytes, out) as members:
        inventory = take_inventory(run, spec.l1, spec, members)
        if spec.packing == "stream":
            drawn, asked = _interleaved(run, spec, inventory)
            write = partial(_write, run, members, inventory, drawn, asked)
        else:
            write = partial(write_whole, run, members, inventory)
        try:
            return _write_folder(run, spec, folder, partial(write, sort_bytes))
        except ReachTooShort:
            return _write_folder(run, spec, folder, partial(write, sort_bytes, all_=True))


def _write_folder(
    run: Run, spec: PlanSpec, folder: Path, write: Callable[..., dict[str, Any]]
) -> Path:
    """Write arrays with ``write``, and the head."""
    # The folder appears whole or not at all: several ranks may compile the same plan at once.
    temporary = Path(tempfile.mkdtemp(prefix=".plan-", dir=folder.parent))
    try:
        head = {
            **_inputs(run, spec),
            "spec": spec.model_dump(mode="json"),
            **write(folder=temporary),
        }
        head["hash"] = head_hash(head)
        (temporary / HEAD).write_bytes(orjson.dumps(head, option=orjson.OPT_INDENT_2) + b"\n")
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / HEAD).exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _interleaved(
    run: Run, spec: PlanSpec, inventory: Inventory
) -> tuple[npt.NDArray[np.uint16], list[int]]:
    """The component of each sequence, and the tokens asked of each component: there are as many."""
    drawn = interleave(Quotas(spec), len(spec.components), spec.sequences, spec.length)
    counts = np.bincount(drawn, minlength=len(spec.components))
    asked = [int(count) * spec.length for count in counts]
    check_supply(run.store.uri, spec, asked, inventory)
    return drawn, asked


def _write(
    run: Run,
    members: Members,
    inventory: Inventory,
    drawn: npt.NDArray[np.uint16],
    asked: Sequence[int],
    sort_bytes: int,
    *,
    folder: Path,
    all_: bool = False,
) -> dict[str, Any]:
    """Write the arrays; return the head's account of them."""
    spec = members.spec
    supply = [inventory.epoch_of(component, spec.l1) for component in spec.components]
    epochs = [
        -(-wanted // tokens) if wanted else 0 for wanted, tokens in zip(asked, supply, strict=True)
    ]
    largest = max(inventory.longest, 2 * spec.together)
    reaches = last_reaches(asked, supply, epochs, largest, all_=all_)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(create_array(folder, name, dtype))
            for name, dtype in STREAM_ARRAYS.items()
        }
        streams = write_streams(run, members, asked, epochs, reaches, writers, folder, sort_bytes)
        writers["stream_start"].flush()
        laid = map_array(folder, "stream_start", writers["stream_start"].describe())
        _write_sequences(drawn, spec.length, streams, laid, writers)
        arrays = {name: writer.describe() for name, writer in writers.items()}
    return {
        "components": [
            {
                **account(component, spec.l1, inventory),
                "drawn": wanted,
                "start": stream.start,
                "stop": stream.stop,
            }
            for component, wanted, stream in zip(spec.components, asked, streams, strict=True)
        ],
        "arrays": arrays,
    }


def _write_sequences(
    drawn: npt.NDArray[np.uint16],
    length: int,
    streams: Sequence[Stream],
    stream_start: npt.NDArray[np.int64],
    writers: dict[str, ArrayWriter],
) -> None:
    """The arrays that have an entry a sequence."""
    ordinal = np.zeros(len(drawn), np.int64)
    first = np.zeros(len(drawn), np.int64)
    for component, stream in enumerate(streams):
        mine = np.flatnonzero(drawn == component)
        ordinal[mine] = np.arange(len(mine))
        laid = stream_start[stream.start : stream.stop]
        for low in range(0, len(mine), _WINDOW):
            part = mine[low : low + _WINDOW]
            begins = ordinal[part] * length
            first[part] = stream.start + np.searchsorted(laid, begins, side="right") - 1
        writers["component_sequence"].add(mine)
    writers["sequence_component"].add(drawn)
    writers["sequence_ordinal"].add(ordinal)
    writers["sequence_first"].add(first)
