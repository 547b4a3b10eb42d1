"""How far layouts of ranks are from one process: ``python -m tests.trainer.parity [--write]``.

One training step of two small models (float32, gloo) on each layout, on the same global batch: the
routing is compared first and must be equal, then the loss, every gradient as max|a-b| / max|b| of
its tensor, and the norm of all gradients. ``--write`` puts the table into ``docs/parity.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.trainer.models.small import VOCAB
from tests.trainer.models.step import Whole
from tests.trainer.models.test_model_parity import MODELS, PADDED, steps
from trainer.megatron.start import Layout

LAYOUTS = {
    "dp 2": (Layout(), 2),
    "tp 2": (Layout(tp=2), 2),
    "pp 2": (Layout(pp=2), 2),
    "ep 2": (Layout(ep=2), 2),
    "tp 2, ep 2": (Layout(tp=2, ep=2), 2),
    "tp 2, pp 2": (Layout(tp=2, pp=2), 4),
    "tp 2, dp 2": (Layout(tp=2), 4),
    "pp 2, dp 2": (Layout(pp=2), 4),
    "pp 2, ep 2": (Layout(pp=2, ep=2), 4),
    "ep 2, dp 4": (Layout(ep=2), 4),
    "tp 2, ep 2, dp 2": (Layout(tp=2, ep=2), 4),
}
"""By name: the layout, and how many processes. Sequence parallelism goes with tp."""
LOSS, GRADIENT = 1e-6, 1e-5
"""The most that losses and gradients may differ by."""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "parity.md"

HEAD = f"""# Parity of parallel layouts

Written by `python -m tests.trainer.parity --write`: one training step of a small model of four
layers (lightning and softmax, four experts) in float32 over gloo, on each layout and in one
process, on the same eight packed sequences. Routing must be equal slot for slot; then losses may
differ by {LOSS:g} of the loss, each gradient by {GRADIENT:g}, as max|a - b| / max|b| of its tensor.
`drops` has a capacity that drops a fifth of the slots and a strong auxiliary loss, `dropless`
neither. Data-parallel ranks are what the processes have left: ep lies inside dp. Sequence
parallelism goes with tp. There are no exceptions.

| layout | processes | model | loss | worst gradient | of | norm of all gradients |
|---|---:|---|---:|---:|---|---:|
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a layout is too far off."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.trainer.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help=f"also to {PAGE.name}")
    chosen = parser.parse_args(arguments)
    rows, well = [], True
    for name, (layout, world) in LAYOUTS.items():
        for model in MODELS:
            row, good = compared(name, world, model, steps(layout, world)[model])
            print(row, flush=True)
            rows.append(row)
            well &= good
    if chosen.write:
        PAGE.write_text(HEAD + "\n".join(rows) + "\n")
    return int(not well)


def compared(name: str, world: int, model: str, found: Whole) -> tuple[str, bool]:
    """A row of the table, and whether it is within the limits."""
    alone = steps(Layout(), 1)[model]
    for layer, choices in alone.routing.items():
        if not torch.equal(found.routing[layer], choices):
            return f"| {name} | {world} | {model} | layer {layer} routes otherwise | | | |", False
    loss = abs(found.loss - alone.loss) / alone.loss
    worst, where = max(
        (distance(found.gradients[key], gradient, key), key)
        for key, gradient in alone.gradients.items()
    )
    whole = torch.cat([x.flatten().double() for x in alone.gradients.values()]).norm().item()
    norm = max(abs(x - whole) / whole for x in found.norms)
    row = f"| {name} | {world} | {model} | {loss:.1e} | {worst:.1e} | `{where}` | {norm:.1e} |"
    return row, loss <= LOSS and worst <= GRADIENT and norm <= GRADIENT


def distance(found: torch.Tensor, expected: torch.Tensor, name: str) -> float:
    """max|a - b| / max|b|, without padding rows of the vocabulary."""
    rows = VOCAB if name in PADDED else len(expected)
    return float((found[:rows] - expected[:rows]).abs().max() / expected[:rows].abs().max())


if __name__ == "__main__":
    sys.exit(main())
