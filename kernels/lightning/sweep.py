"""The one primitive of lightning attention: forward and every gradient are sweeps.

With ``λ = exp(-s)`` per head, a **forward sweep** over a sequence of T tokens is

    out_i = scale · ( Σ_{j<=i} λ^{i-j} (a_i·b_j) c_j + λ^{i+1} a_iᵀ R )
    final = λ^T R + Σ_j λ^{T-1-j} b_j c_jᵀ                                          (i, j from 0)

and a **reverse sweep**

    out_j = scale · Σ_{i>=j} λ^{i-j} (a_j·b_i) c_i + λ^{T-1-j} a_jᵀ R
    final = λ^T R + scale · Σ_i λ^{i+1} b_i c_iᵀ

with ``R`` the initial state. Attention and its gradients, from the recurrence in
:mod:`.reference` (MiniMax-01 §2.2.1; TNL, arXiv:2405.17381, algorithms 5 and 6), are

====================  =======  ============  ====================  =====================
result                sweep    a, b, c       R                     final
====================  =======  ============  ====================  =====================
``o``                 forward  q, k, v       initial state S_0     final state S_T
``dq``                forward  do, v, k      S_0ᵀ
``dv``                reverse  k, q, do      dS_T                  dS_0
``dk``                reverse  v, do, q      dS_Tᵀ
====================  =======  ============  ====================  =====================

so one kernel, tested once, does all of them. It reads a, b and c once and keeps the state in
registers.

With SiLU, q, k and v above are SiLU of what is given, which the sweep applies as it reads them, and
the chain rule multiplies dq, dk and dv by SiLU' of the given q, k and v before they are rounded:
with ``s`` the logistic function, ``SiLU'(x) = s(x) (1 + x (1 - s(x)))``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from kernels import sentinel
from kernels.lightning import hopper, hopper_gradients, portable
from kernels.lightning.carry import carry
from kernels.lightning.operands import Operands
from kernels.lightning.pieces import Pieces
from kernels.lightning.trials.sweeps import (
    GRADIENTS,
    HOPPER,
    gradients_candidate,
    hopper_candidate,
    portable_candidate,
)

CandidateOf = Callable[..., sentinel.Candidate]


def sweep(
    operands: Sequence[Operands],
    slopes: torch.Tensor,
    pieces: Pieces,
    *,
    reverse: bool = False,
    scale: float = 1.0,
    initial: torch.Tensor | None = None,
    carried: torch.Tensor | None = None,
    final: torch.Tensor | None = None,
) -> None:
    """One sweep, or two of the same direction that share what they read, on a GPU or interpreted.

    Args:
        operands: of one sweep; or of two, where the second takes the transposes of the first one's
            initial states and writes no final ones (dv and dk).
        slopes: float32 ``[H]``.
        pieces: how the batch is cut (:func:`.pieces.cut`).
        initial: R, float32 ``[N, H, K, V]``, any strides; zero when left out.
        carried: where something is cut, what :func:`.carry.carry` made of R: float32
            ``[cuts, H, K, V]``, any strides.
        final: float32 ``[N, H, K, V]``, any strides, to be written; only where nothing is cut.
    """
    plans = _plans(operands, pieces, reverse, initial, carried, final)
    kernel = sentinel.choose(plans, operands[0].a.device)[0].kernel
    if kernel is GRADIENTS:
        (k, q, do, dv, *_), (v, _, _, dk, *_) = operands
        hopper_gradients.gradients(
            q, k, v, do, dv, dk, slopes, pieces,
            scale=scale, initial=initial, carried=carried, final=final,
            activation=operands[0].preactivation is not None,
        )  # fmt: skip
        return
    launch = hopper.sweep if kernel is HOPPER else portable.sweep
    for n, one in enumerate(operands):
        launch(
            one.a, one.b, one.c, one.out, slopes, pieces,
            reverse=reverse, scale=scale, initial=_turned(initial, n), carried=_turned(carried, n),
            final=final if n == 0 else None,
            activated=one.activated, preactivation=one.preactivation,
        )  # fmt: skip


def _turned(state: torch.Tensor | None, n: int) -> torch.Tensor | None:
    """What the n-th of two sweeps starts from: the second's states are the first's transposed."""
    return state if n == 0 or state is None else state.mT


def _plans(
    operands: Sequence[Operands],
    pieces: Pieces,
    reverse: bool,
    initial: torch.Tensor | None,
    carried: torch.Tensor | None,
    final: torch.Tensor | None,
) -> Iterator[tuple[sentinel.Candidate, ...]]:
    """What one call may launch, best first; the sentinel takes the first that it finds right."""

    def apart(candidate: CandidateOf) -> tuple[sentinel.Candidate, ...]:
        return tuple(
            candidate(one, pieces, reverse, *(_turned(x, n) for x in starts), (final, None)[n])
            for n, one in enumerate(operands)
        )

    starts = (initial, carried)
    if takes_hopper(operands):
        if len(operands) == 2 and takes_both(operands):
            yield (gradients_candidate(operands[0], pieces, initial, carried, final),)
        yield apart(hopper_candidate)
    yield apart(portable_candidate)


def takes_hopper(operands: Sequence[Operands]) -> bool:
    """Whether the kernel for Hopper runs these: on such a GPU, and in a form it takes."""
    a = operands[0].a
    if a.device.type != "cuda" or torch.cuda.get_device_capability(a.device) != (9, 0):
        return False
    return all(hopper.fits(*one.tensors) for one in operands)


def takes_both(operands: Sequence[Operands]) -> bool:
    """Whether the kernel that sweeps dv and dk together takes them.

    That is, their sizes; and q, k and v are activated all or not at all.
    """
    silu = operands[0].preactivation is not None
    both = ((silu, silu, False), silu), ((silu, False, silu), silu)
    return all(
        all(x.shape[3] == hopper_gradients.HEAD_SIZE for x in one.tensors)
        and (one.activated, one.preactivation is not None) == expected
        for one, expected in zip(operands, both, strict=True)
    )


__all__ = ["Operands", "carry", "sweep"]
