"""The sweep in float64, as the equations of :mod:`kernels.lightning.sweep` are written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch


def sweep_reference(
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    slopes: torch.Tensor,
    *,
    reverse: bool = False,
    scale: float = 1.0,
    initial: torch.Tensor | None = None,
    activated: Sequence[bool] = (False, False, False),
    preactivation: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One sweep over whole sequences: the plain reference of the sweep's kernels.

    Quadratic in T, a head at a time.

    Args:
        a: ``[B, T, Ha, K]``; b: ``[B, T, Hb, K]``; c: ``[B, T, Hc, V]``: any dtype and strides. Ha,
            Hb and Hc divide H; head h reads head ``h // (H/Ha)``.
        slopes: ``[H]``, ``>= 0``.
        initial: R ``[B, H, K, V]``, zero when left out.
        activated: whether a, b and c are SiLU of what is given.
        preactivation: ``[B, T, Hp, V]``: out is multiplied by SiLU' of it.

    Returns:
        ``out [B, T, H, V]`` and ``final [B, H, K, V]``, float64.
    """
    heads = len(slopes)
    a, b, c = (
        torch.nn.functional.silu(x) if silu else x
        for x, silu in zip((_per_head(y, heads) for y in (a, b, c)), activated, strict=True)
    )
    if initial is None:
        initial = a.new_zeros(len(a), heads, a.shape[3], c.shape[3])
    results = [
        _head(a[:, :, h], b[:, :, h], c[:, :, h], slopes[h], initial[:, h], reverse, scale)
        for h in range(heads)
    ]
    out = torch.stack([o for o, _ in results], 2)
    final = torch.stack([f for _, f in results], 1)
    if preactivation is not None:
        x = _per_head(preactivation, heads)
        s = torch.sigmoid(x)
        out = out * s * (1 + x * (1 - s))
    return out, final


def _per_head(x: torch.Tensor, heads: int) -> torch.Tensor:
    """float64, every head repeated for those that read it."""
    return x.double().repeat_interleave(heads // x.shape[2], 2)


def _head(
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    slope: torch.Tensor,
    initial: torch.Tensor,
    reverse: bool,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = a.shape[1]

    def decay(distance: torch.Tensor) -> torch.Tensor:
        return torch.exp(-slope.double() * distance)

    t = torch.arange(tokens, dtype=torch.float64, device=a.device)
    distance = t[None, :] - t[:, None] if reverse else t[:, None] - t[None, :]
    mask = torch.where(distance >= 0, decay(distance.clamp(min=0)), 0.0)
    from_left, to_right = decay(t + 1)[:, None], decay(tokens - 1 - t)[:, None]
    R = initial.double()
    shrunk = decay(torch.tensor(float(tokens), device=a.device)) * R
    within = scale * (mask * (a @ b.mT)) @ c
    if reverse:
        return within + to_right * (a @ R), shrunk + scale * (from_left * b).mT @ c
    return within + scale * from_left * (a @ R), shrunk + (to_right * b).mT @ c


class Part(NamedTuple):
    """A piece as :mod:`kernels.lightning.pieces` cuts it, on the host.

    Its ``number``, and its tokens ``start`` to ``stop`` of ``row`` of the batch, of ``sequence``.
    """

    number: int
    sequence: int
    row: int
    start: int
    stop: int


def parts(
    tokens: int, segment: int, *, rows: int = 1, boundaries: Sequence[int] | None = None
) -> list[Part]:
    """All pieces of ``rows`` dense sequences, or of the sequences packed between ``boundaries``."""
    if boundaries is None:
        starts = range(0, max(tokens, 1), segment)
        return [
            Part(row * len(starts) + n, row, row, start, min(start + segment, tokens))
            for row in range(rows)
            for n, start in enumerate(starts)
        ]
    if segment >= tokens:  # nothing is cut
        segment = tokens + 1
    found = []
    for n, (begin, end) in enumerate(pairwise(boundaries)):
        for m in range(begin // segment, end // segment + 1):
            start = max(begin, m * segment)
            found.append(Part(n + m, n, 0, start, max(min(end, (m + 1) * segment), start)))
    return found


class Walked(NamedTuple):
    """float64: ``out [B, T, H, V]``, ``final [N, H, K, V]`` and ``carried [cuts, H, K, V]``.

    ``carried`` is NaN at a cut of a packed row that has no token of the sequence behind it.
    """

    out: torch.Tensor
    final: torch.Tensor
    carried: torch.Tensor


def walk(
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    slopes: torch.Tensor,
    pieces: Sequence[Part],
    *,
    reverse: bool,
    scale: float,
    initial: torch.Tensor | None,
    activated: Sequence[bool] = (False, False, False),
    preactivation: torch.Tensor | None = None,
) -> Walked:
    """:func:`sweep_reference` piece by piece, with the states at the cuts between them."""
    heads, sequences = len(slopes), 1 + max(x.sequence for x in pieces)
    sizes = heads, a.shape[3], c.shape[3]
    state = torch.zeros(sequences, *sizes, dtype=torch.float64, device=a.device)
    if initial is not None:
        state += initial
    out = state.new_zeros(*a.shape[:2], heads, c.shape[3])
    carried = state.new_full((len(pieces) - sequences, *sizes), torch.nan)
    ordered = list(reversed(pieces) if reverse else pieces)
    for place, (_, n, row, start, stop) in enumerate(ordered):
        if place and ordered[place - 1].sequence == n:
            behind = ordered[place - 1 if reverse else place]  # the piece behind the cut
            if behind.stop > behind.start:
                carried[behind.number - n - 1] = state[n]
        x, y, z = (x[row : row + 1, start:stop] for x in (a, b, c))
        raw = None if preactivation is None else preactivation[row : row + 1, start:stop]
        o, after = sweep_reference(
            x, y, z, slopes,
            reverse=reverse, scale=scale, initial=state[n : n + 1],
            activated=activated, preactivation=raw,
        )  # fmt: skip
        out[row, start:stop], state[n] = o[0], after[0]
    return Walked(out, state, carried)
