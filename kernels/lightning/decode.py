"""Decoding with lightning attention: a token's state update and read in one launch, in place.

The states of all sequences live in one pool of pages ``[S, H, K, V]``, fp32, and a batch names a
page for each of its rows, so a sequence joins and leaves a batch without its state being moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from kernels.lightning.checks import check_activation
from kernels.lightning.decode_checks import (
    MAX_TOKENS,
    check_index,
    check_inputs,
    check_pages,
    shape,
)
from kernels.triton_support import cdiv, next_power_of_2, runs_triton

if TYPE_CHECKING:
    from kernels.artefacts import Configuration

COLUMNS = 32
"""State columns of a program: 128 bytes a row, a whole line of the cache."""


def lightning_decode(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    states: torch.Tensor,
    slopes: torch.Tensor,
    *,
    state_index: torch.Tensor | None = None,
    write_index: torch.Tensor | None = None,
    scale: float = 1.0,
    activation: str | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """One token of every sequence of a batch: updates states in place, returns the outputs.

    For row b, head h and ``λ = exp(-slopes[h])``, with ``S`` the page ``state_index[b]``::

        S ← λ S + k vᵀ          o = scale · qᵀ S

    (MiniMax-01, section 3.3; Lightning Attention-2, arXiv 2401.04658.) The state is the one that
    ``lightning_attention`` returns, so a prefill's final state is decoded on without conversion.

    Shapes and dtypes:

    * ``q`` [B, H, K], ``k`` [B, Hk, K], ``v`` [B, Hk, V], all of one dtype of fp32, bf16, fp16; any
      strides, so views of a fused projection are read where they lie (one whose last dimension is
      not contiguous is copied first). Head h reads key and value head ``h // (H / Hk)``. K and V
      are at most 256.
    * ``states`` [S, H, K, V] fp32, every ``[K, V]`` contiguous. ``slopes`` [H] fp32, not negative.
    * ``state_index`` [B] int32 or int64: the page of each row. None: row b has page b, and S == B.
      **A negative page is a padding slot**: its output is zero and no state is touched, so a
      captured CUDA graph serves any batch up to its size.
    * Returns ``o`` [B, H, V] in the dtype of ``q``, written to ``out`` if given. ``out`` must not
      overlap an input.

    ``activation="silu"`` applies SiLU to q, k and v as they are read, in fp32 and not rounded back.

    **Several tokens** of a row (speculative decoding, at most 8): ``q`` [B, T, H, K] and so on, the
    output is [B, T, H, V], and the state moves through memory once for all of them.

    ``write_index`` [B] (or [B, T]) leaves the page that is read as it is and writes the state after
    each token to a page of its own; negative: not written. So speculation rolls back by naming
    another page, and a shared prefix is forked while it is decoded.

    Two rows must not write one page, and no row may write a page that another row reads: the result
    is then undefined on a GPU, where the check would wait for the device; on the CPU it raises. A
    page of S or beyond raises on the CPU; on a GPU nothing is touched and the row's output is NaN.

    The result for a row has the same bits in every batch of one dtype, layout and T: the tile
    depends on K and V only. Safe in CUDA graphs after one warm-up call (no tensor is read by the
    host). No gradients.

    Raises ``ValueError`` for shapes, devices, strides or arguments that do not fit, and for inputs
    that ask for gradients; ``TypeError`` for dtypes.
    """
    several = q.dim() == 4
    if not several:
        if q.dim() != 3 or k.dim() != 3 or v.dim() != 3:
            raise ValueError(
                f"found q {shape(q)}, k {shape(k)}, v {shape(v)}; expected three dimensions "
                "each ([B, heads, size]), or four each for several tokens ([B, T, heads, size])"
            )
        q, k, v = q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1)
        out = out if out is None else out.unsqueeze(1)
        if write_index is not None and write_index.dim() == 1:
            write_index = write_index.unsqueeze(1)
    check_activation(activation)
    check_inputs(q, k, v, states, slopes)
    B, T, H, _ = q.shape
    if state_index is None and states.shape[0] != B:
        raise ValueError(
            f"found {states.shape[0]} pages of states for {B} rows without state_index; pass the "
            "page of each row"
        )
    check_index("state_index", state_index, (B,), q.device)
    check_index("write_index", write_index, (B, T), q.device)
    if out is None:
        out = q.new_empty(B, T, H, v.shape[3])
    elif out.shape != (B, T, H, v.shape[3]) or out.dtype != q.dtype or out.device != q.device:
        expected = (B, T, H, v.shape[3]) if several else (B, H, v.shape[3])
        raise ValueError(f"found another out than {expected} in {q.dtype} on {q.device}")
    elif out.stride(3) != 1 and out.shape[3] > 1:
        raise ValueError("found out with a strided last dimension, expected a contiguous one")
    if B:
        _decode(q, k, v, states, slopes, state_index, write_index, scale, activation == "silu", out)
    return out if several else out.squeeze(1)


def decode_reference(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    initial: torch.Tensor,
    slopes: torch.Tensor,
    *,
    scale: float = 1.0,
    activation: str | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The recurrence of :func:`lightning_decode` as it is written, computed in ``dtype``.

    ``q`` [B, T, H, K], ``k`` [B, T, Hk, K], ``v`` [B, T, Hk, V], ``initial`` [B, H, K, V] and
    ``slopes`` [H]. Returns the outputs [B, T, H, V] and the states after every token
    [B, T, H, K, V].
    """
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    if activation == "silu":
        q, k, v = (torch.nn.functional.silu(x) for x in (q, k, v))
    group = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
    decay = torch.exp(-slopes.to(dtype))[:, None, None]
    state = initial.to(dtype)
    outputs, states = [], []
    for t in range(q.shape[1]):
        state = decay * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
        states.append(state)
    return torch.stack(outputs, 1), torch.stack(states, 1)


