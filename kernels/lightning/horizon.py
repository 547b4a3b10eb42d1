"""How far back a head can see: the distance beyond which its decay is below a float's last bit.

With ``λ = exp(-s)`` the output is ``o_t = scale · Σ_{d>=0} λ^d (q_t·k_{t-d}) v_{t-d}``. A token
``d`` back weighs ``λ^d`` against the current one's 1. Let ``n`` be the smallest distance with
``λ^n <= 2^-bits``: the *horizon*. What may be left out beyond it, with Q, K, V the largest
Euclidean norms of q, k and v:

* Leaving out all tokens at distance ``n`` or more changes the output by

      |Δo_t| <= |scale| Σ_{d>=n} λ^d |q_t·k_{t-d}| |v_{t-d}| <= |scale| Q K V · λ^n / (1 - λ),

  by Cauchy-Schwarz and the geometric series. This holds for every input, and is nearly reached when
  all keys point along q and all values along each other.
* The same argument from ``d = 0`` bounds the output itself by ``|scale| Q K V / (1 - λ)``. So the
  change is at most ``λ^n <= 2^-bits`` of the largest output that such norms allow. With 24 bits
  that is half a unit in the last place of float32 there, which one rounded addition may also cost.
* A state that is older than the horizon changes the state now by ``λ^n S``, so in every entry by at
  most ``2^-bits`` of what it was.

The bound is against the *largest possible* output. Where terms cancel, the actual output can be far
smaller and the relative error larger, as it is for the sum's own rounding. A head that does not
decay has no horizon: its series does not converge and nothing may be left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

UNBOUNDED = torch.iinfo(torch.int64).max
"""Horizon of a head that does not decay: beyond any length. Compare with it, do not add to it."""


def horizon(slopes: torch.Tensor, bits: int = 24) -> torch.Tensor:
    """Smallest n with ``exp(-s·n) <= 2^-bits``, for every head.

    Runs on the slopes' device without waiting for it. Slopes that are not positive numbers (0, NaN)
    have no horizon. At ``s·n`` within 1e-16, relatively, of the threshold the answer may be n or
    n + 1.

    Args:
        slopes: floating, any shape, usually ``[heads]``.
        bits: weight that counts as nothing, ``>= 1``: 24 for sums in float32, 53 in float64.

    Returns:
        int64, the slopes' shape, each from 1 to :data:`UNBOUNDED`.
    """
    if bits < 1:
        raise ValueError(f"found bits={bits}; expected at least 1")
    s = slopes.double()
    threshold = bits * math.log(2.0)
    n = (threshold / s).ceil().clamp(min=1)
    # The quotient is rounded: it may land one above or below where s·n crosses the threshold.
    n = torch.where((n > 1) & (s * (n - 1) >= threshold), n - 1, n)
    n = torch.where(s * n < threshold, n + 1, n)
    bounded = (s > 0) & (n < 2.0**62)
    return torch.where(bounded, n, 0.0).long().masked_fill(~bounded, UNBOUNDED)


def tail(slopes: torch.Tensor, distance: torch.Tensor | int) -> torch.Tensor:
    """``Σ_{d>=distance} λ^d = λ^distance / (1 - λ)``, float64: the weight of all older tokens.

    Infinite for a head that does not decay. ``distance`` is an integer or int64 that broadcasts
    with ``slopes``; distances from :func:`horizon` are fine, :data:`UNBOUNDED` included.
    """
    s = slopes.double()
    far = torch.as_tensor(distance, device=s.device).double()
    return torch.exp(-s * far) / -torch.expm1(-s)


def left_out(
    slopes: torch.Tensor,
    distance: torch.Tensor | int,
    *,
    q: float,
    k: float,
    v: float,
    scale: float = 1.0,
) -> torch.Tensor:
    """Largest ``|Δo|``, float64 ``[heads]``, when tokens ``distance`` and further back are left
    out.

    ``|scale| · q · k · v · λ^distance / (1 - λ)``, see this module's text for the proof.

    Args:
        slopes: ``[heads]``.
        distance: first distance that is left out, per head or for all.
        q, k, v: upper bounds of the Euclidean norms of single tokens' q, k and v.
        scale: the operator's scale.
    """
    return abs(scale) * q * k * v * tail(slopes, distance)


def share_beyond(
    slopes: Sequence[torch.Tensor], distances: Sequence[int], bits: int = 24
) -> list[float]:
    """Share of all heads whose horizon is longer than each distance: who sees past it.

    Args:
        slopes: one tensor ``[heads]`` for every layer that counts.
        distances: in tokens.
        bits: as for :func:`horizon`.

    Returns:
        A fraction from 0 to 1 for every distance.
    """
    horizons = torch.cat([horizon(layer, bits).flatten() for layer in slopes])
    return [float((horizons > distance).double().mean()) for distance in distances]
