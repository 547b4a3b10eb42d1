"""Launch a kernel into poisoned memory and compare all it did with what it should have done.

Inputs and outputs lie apart from each other inside larger buffers of NaN. So an element that is not
written, one that is written outside, and one that is read outside and matters all show, also where
a run of the real model would go on with numbers that are slightly wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

GAP = 16
"""Elements behind every row. A multiple of 16, so that strides divide as a plain tensor's do and
Triton compiles the same code."""
MARGIN = 128
"""Rows of the last-but-one dimension, times its size, before and behind: two tiles of tokens."""
MOST_ROWS = 4096
ROWS_APART = 8.0
"""How much further than the whole a single row may be off. Rounding is spread over rows; one wrong
row in ten thousand is not, and would vanish in a mean."""

_BITS = {
    2: (torch.int16, 0x7FD5),
    4: (torch.int32, 0x7FD5D5D5),
    8: (torch.int64, 0x7FFD5D5D5D5D5D5D),
}
"""Per item size: an integer type, and a NaN that nothing else makes."""


class Finding(NamedTuple):
    """``fault``: what is wrong, None when nothing is. ``worst``: largest error over the limit."""

    fault: str | None
    worst: float | None = None


class Guarded:
    """``view``: an empty tensor of ``shape`` in the middle of a larger buffer of poison.

    Behind each row of the last dimension lie ``gap`` elements, before the first and behind the last
    row up to :data:`MARGIN` · (size of the last-but-one dimension) rows.
    """

    def __init__(
        self, shape: Sequence[int], dtype: torch.dtype, device: torch.device, gap: int = GAP
    ) -> None:
        *outer, width = shape
        row = width + gap
        margin = min(MARGIN * outer[-1], MOST_ROWS) * row
        rows = 1
        for size in outer:
            rows *= size
        self._whole = torch.empty(2 * margin + rows * row, dtype=dtype, device=device)
        inside = self._whole[margin : margin + rows * row]
        self.view = inside.view(*outer, row)[..., :width]
        self._margin, self._gap = margin, gap
        self.poison()

    def poison(self, value: float | None = None) -> None:
        """Fill the view and all around it, with ``value`` if given."""
        if value is not None:
            self._whole.fill_(value)
            return
        integers, bits = _BITS[self._whole.element_size()]
        self._whole.view(integers).fill_(bits)

    def bits(self) -> torch.Tensor:
        """A copy of the view, as integers."""
        integers, _ = _BITS[self._whole.element_size()]
        return self.view.clone(memory_format=torch.contiguous_format).view(integers)

    def unwritten(self) -> int:
        """Elements of the view that still hold the poison."""
        return int((self.bits() == _BITS[self._whole.element_size()][1]).sum())

    def trespasses(self) -> int:
        """Elements around the view that hold something else than the poison."""
        integers, value = _BITS[self._whole.element_size()]
        bits = self._whole.view(integers).clone()
        width = self.view.shape[-1]
        inside = bits[self._margin : len(bits) - self._margin]
        inside.view(*self.view.shape[:-1], width + self._gap)[..., :width].fill_(value)
        return int((bits != value).sum())


def surrounded(values: torch.Tensor, gap: int = GAP) -> torch.Tensor:
    """A copy of ``values`` that lies in NaN, for a kernel to read."""
    copy = Guarded(values.shape, values.dtype, values.device, gap)
    # Another NaN than an output's: one that is read and passed on must not look as if not written.
    copy.poison(torch.nan)
    return copy.view.copy_(values)


class Output(NamedTuple):
    """One tensor that a launch writes.

    ``expected``: float64, of the shape of ``place.view``. ``limit``: the relative RMS error allowed
    in each of its heads, which are dimension ``heads``; a single row may be :data:`ROWS_APART`
    times further off.
    """

    name: str
    place: Guarded
    expected: torch.Tensor
    limit: float
    heads: int


def judge(
    launch: Callable[[], None],
    outputs: Sequence[Output],
    prepare: Callable[[], None] | None = None,
) -> Finding:
    """Run ``launch`` twice and say what is wrong with what it wrote.

    In this order: the launch fails; writes outside an output; leaves elements unwritten; writes NaN
    or Inf; is off; writes other bits the second time. ``prepare`` runs between poison and launch,
    for outputs that are also read.

    Raises:
        torch.OutOfMemoryError: memory is short, which says nothing about the kernel.
    """
    before: list[torch.Tensor] = []
    worst = 0.0
    for run in range(2):
        for output in outputs:
            output.place.poison()
        if prepare is not None:
            prepare()
        failed = _launch(launch, outputs[0].place.view.device)
        if failed is not None:
            return Finding(failed)
        for n, output in enumerate(outputs):
            finding = _compare(output)
            if finding.fault is not None:
                return finding
            worst = max(worst, finding.worst or 0.0)
            bits = output.place.bits()
            if run == 0:
                before.append(bits)
            elif (differing := int((bits != before[n]).sum())) > 0:
                return Finding(f"{output.name} differs between two runs in {differing} elements")
    return Finding(None, worst)


def _launch(launch: Callable[[], None], device: torch.device) -> str | None:
    """What went wrong when ``launch`` ran, if anything."""
    from triton.errors import TritonError

    try:
        launch()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TritonError) as error:  # the compiler's errors, and the driver's
        lines = str(error).strip().splitlines() or [""]
        return f"the launch fails with {type(error).__name__}: {lines[0][:300]}"
    return None


def _compare(output: Output) -> Finding:
    name, place, expected, limit, heads = output
    if outside := place.trespasses():
        return Finding(f"{outside} elements are written outside of {name}")
    if left := place.unwritten():
        return Finding(f"{left} elements of {name} are not written")
    found = place.view.double()
    if strange := int((~found.isfinite()).sum()):
        return Finding(f"{name} holds NaN or Inf in {strange} elements where none belong")
    wanted = expected.movedim(heads, 0).flatten(1, -2)
    apart = (found - expected).movedim(heads, 0).flatten(1, -2).square()
    size = wanted.square().mean((1, 2)).sqrt().clamp_min(1e-30)
    whole = apart.mean((1, 2)).sqrt() / size
    row = apart.mean(2).amax(1).sqrt() / size
    head = int(torch.maximum(whole, row / ROWS_APART).argmax())
    worst = max(float(whole[head]), float(row[head]) / ROWS_APART) / limit
    if worst > 1.0:
        return Finding(
            f"{name} is off by {float(whole[head]):.1e} of its size in head {head}, a row of it by "
            f"{float(row[head]):.1e} (allowed {limit:.1e} and {limit * ROWS_APART:.1e})",
            worst,
        )
    return Finding(None, worst)
