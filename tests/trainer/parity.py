"""How far layouts of ranks are from one process: ``python -m tests.trainer.parity [--write]``.

One training step of two small models (float32, gloo) on each layout, on the same global batch: the
routing is compared first and must be equal, with no decision that rounding could turn, then the
loss, every gradient as max|a-b| / max|b| of its tensor, and the norm of all gradients. ``--write``
puts the table into ``docs/parity.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.trainer.margins import MARGIN
from tests.trainer.models.agreement import GRADIENT, LAYOUTS, LOSS, MODELS, compare, steps
from trainer.megatron.start import Layout

PAGE = Path(__file__).resolve().parents[2] / "docs" / "parity.md"

HEAD = f"""# Parity of parallel layouts

Written by `python -m tests.trainer.parity --write`: one training step of a small model of four
layers (lightning and softmax, four experts) in float32 over gloo, on each layout and in one
process, on the same eight packed sequences; gradients are reduced, and the step taken, by the
distributed optimizer as a run has it. Routing must be equal slot for slot; then losses may differ
by {LOSS:g} of the loss, each gradient by {GRADIENT:g}, as max|a - b| / max|b| of its tensor, and so
may the norm of all gradients. `drops` has a capacity that drops a fifth of the slots and a strong
auxiliary loss, `dropless` neither. Data-parallel ranks are what the processes have left: ep lies
inside dp. Sequence parallelism goes with tp. There are no exceptions.
"""

MARGINS = f"""
Routing can only be compared where rounding does not decide it. Over all tokens, layers and layouts
the closest decisions had these margins; below {MARGIN:g} nothing is compared, and another seed is
asked for. `choices`: between a choice's logit and the next one's (first and second, second and
third), as a part of the largest logit. `capacity`: between the weights of the last slot that an
expert takes of a sequence and of the first that it drops.

| model | choices | capacity |
|---|---:|---:|
"""

TABLE = """
| layout | processes | model | loss | worst gradient | of | norm of all gradients |
|---|---:|---|---:|---:|---|---:|
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 where a layout is too far off, or a decision too close to compare."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.trainer.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help=f"also to {PAGE.name}")
    chosen = parser.parse_args(arguments)
    found = [row(layout, model) for layout in LAYOUTS for model in MODELS]
    margins = [margin_row(model) for model in MODELS]
    print(*margins, sep="\n")
    if chosen.write:
        rows = "\n".join(line for line, _ in found)
        PAGE.write_text(HEAD + MARGINS + "\n".join(margins) + "\n" + TABLE + rows + "\n")
    return int(not all(well for _, well in found))


def row(name: str, model: str) -> tuple[str, bool]:
    """A printed row of the table, and whether it is within the limits."""
    layout, world = LAYOUTS[name]
    begun = f"| {name} | {world} | {model} |"
    try:
        apart = compare(steps(layout, world)[model], steps(Layout(), 1)[model])
    except AssertionError as error:  # what cannot be compared is a row too
        line, well = f"{begun} {error} | | | |", False
    else:
        gradient = f"{apart.gradient:.1e} | `{apart.where}`"
        line, well = f"{begun} {apart.loss:.1e} | {gradient} | {apart.norm:.1e} |", apart.is_within
    print(line, flush=True)
    return line, well


def margin_row(model: str) -> str:
    """The closest decisions of a model's routers on any layout."""
    margins = [steps(*place)[model].margin for place in [(Layout(), 1), *LAYOUTS.values()]]
    choices, edges = (min(getattr(m, name) for m in margins) for name in ("choices", "edges"))
    told = "nothing dropped" if edges == float("inf") else f"{edges:.1e}"
    return f"| {model} | {choices:.1e} | {told} |"


if __name__ == "__main__":
    sys.exit(main())
