r"""What a state holds, and how it is handed between this project and others.

The recurrence (MiniMax-01 §2.2.1 with the released code's decay) is, per head, ``λ = exp(-s)``,

    S_t = λ S_{t-1} + k_t v_tᵀ          o_t = scale · q_tᵀ S_t

and *the state* is ``S_T``: float32 ``[N, H, K, V]``, the sum up to and with the last token, which
has not decayed yet. N is the batch, or the number of sequences when packed. It does not depend on
``scale``. An ``initial_state`` is ``S_0``: the first token sees ``λ S_0``.

In chunks of C tokens, i = 1..C inside a chunk, unrolling gives for the state R before the chunk

    o_i = scale · ( λ^i q_iᵀ R + Σ_{j<=i} λ^{i-j} (q_i·k_j) v_j )
    S   = λ^C R + Σ_j λ^{C-j} k_j v_jᵀ

which is how transformers computes (``query_decay = exp(-s·i)``, ``key_decay = exp(-s·(C - i))``
with i from 1). OpenNLPLab's kernels (lightning-attention, LASP) count i from 0:

    o_i = scale · ( λ^i q_iᵀ R' + Σ_{j<=i} λ^{i-j} (q_i·k_j) v_j ),   i = 0..C-1
    S'  = λ^C R' + Σ_j λ^{C-j} k_j v_jᵀ,                              j = 0..C-1

The outputs are the same when ``R' = λ R``, and then ``S' = λ S``: their state has decayed once
more, in readiness for the next token. Nothing in the outputs tells the two apart, but a state of
one handed to the other is wrong by the factor ``λ`` or ``1/λ``: in the fastest head of
MiniMax-Text-01, ``s = 0.917``, it is 0.4 or 2.5 times what it should be.
"""

from __future__ import annotations

import torch


def to_lasp(state: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """``λ S``: a state as OpenNLPLab's LASP and lightning-attention kernels carry it.

    Source: OpenNLPLab/LASP, ``lasp_naive.py``, which weighs key i of a block, i from 0, by
    ``exp(-s (BLOCK - i))``.

    Args:
        state: ``[..., H, K, V]`` in this project's convention.
        slopes: ``[H]``.

    Returns:
        The state's shape and dtype.
    """
    return state * _decay(state, slopes)


def from_lasp(state: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """``S'/λ``: the inverse of :func:`to_lasp`, same arguments.

    Division by a decay that float32 rounds to 0 (slopes above 103) gives Inf or NaN: such a state
    holds nothing of what it was.
    """
    return state / _decay(state, slopes)


def to_hugging_face(state: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The cache entry ``attn_weights_inter`` ``[B, H, K, V]`` of transformers' ``minimax``.

    The convention is the same, so only the dtype can change: transformers' cache starts in the
        dtype
    of the values (``MiniMaxLightningAttention.forward``, read in 4.57.6 and 5.23.0), the released
    remote code keeps float32.

    Args:
        state: ``[B, H, K, V]`` in this project's convention.
        dtype: of the result; the state's own when left out.
    """
    return state if dtype is None else state.to(dtype)


def from_hugging_face(state: torch.Tensor) -> torch.Tensor:
    """A state, float32 (float64 stays), from the cache entry of :func:`to_hugging_face`."""
    return state if state.dtype == torch.float64 else state.float()


def _decay(state: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """``exp(-s)``, shaped to multiply a state."""
    if slopes.dim() != 1 or state.dim() < 3 or state.shape[-3] != slopes.shape[0]:
        raise ValueError(
            f"found a state {list(state.shape)} and slopes {list(slopes.shape)}; "
            "expected [..., heads, K, V] and [heads]"
        )
    return torch.exp(-slopes.double()).to(state.dtype)[:, None, None]
