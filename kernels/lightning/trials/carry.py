"""The check of the kernels that compute the states at cuts, :mod:`kernels.lightning.carry`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from kernels.lightning import pieces, pieces_device, portable, silu_device
from kernels.lightning.pieces import Pieces
from kernels.lightning.trials import inputs, reference
from kernels.sentinel import Candidate, Finding, Guarded, Kernel, Output, judge


class Carry(NamedTuple):
    """What the compiled code depends on; fields as in :class:`.sweeps.Sweep`.

    ``boundary``: dtype of ``cu_seqlens``, None where there is none. ``parts``: pieces are taken in
    parts. ``activated``: of b and c.
    """

    K: int
    V: int
    dtype: torch.dtype
    reverse: bool
    packed: bool
    initial: bool
    final: bool
    tokens: int
    heads: int
    shared: bool
    boundary: torch.dtype | None
    parts: bool
    activated: tuple[bool, bool] = (False, False)


def carry_candidate(
    b: torch.Tensor,
    c: torch.Tensor,
    cut: Pieces,
    cu_seqlens: torch.Tensor | None,
    parts: int,
    *,
    reverse: bool,
    initial: torch.Tensor | None,
    final: torch.Tensor | None,
    activated: tuple[bool, bool] = (False, False),
) -> Candidate:
    """The launches of :func:`kernels.lightning.carry.carry` with these arguments."""
    _, tokens, heads, packed = cut.layout
    _, _, b_heads, key_size = b.shape
    return Candidate(
        CARRY,
        Carry(
            key_size,
            c.shape[3],
            b.dtype,
            reverse,
            packed,
            initial is not None,
            final is not None,
            inputs.kind(tokens),
            inputs.kind(heads),
            b_heads != heads,
            None if cu_seqlens is None else cu_seqlens.dtype,
            parts > 1,
            activated,
        ),
    )


def check(settings: Carry, device: torch.device) -> Finding:
    """Judge :func:`kernels.lightning.carry.carry` on a small batch."""
    from kernels.lightning.carry import carry

    s, heads = settings, settings.heads
    batch = inputs.batch(
        pieces.TILE, 2 * pieces.TILE,
        heads=heads, packed=s.packed, is_cut=True, tokens=s.tokens, device=device,
        boundary=s.boundary or torch.int32,
    )  # fmt: skip
    draw, slopes = inputs.Draw(device), inputs.slopes(heads, device)
    few = heads // 2 if s.shared and heads > 1 else heads
    b = draw(batch.rows, batch.tokens, few, s.K, dtype=s.dtype)
    c = draw(batch.rows, batch.tokens, few, s.V, dtype=s.dtype)
    sequences = batch.pieces.layout.sequences
    scale = inputs.SCALE if s.reverse else 1.0  # a forward state has none
    initial = draw(sequences, heads, s.K, s.V) if s.initial else None
    walked = reference.walk(
        b, b, c, slopes, batch.host,
        reverse=s.reverse, scale=scale, initial=initial, activated=(False, *s.activated),
    )  # fmt: skip
    within = walked.carried.isfinite().all((1, 2, 3))  # not at a cut that is a boundary
    expected = walked.carried[within]
    states = Guarded(expected.shape, torch.float32, device)
    limit = inputs.LIMITS[s.dtype]
    outputs = [Output("the states at cuts", states, expected, limit, 1)]
    final = None
    if s.final:
        final = Guarded(walked.final.shape, torch.float32, device)
        outputs.append(Output("final", final, walked.final, limit, 1))

    def run() -> None:
        # `carry` allocates its result, most likely where this block has just been freed.
        poison = torch.full(walked.carried.shape, torch.nan, device=device)
        del poison
        found = carry(
            b, c, slopes, batch.pieces, batch.cu_seqlens,
            reverse=s.reverse, scale=scale, initial=initial,
            final=None if final is None else final.view, activated=s.activated,
            **({"part_tokens": pieces.TILE} if s.parts else {}),
        )  # fmt: skip
        states.view.copy_(found[within])

    return judge(run, outputs)


CARRY = Kernel(
    "lightning.carry",
    check,
    (
        # Not as the module's `__file__`: it imports this one, and may not be there yet.
        str(Path(portable.__file__ or "").with_name("carry.py")),
        *(
            str(x.__file__)
            for x in (portable, silu_device, pieces, pieces_device, inputs, reference)
        ),
        __file__,
    ),
)


def candidates() -> Iterator[Candidate]:
    """Head sizes 64 and 128 in bfloat16, both directions, dense and packed, with states and not.

    Of 128 also with SiLU: of k and v forward, of q in reverse.
    """
    bf16 = torch.bfloat16
    for size, reverse in product((64, 128), (False, True)):
        for states, boundary in ((False, None), (False, torch.int32), (True, torch.int32)):
            packed = boundary is not None
            plain = Carry(
                size, size, bf16, reverse, packed, states, states, 16, 16, False, boundary, False
            )
            activated = plain._replace(activated=(True, not reverse))
            for settings in (plain, activated) if size == 128 else (plain,):
                yield Candidate(CARRY, settings)
                if not packed:
                    yield Candidate(CARRY, settings._replace(parts=True))
