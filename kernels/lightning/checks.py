"""What ``lightning_attention`` refuses, before anything is launched."""

from __future__ import annotations

import torch

from kernels.triton_support import runs_triton

HEAD_SIZES = (16, 32, 64, 96, 128, 256)
"""Sizes of q and k, and of v, that the kernels take."""
DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def check_boundaries(cu_seqlens: torch.Tensor, tokens: int) -> None:
    """Raise ValueError unless ``cu_seqlens`` goes from 0 to ``tokens`` and never falls.

    On a GPU this waits for the values; call it where data is made, not in every layer.
    """
    ends = cu_seqlens.tolist()
    falls = [n for n in range(len(ends) - 1) if ends[n + 1] < ends[n]]
    if ends[0] != 0 or ends[-1] != tokens or falls:
        where = f", falling behind entry {falls[0]}" if falls else ""
        raise ValueError(
            f"found cu_seqlens from {ends[0]} to {ends[-1]}{where}; expected boundaries from 0 to "
            f"T={tokens} that never fall"
        )


def check_activation(activation: str | None) -> None:
    """Raise ValueError unless ``activation`` is None or ``"silu"``."""
    if activation not in (None, "silu"):
        raise ValueError(f"found activation={activation!r}, expected None or 'silu'")


def check(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    activation: str | None = None,
) -> None:
    """Raise TypeError or ValueError for all that can be told without reading values."""
    check_activation(activation)
    named = {"q": q, "k": k, "v": v, "slopes": slopes}
    if initial_state is not None:
        named["initial_state"] = initial_state
    if cu_seqlens is not None:
        named["cu_seqlens"] = cu_seqlens
    for name, x in named.items():
        if x.device != q.device:
            raise ValueError(f"found {name} on {x.device} and q on {q.device}; move it there")
    for name in ("q", "k", "v"):
        x = named[name]
        if x.dim() != 4:
            raise ValueError(f"found {name} {list(x.shape)}; expected [B, T, heads, head size]")
        if x.dtype not in DTYPES or x.dtype != q.dtype:
            raise TypeError(
                f"found {name} of {x.dtype} and q of {q.dtype}; expected bfloat16, float16 or "
                "float32, the same for all"
            )
    batch, _, heads, key_size = q.shape
    if k.shape[:3] != v.shape[:3] or k.shape[:2] != q.shape[:2] or k.shape[3] != key_size:
        raise ValueError(
            f"found q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}; "
            "expected [B, T, H, K], [B, T, Hk, K], [B, T, Hk, V]"
        )
    if heads < 1 or k.shape[2] < 1 or heads % k.shape[2]:
        raise ValueError(
            f"found {heads} heads of q and {k.shape[2]} of k and v; expected a multiple of these"
        )
    any_size = not (runs_triton(q) or q.is_meta)
    for name, size in (("q and k", key_size), ("v", v.shape[3])):
        if size not in HEAD_SIZES and not any_size:
            raise ValueError(
                f"found head size {size} of {name}; the kernels take "
                f"{', '.join(map(str, HEAD_SIZES))}: pad with zeros to the next"
            )
    if slopes.shape != (heads,):
        raise ValueError(f"found slopes {list(slopes.shape)}; expected one a head of q, [{heads}]")
    if slopes.dtype != torch.float32:
        raise TypeError(f"found slopes of {slopes.dtype}; expected float32")
    sequences = batch
    if cu_seqlens is not None:
        if cu_seqlens.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"found cu_seqlens of {cu_seqlens.dtype}; expected int32 or int64")
        if cu_seqlens.dim() != 1 or cu_seqlens.shape[0] < 2 or batch != 1:
            raise ValueError(
                f"found cu_seqlens {list(cu_seqlens.shape)} and a batch of {batch}; expected "
                "[N + 1] with N >= 1 and a batch of 1: pack sequences along T"
            )
        sequences = cu_seqlens.shape[0] - 1
    expected = (sequences, heads, key_size, v.shape[3])
    if initial_state is not None:
        if initial_state.shape != expected:
            raise ValueError(
                f"found initial_state {list(initial_state.shape)}; expected {list(expected)}"
            )
        if initial_state.dtype != torch.float32:
            raise TypeError(f"found initial_state of {initial_state.dtype}; expected float32")
