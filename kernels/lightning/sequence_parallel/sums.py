"""What a rank sums over its own tokens, and how the sums of all ranks are combined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch

from kernels.lightning.checks import check_activation
from kernels.lightning.reference import activate
from kernels.triton_support import next_power_of_2

ELEMENTS_AT_ONCE = 1 << 25
"""Numbers that a local sum holds in float32 at a time: bounds its memory to 128 MiB."""


def local_state(
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    *,
    tokens: int | None = None,
    horizons: Sequence[int] | None = None,
    activation: str | None = None,
) -> torch.Tensor:
    """``L = Σ_t λ^{n-t} k_t v_tᵀ``: the state after the last token, from nothing.

    Args:
        k, v: ``[B, n, Hk, K]`` and ``[B, n, Hk, V]``, floating.
        slopes: ``[H]``, H a multiple of Hk.
        tokens: only the last so many are summed (those after the last boundary); all if left out.
        horizons: per head, tokens further back than this are left out
            (``kernels.lightning.horizon`` has the bound); none are if left out.
        activation: "silu" sums SiLU of k and v, None these as they are.

    Returns:
        ``[B, H, K, V]`` in float32 (float64 for float64 inputs).
    """
    n = k.shape[1]
    tokens = n if tokens is None else tokens
    near = slice(n - tokens, n)
    both = (activation, activation)
    return _decayed_sum(k[:, near], v[:, near], slopes, horizons, both, from_end=True)


def local_gradient(
    q: torch.Tensor,
    do: torch.Tensor,
    slopes: torch.Tensor,
    *,
    tokens: int | None = None,
    horizons: Sequence[int] | None = None,
    scale: float = 1.0,
    activation: str | None = None,
) -> torch.Tensor:
    """``M = scale · Σ_t λ^t q_t do_tᵀ``: the gradient by the state before the first token.

    Args:
        q, do: ``[B, n, H, K]`` and ``[B, n, H, V]``, floating.
        slopes: ``[H]``.
        tokens: only the first so many are summed (those before the first boundary).
        horizons: as for :func:`local_state`.
        scale: the operator's scale.
        activation: "silu" sums with SiLU of q, None with q as it is.

    Returns:
        ``[B, H, K, V]`` in float32 (float64 for float64 inputs).
    """
    near = slice(0, tokens)
    one = (activation, None)
    return scale * _decayed_sum(q[:, near], do[:, near], slopes, horizons, one, from_end=False)


def combine(
    gathered: torch.Tensor, distances: Sequence[tuple[int, int]], slopes: torch.Tensor
) -> torch.Tensor:
    """``Σ λ^distance · gathered[rank]`` over ``(rank, distance)``, in their order.

    With ``Share.before`` and gathered L: the state that this rank starts from. With ``Share.after``
    and gathered M: the gradient by the state that it ends with.

    Args:
        gathered: ``[ranks, B, H, K, V]``.
        distances: ranks, and how many tokens lie in between.
        slopes: ``[H]``.

    Returns:
        ``[B, H, K, V]``, gathered's dtype.
    """
    total = torch.zeros_like(gathered[0])
    for rank, distance in distances:
        decay = torch.exp(slopes.double() * -distance).to(gathered.dtype)
        total += decay[:, None, None] * gathered[rank]
    return total


def no_state(q: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Zeros ``[B, H, K, V]``, from a rank that has nothing to hand on."""
    batch, _, heads, keys = q.shape
    return torch.zeros(batch, heads, keys, v.shape[3], dtype=wide(q), device=q.device)


def wide(x: torch.Tensor) -> torch.dtype:
    """The dtype of states that ``x`` adds up to: float32, or float64 for float64."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _decayed_sum(
    a: torch.Tensor,
    b: torch.Tensor,
    slopes: torch.Tensor,
    horizons: Sequence[int] | None,
    activations: tuple[str | None, str | None],
    *,
    from_end: bool,
) -> torch.Tensor:
    """``Σ_t λ^d a_t b_tᵀ`` with ``d = n - t`` (``from_end``) or ``d = t``, t = 1..n.

    ``activations`` are applied to a and to b first.

    Heads whose horizons round up to the same power of two are summed together, over so many tokens.
    """
    for activation in activations:
        check_activation(activation)
    batch, n, heads, keys = a.shape
    group, dtype = len(slopes) // heads, wide(a)
    out = a.new_zeros(batch, heads, group, keys, b.shape[3], dtype=dtype)
    s = slopes.double().view(heads, group)
    for first, end, tokens in _runs(n, heads, group, horizons):
        step = ELEMENTS_AT_ONCE // max(batch * (end - first) * (group * keys + b.shape[3]), 1)
        near = slice(n - tokens, n) if from_end else slice(0, tokens)
        for at in range(near.start, near.stop, max(step, 64)):
            part = slice(at, min(at + max(step, 64), near.stop))
            t = torch.arange(part.start + 1, part.stop + 1, device=a.device, dtype=torch.float64)
            d = n - t if from_end else t
            decay = torch.exp(-s[first:end] * d[:, None, None]).to(dtype)  # [t, heads, group]
            (left,) = activate(activations[0], a[:, part, first:end, None].to(dtype))
            (right,) = activate(activations[1], b[:, part, first:end].to(dtype))
            left = left * decay[..., None]
            out[:, first:end] += torch.einsum("bthgk,bthv->bhgkv", left, right)
    return out.flatten(1, 2)


def _runs(
    n: int, heads: int, group: int, horizons: Sequence[int] | None
) -> Iterator[tuple[int, int, int]]:
    """``(first, end, tokens)``: neighbouring heads that sum over equally many tokens."""
    if horizons is None:
        yield 0, heads, n
        return
    if len(horizons) != heads * group:
        raise ValueError(f"found {len(horizons)} horizons; expected one per head: {heads * group}")

    def tokens(head: int) -> int:
        return min(n, next_power_of_2(max(horizons[head * group : (head + 1) * group])))

    for count, run in groupby(range(heads), key=tokens):
        members = list(run)
        yield members[0], members[-1] + 1, count
