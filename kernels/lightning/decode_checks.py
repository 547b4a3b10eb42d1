"""What a decode step relies on, checked before its launch."""

from __future__ import annotations

import torch

MAX_HEAD = 256
"""Largest K and V."""

MAX_TOKENS = 8
"""Most tokens of a row that one launch takes; longer rows are prefills."""

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
INDICES = (torch.int32, torch.int64)


def shape(x: torch.Tensor) -> tuple[int, ...]:
    """As a tuple, which prints shorter."""
    return tuple(x.shape)


def check_inputs(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    states: torch.Tensor,
    slopes: torch.Tensor,
) -> None:
    """What a launch of four-dimensional q, k and v relies on."""
    if q.dtype not in FLOATS or k.dtype != q.dtype or v.dtype != q.dtype:
        raise TypeError(
            f"found q {q.dtype}, k {k.dtype}, v {v.dtype}; expected one dtype of "
            "float32, bfloat16, float16"
        )
    if states.dtype != torch.float32 or slopes.dtype != torch.float32:
        raise TypeError(f"found states {states.dtype}, slopes {slopes.dtype}; expected float32")
    found = f"found q {shape(q)}, k {shape(k)}, v {shape(v)}"
    if q.dim() != 4 or k.dim() != 4 or v.dim() != 4:
        raise ValueError(f"{found}; expected four dimensions each")
    B, T, H, K = q.shape
    Hk, V = v.shape[2:]
    if k.shape != (B, T, Hk, K) or v.shape != (B, T, Hk, V):
        raise ValueError(f"{found}; expected q [B, T, H, K], k [B, T, Hk, K], v [B, T, Hk, V]")
    if Hk == 0 or H == 0 or H % Hk:
        raise ValueError(f"found {H} query heads over {Hk} key heads, expected a multiple of them")
    if not (1 <= K <= MAX_HEAD and 1 <= V <= MAX_HEAD):
        raise ValueError(f"found head sizes {K} and {V}, expected 1 to {MAX_HEAD}")
    if not 1 <= T <= MAX_TOKENS:
        raise ValueError(
            f"found {T} tokens a row, expected 1 to {MAX_TOKENS}; lightning_attention takes more"
        )
    if states.dim() != 4 or states.shape[1:] != (H, K, V):
        raise ValueError(f"found states {shape(states)}, expected [pages, {H}, {K}, {V}]")
    dense = all(
        size == 1 or stride == expected
        for size, stride, expected in zip(
            states.shape[2:], states.stride()[2:], (V, 1), strict=True
        )
    )
    if not dense or any(
        n > 1 and not s for n, s in zip(states.shape, states.stride(), strict=True)
    ):
        raise ValueError(
            f"found states with strides {states.stride()}, expected every [K, V] contiguous and no "
            "page expanded; they are updated in place and cannot be copied"
        )
    if slopes.shape != (H,):
        raise ValueError(f"found slopes {shape(slopes)}, expected [{H}]")
    inputs = {"q": q, "k": k, "v": v, "states": states, "slopes": slopes}
    devices = {name: str(x.device) for name, x in inputs.items()}
    if len(set(devices.values())) > 1:
        raise ValueError(f"found tensors on several devices: {devices}; move them to one")
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs.values()):
        raise ValueError(
            "found an input that requires gradients; a decode step has none: call it under "
            "torch.no_grad(), or train with lightning_attention"
        )


def check_index(
    name: str, index: torch.Tensor | None, expected: tuple[int, ...], device: torch.device
) -> None:
    """The dtype, shape and device of an index of pages that was given."""
    if index is None:
        return
    if index.dtype not in INDICES:
        raise TypeError(f"found {name} {index.dtype}, expected int32 or int64")
    if index.shape != expected:
        raise ValueError(f"found {name} {shape(index)}, expected {expected}")
    if index.device != device:
        raise ValueError(f"found {name} on {index.device} and q on {device}; move it there")


def check_pages(
    state_index: torch.Tensor | None, write_index: torch.Tensor | None, rows: int, pages: int
) -> None:
    """Pages inside the pool, and each with one writer: on a GPU this would wait for the device."""
    read = list(range(rows)) if state_index is None else state_index.tolist()
    written = [[page] for page in read] if write_index is None else write_index.tolist()
    writers: dict[int, int] = {}
    for row, targets in enumerate(written):
        if read[row] < 0:
            continue
        for page in (read[row], *targets):
            if page >= pages:
                raise ValueError(f"found page {page} in row {row}, expected below {pages}")
        for page in targets:
            if page in writers:
                raise ValueError(
                    f"found page {page} written twice, by row {writers[page]} and row {row}; "
                    "give every row pages of its own"
                )
            if page >= 0:
                writers[page] = row
    for row, page in enumerate(read):
        if writers.get(page, row) != row:
            raise ValueError(
                f"found page {page} read by row {row} and written by row {writers[page]}; "
                "give every row pages of its own"
            )
