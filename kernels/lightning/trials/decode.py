"""The check of the decode kernel, :mod:`kernels.lightning.decode`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from kernels.lightning import decode, decode_device, silu_device
from kernels.lightning.trials import inputs
from kernels.sentinel import Candidate, Finding, Guarded, Kernel, Output, judge


class Decode(NamedTuple):
    """What the compiled code depends on.

    ``T``: tokens. ``read`` and ``write``: dtype of the indices, None where there are none.
    ``heads``: :func:`.inputs.kind` of their number. ``shared``: heads share k and v.
    """

    K: int
    V: int
    T: int
    dtype: torch.dtype
    read: torch.dtype | None
    write: torch.dtype | None
    silu: bool
    heads: int
    shared: bool


def decode_candidate(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    state_index: torch.Tensor | None,
    write_index: torch.Tensor | None,
    silu: bool,
) -> Candidate:
    """One launch with these arguments; q, k and v ``[B, T, heads, size]``."""
    _, tokens, heads, key_size = q.shape
    return Candidate(
        DECODE,
        Decode(
            key_size,
            v.shape[3],
            tokens,
            q.dtype,
            None if state_index is None else state_index.dtype,
            None if write_index is None else write_index.dtype,
            silu,
            inputs.kind(heads),
            k.shape[2] != heads,
        ),
    )


ROWS, PAGES = 5, 9


def check(settings: Decode, device: torch.device) -> Finding:
    """Judge a launch over five rows; with an index one of them is padding."""
    s, heads = settings, settings.heads
    draw, slopes = inputs.Draw(device), inputs.slopes(heads, device)
    few = heads // 2 if s.shared and heads > 1 else heads
    q = draw(ROWS, s.T, heads, s.K, dtype=s.dtype)
    k = draw(ROWS, s.T, few, s.K, dtype=s.dtype)
    v = draw(ROWS, s.T, few, s.V, dtype=s.dtype)
    pages = ROWS if s.read is None else PAGES
    if s.write is not None:
        pages = PAGES + ROWS * s.T
    before = draw(pages, heads, s.K, s.V)
    read = torch.arange(ROWS)
    index = write = None
    if s.read is not None:
        read = torch.tensor([7, 2, -1, 0, 5])
        index = read.to(device, s.read)
    target = read[:, None].expand(ROWS, s.T)
    if s.write is not None:  # every token's state to a page of its own
        target = PAGES + torch.arange(ROWS * s.T).view(ROWS, s.T)
        write = target.to(device, s.write)

    live = [row for row in range(ROWS) if read[row] >= 0]
    o, states = decode.decode_reference(
        q[live], k[live], v[live], before[read[live].to(device)], slopes,
        scale=inputs.SCALE, activation="silu" if s.silu else None,
    )  # fmt: skip
    expected = o.new_zeros(ROWS, s.T, heads, s.V)
    after = before.double()
    for n, row in enumerate(live):
        expected[row] = o[n]
        for t in range(s.T):
            after[target[row, t]] = states[n, t]

    out = Guarded(expected.shape, s.dtype, device)
    # Without gaps, for the kernel takes K and V of a page to be contiguous.
    pool = Guarded(after.shape, torch.float32, device, gap=0)
    outputs = [
        Output("out", out, expected, inputs.LIMITS[s.dtype], 2),
        Output("the states", pool, after, inputs.LIMITS[torch.float32], 1),
    ]

    def run() -> None:
        decode._launch(
            q, k, v, pool.view, slopes, index, write, inputs.SCALE, s.silu, out.view
        )  # fmt: skip

    def prepare() -> None:
        pool.view.copy_(before)

    return judge(run, outputs, prepare=prepare)


DECODE = Kernel(
    "lightning.decode",
    check,
    (*(str(x.__file__) for x in (decode, decode_device, silu_device, inputs)), __file__),
)


def candidates() -> Iterator[Candidate]:
    """A token and four, paged and not, in bfloat16; float32 once."""
    for size in (64, 128):
        yield Candidate(DECODE, Decode(size, size, 1, torch.bfloat16, None, None, False, 16, False))
        yield Candidate(
            DECODE, Decode(size, size, 1, torch.bfloat16, torch.int32, None, True, 16, False)
        )
        yield Candidate(
            DECODE,
            Decode(size, size, 4, torch.bfloat16, torch.int32, torch.int32, True, 16, False),
        )
    yield Candidate(DECODE, Decode(128, 128, 1, torch.float32, None, None, False, 16, False))