@torch.library.custom_op("leyden::lightning_decode", mutates_args=("states", "out"))
def _decode(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    states: torch.Tensor,
    slopes: torch.Tensor,
    state_index: torch.Tensor | None,
    write_index: torch.Tensor | None,
    scale: float,
    silu: bool,
    out: torch.Tensor,
) -> None:
    if q.device.type == "cpu":
        check_pages(state_index, write_index, q.shape[0], states.shape[0])
    run = _launch if runs_triton(q) else _plain
    run(q, k, v, states, slopes, state_index, write_index, scale, silu, out)


def _plain(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    states: torch.Tensor,
    slopes: torch.Tensor,
    state_index: torch.Tensor | None,
    write_index: torch.Tensor | None,
    scale: float,
    silu: bool,
    out: torch.Tensor,
) -> None:
    """The float64 recurrence over the pages of the rows that are no padding."""
    page = torch.arange(q.shape[0]) if state_index is None else state_index.long()
    rows = (page >= 0).nonzero().squeeze(1)
    page = page[rows]
    o, after = decode_reference(
        q[rows],
        k[rows],
        v[rows],
        states[page],
        slopes,
        scale=scale,
        activation="silu" if silu else None,
    )
    out.zero_()
    out[rows] = o.to(out.dtype)
    if write_index is None:
        states[page] = after[:, -1].float()
    else:
        target = write_index[rows].long()
        states[target[target >= 0]] = after[target >= 0].float()


def decode_tile(K: int, V: int) -> tuple[int, int, int]:
    """``(K block, columns, warps)`` of a program, by the head sizes.

    16 floats of state a thread: four 16-byte loads in flight, and twice as many threads as K, for
    then Triton reads q and k in the layout of the tile, without a trip through shared memory. The
    batch has no say, so that it cannot change the order of a sum.
    """
    block, columns = next_power_of_2(K), min(COLUMNS, next_power_of_2(V))
    return block, columns, max(1, block * columns // 512)


def _launch(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    states: torch.Tensor,
    slopes: torch.Tensor,
    state_index: torch.Tensor | None,
    write_index: torch.Tensor | None,
    scale: float,
    silu: bool,
    out: torch.Tensor,
) -> None:
    from kernels import sentinel
    from kernels.lightning.decode_device import decode_kernel
    from kernels.lightning.trials.decode import decode_candidate

    sentinel.choose([(decode_candidate(q, k, v, state_index, write_index, silu),)], q.device)
    q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
    slopes = slopes.contiguous()
    B, T, H, K = q.shape
    V = v.shape[3]
    block, columns, warps = decode_tile(K, V)
    # Triton launches on the current device: make it that of the tensors.
    with torch.cuda.device(q.device) if q.is_cuda else nullcontext():
        decode_kernel[(B * H * cdiv(V, columns),)](
            q,
            k,
            v,
            states,
            slopes,
            state_index,
            write_index,
            out,
            states.shape[0],
            H,
            H // k.shape[2],
            float(scale),
            *q.stride()[:3],
            *k.stride()[:3],
            *v.stride()[:3],
            *states.stride()[:2],
            *out.stride()[:3],
            0 if state_index is None else state_index.stride(0),
            *((0, 0) if write_index is None else write_index.stride()),
            TOKENS=T,
            K=K,
            V=V,
            K_BLOCK=block,
            COLUMNS=columns,
            INDEXED=state_index is not None,
            FORKED=write_index is not None,
            SILU=silu,
            num_warps=warps,
            num_stages=1,
        )


def configurations() -> Iterator[Configuration]:
    """Launches over the head sizes, tokens and ways of paging, for the compile check."""
    from kernels.artefacts import Configuration
    from kernels.lightning.decode_device import decode_kernel

    kinds = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    launches = [
        *((K, V, 1, torch.bfloat16) for K, V in ((64, 64), (96, 96), (256, 256), (64, 256))),
        *((128, 128, tokens, dtype) for tokens in (1, 4, MAX_TOKENS) for dtype in kinds),
    ]
    for K, V, tokens, dtype in launches:
        block, columns, warps = decode_tile(K, V)
        constexprs: dict[str, int | None] = {
            "TOKENS": tokens,
            "K": K,
            "V": V,
            "K_BLOCK": block,
            "COLUMNS": columns,
            "INDEXED": True,
            "FORKED": tokens > 1,
            "SILU": True,
        }
        signature = dict.fromkeys(decode_kernel.arg_names, "i32")
        signature |= dict.fromkeys(("q", "k", "v", "out"), f"*{kinds[dtype]}")
        signature |= {"states": "*fp32", "slopes": "*fp32", "scale": "fp32", "read_pages": "*i32"}
        if tokens > 1:
            signature["write_pages"] = "*i32"
        else:
            constexprs["write_pages"] = None
        yield Configuration(
            name=f"lightning-decode-{K}x{V}-{tokens}-{kinds[dtype]}",
            function=decode_kernel,
            signature={name: kind for name, kind in signature.items() if name not in constexprs},
            constexprs=constexprs,
            num_warps=warps,
            num_stages=1,
            expects_tensor_cores=False,
        )
