"""Lightning attention in plain torch: as its definition, as a mask, and in chunks.

Per head, with ``λ = exp(-s)`` and ``s >= 0`` (MiniMax-01 §2.2.1 with the released code's decay):

    S_t = λ S_{t-1} + k_t v_tᵀ          o_t = scale · q_tᵀ S_t

``recurrence`` is that, token by token in float64, and judges every other form. ``masked`` is the
same sum written as a product of matrices with a mask, quadratic in length. ``chunked`` is the form
that runs where no kernel does: linear in time and memory, differentiable by autograd, exact in
float64 when given float64 (on GPUs too).

All take the same arguments:

* ``q [B, T, H, K]``, ``k [B, T, Hk, K]``, ``v [B, T, Hk, V]``: of one floating dtype, any strides,
  any T from 0. Hk divides H; head h reads k and v of head ``h // (H/Hk)``.
* ``slopes [H]``: finite, ``>= 0``, see ``kernels.lightning.slopes``.
* ``initial_state [N, H, K, V]``: S_0, zero when left out (``kernels.lightning.states``).
* ``cu_seqlens [N+1]``: int32 or int64, from 0 to T, never falling: boundaries of sequences packed
  into one row (B = 1), of which some may be empty. The state starts anew at each.
* ``scale``: a factor on the output. The released model has none, not even 1/√K.
* ``activation``: "silu" applies SiLU to q, k and v first, as the released model does; None, the
  default, nothing.

They raise TypeError on dtypes and ValueError on shapes and boundaries.
"""

from __future__ import annotations

from itertools import pairwise

import torch

from kernels.lightning.checks import check_activation


def recurrence(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    *,
    initial_state: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    scale: float = 1.0,
    activation: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition, one token at a time, in float64.

    Returns:
        ``o [B, T, H, V]`` and the states after each sequence's last token ``[N, H, K, V]``, both
        float64 and never rounded to the inputs' dtype.
    """
    sequences(q, k, v, slopes, initial_state, cu_seqlens)
    q, k, v = activate(activation, q.double(), k.double(), v.double())
    decay = torch.exp(-slopes.double())[:, None, None]
    k, v = per_query_head(k, q), per_query_head(v, q)
    if cu_seqlens is not None:
        # One row of sequences: each is a batch of its own.
        ends = cu_seqlens.tolist()
        parts = [
            recurrence(
                q[:, start:end],
                k[:, start:end],
                v[:, start:end],
                slopes,
                initial_state=None if initial_state is None else initial_state[n : n + 1],
                scale=scale,
            )
            for n, (start, end) in enumerate(pairwise(ends))
        ]
        return torch.cat([o for o, _ in parts], dim=1), torch.cat([s for _, s in parts])
    state = first_state(initial_state, q, v, len(q))
    outputs = []
    for t in range(q.shape[1]):
        state = decay * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append(scale * (q[:, t, :, None, :] @ state).squeeze(-2))
    o = torch.stack(outputs, dim=1) if outputs else v.new_zeros(v.shape)
    return o, state


def masked(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    *,
    cu_seqlens: torch.Tensor | None = None,
    scale: float = 1.0,
    activation: str | None = None,
) -> torch.Tensor:
    """``o = scale · (QKᵀ ⊙ D) V`` with ``D_tu = λ^{t-u}`` for ``u <= t`` of one sequence, else 0.

    Lightning Attention's left product (MiniMax-01 §2.2.1; TNL, arXiv:2405.17381). Quadratic in T;
    takes no initial state.

    Returns:
        ``o [B, T, H, V]``, float64.
    """
    sequences(q, k, v, slopes, None, cu_seqlens)
    q, k, v = activate(activation, q.double(), k.double(), v.double())
    k, v = per_query_head(k, q), per_query_head(v, q)
    t = torch.arange(q.shape[1], device=q.device)
    distance = t[:, None] - t[None, :]
    seen = distance >= 0
    if cu_seqlens is not None:
        number = torch.searchsorted(cu_seqlens.to(t), t, right=True)
        seen &= number[:, None] == number[None, :]
    mask = torch.exp(-slopes.double()[:, None, None] * distance.clamp(min=0)) * seen
    return scale * torch.einsum("bthk,buhk,htu,buhv->bthv", q, k, mask, v)


def chunked(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    *,
    initial_state: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    scale: float = 1.0,
    activation: str | None = None,
    chunk: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Chunks of C tokens: inside one the masked product, between them the state.

    With R the state before a chunk of m <= C tokens and i, j = 1..m inside it,

        o_i = scale · ( λ^i q_iᵀ R + Σ_{j<=i} λ^{i-j} (q_i·k_j) v_j )
        S   = λ^m R + Σ_j λ^{m-j} k_j v_jᵀ

    (TNL, arXiv:2405.17381, algorithms 5 and 6; MiniMax-01 §2.2.1). Every power of λ is 1 or below,
    so nothing overflows. Chunks are independent but for R, which one pass over them adds up: all
    sequences and heads at once, so its steps are the chunks of the longest sequence. A sequence is
    padded to whole chunks, never to another's length.

    Arithmetic is float32, or float64 for float64 inputs. A NaN or Inf stays in its sequence and
    reaches all later tokens, as in the recurrence, and may reach earlier tokens of its own chunk.

    Args:
        chunk: C; chosen from K, V and the longest sequence when left out.

    Returns:
        ``o [B, T, H, V]`` in q's dtype, and the states ``[N, H, K, V]`` in float32 (float64).
    """
    lengths = sequences(q, k, v, slopes, initial_state, cu_seqlens)
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    given, device = q, q.device
    q, k, v = activate(activation, q.to(dtype), k.to(dtype), v.to(dtype))
    q = q * scale
    k, v = per_query_head(k, q), per_query_head(v, q)
    state = first_state(initial_state, q, v, len(lengths))
    if chunk is None:
        chunk = chunk_size(max(lengths, default=0), q.shape[-1], v.shape[-1])
    if chunk < 1:
        raise ValueError(f"found chunk={chunk}; expected at least 1")

    plan = _Plan(lengths, chunk, device)
    # [chunks, H, C, D], the first chunks of all sequences first, then their second ones, and so on.
    q, k, v = plan.cut(q), plan.cut(k), plan.cut(v)

    # Decays are made in float64: in float32 the rounding of the exponent would show.
    s = slopes.to(device, torch.float64)
    i = torch.arange(chunk, device=device, dtype=torch.float64)
    inside = torch.exp(-s[:, None, None] * (i[:, None] - i).clamp(min=0)).tril().to(dtype)
    since_start = torch.exp(-s[:, None] * (i + 1)).to(dtype)[..., None]
    filled = plan.filled.double()
    left = (filled[:, None] - 1 - i).clamp(min=0)  # tokens between one and its chunk's last
    until_end = torch.exp(-s[:, None] * left[:, None, :]).to(dtype)[..., None]
    # λ^m - 1 and not λ^m: rounded to float32 a slow decay is off to the same side at every chunk.
    # Over the 1/(1 - λ^m) chunks that a state remembers, this adds up to a relative error of 8e-6
    # in a slow head of MiniMax-Text-01 (layer 78, head 62, chunks of 64).
    shrink = torch.expm1(-s * filled[:, None]).to(dtype)[..., None, None]

    added = (k * until_end).transpose(-1, -2) @ v
    before, state = _scan(added, shrink, state[plan.order], plan.active)
    o = ((q @ k.transpose(-1, -2)) * inside) @ v + (q * since_start) @ before
    final = state[plan.order.argsort()]
    return plan.join(o).reshape(*given.shape[:3], v.shape[-1]).to(given.dtype), final


def chunk_size(longest: int, k: int, v: int) -> int:
    """Tokens per chunk for sequences of up to ``longest`` tokens and head sizes ``k`` and ``v``.

    Per token and head the product inside a chunk costs ``C·(K + V)`` multiplications and the state
    ``2·K·V``; a chunk near the head size balances them, and the states take no more memory than k
    and v. Below 32 the cost of each call outweighs both.
    """
    balanced = 1 << (max(k, v, 1) - 1).bit_length()
    needed = 1 << max(longest - 1, 0).bit_length()
    return min(max(32, min(balanced, 128)), max(needed, 1))


def activate(activation: str | None, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The tensors, or SiLU of each: ``x / (1 + e^-x)``, in the precision they have."""
    check_activation(activation)
    if activation is None:
        return tensors
    return tuple(torch.nn.functional.silu(x) for x in tensors)


def per_query_head(x: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """``x [B, T, Hk, D]`` with every head repeated for the heads of q that read it."""
    group = q.shape[2] // x.shape[2]
    return x if group == 1 else x.repeat_interleave(group, dim=2)


def first_state(
    initial_state: torch.Tensor | None, q: torch.Tensor, v: torch.Tensor, sequences: int
) -> torch.Tensor:
    """``initial_state`` in q's dtype, or zeros ``[sequences, H, K, V]``."""
    if initial_state is not None:
        return initial_state.to(q.dtype)
    return q.new_zeros(sequences, q.shape[2], q.shape[3], v.shape[3])


def sequences(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    initial_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
) -> list[int]:
    """The length of every sequence, once all arguments are found to fit.

    Reads ``cu_seqlens`` on the host: on a GPU this waits for it.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.dim() != 4:
            raise ValueError(f"found {name} {list(x.shape)}; expected [B, T, heads, head size]")
        if not x.is_floating_point() or x.dtype != q.dtype:
            raise TypeError(
                f"found {name} of {x.dtype} and q of {q.dtype}; expected one floating dtype"
            )
    batch, tokens, heads, key = q.shape
    if k.shape[:3] != v.shape[:3] or k.shape[:2] != (batch, tokens) or k.shape[3] != key:
        raise ValueError(
            f"found q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}; "
            "expected [B, T, H, K], [B, T, Hk, K], [B, T, Hk, V]"
        )
    if k.shape[2] < 1 or heads % k.shape[2]:
        raise ValueError(f"found {heads} heads of q and {k.shape[2]} of k; expected a multiple")
    if slopes.shape != (heads,):
        raise ValueError(f"found slopes {list(slopes.shape)}; expected one per head: [{heads}]")
    if not slopes.is_floating_point():
        raise TypeError(f"found slopes of {slopes.dtype}; expected a floating dtype")
    lengths = [tokens] * batch if cu_seqlens is None else _packed(cu_seqlens, batch, tokens)
    expected = (len(lengths), heads, key, v.shape[3])
    if initial_state is not None and initial_state.shape != expected:
        raise ValueError(
            f"found initial_state {list(initial_state.shape)}; expected [N, H, K, V]: "
            f"{list(expected)}"
        )
    return lengths


def _packed(cu_seqlens: torch.Tensor, batch: int, tokens: int) -> list[int]:
    """Lengths of the sequences that ``cu_seqlens`` bounds."""
    if cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"found cu_seqlens of {cu_seqlens.dtype}; expected int32 or int64")
    if cu_seqlens.dim() != 1 or len(cu_seqlens) < 2 or batch != 1:
        raise ValueError(
            f"found cu_seqlens {list(cu_seqlens.shape)} and a batch of {batch}; expected [N+1] "
            "with N >= 1 and a batch of 1: pack sequences along T"
        )
    ends = cu_seqlens.tolist()
    lengths = [end - start for start, end in pairwise(ends)]
    if ends[0] != 0 or ends[-1] != tokens or min(lengths) < 0:
        raise ValueError(
            f"found cu_seqlens from {ends[0]} to {ends[-1]}, shortest sequence {min(lengths)}; "
            f"expected from 0 to T={tokens} and never falling"
        )
    return lengths


class _Plan:
    """Where each token of some sequences goes when they are cut into chunks.

    Sequences are taken longest first, so that those with a j-th chunk are the first ``active[j]``,
    and chunks in the order of their j: one step of the scan reads neighbours.
    """

    def __init__(self, lengths: list[int], chunk: int, device: torch.device) -> None:
        self.chunk = chunk
        length = torch.tensor(lengths, dtype=torch.int64)
        chunks = (length + chunk - 1) // chunk
        order = chunks.argsort(descending=True, stable=True)
        steps = int(chunks.max()) if lengths else 0
        has = (
            torch.arange(steps)[:, None] < chunks[order]
        )  # [steps, N]: has this sequence a chunk j
        self.active: list[int] = has.sum(1).tolist()
        done = chunk * torch.arange(steps)[:, None]
        filled = (length[order] - done).clamp(max=chunk)[has]
        # A token's slot: the row of its chunk among all, and its place in there.
        row = torch.full(has.shape, -1)
        row[has] = torch.arange(len(filled))
        sequence = torch.repeat_interleave(torch.arange(len(lengths)), length)
        position = torch.arange(len(sequence)) - (length.cumsum(0) - length)[sequence]
        row = row[position // chunk, order.argsort()[sequence]]
        self.slots = (row * chunk + position % chunk).to(device)
        self.filled = filled.to(device)  # tokens in each chunk
        self.order = order.to(device)

    def cut(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, T, H, D]`` to ``[chunks, H, C, D]``, padded with zeros."""
        heads, size = x.shape[2:]
        flat = x.new_zeros(len(self.filled) * self.chunk, heads, size)
        # A copy by index and not a gather: its gradient is a gather, and so needs no atomics.
        flat = flat.index_copy(0, self.slots, x.reshape(-1, heads, size))
        return flat.view(-1, self.chunk, heads, size).transpose(1, 2).contiguous()

    def join(self, x: torch.Tensor) -> torch.Tensor:
        """``[chunks, H, C, D]`` to ``[B·T, H, D]``, padding dropped."""
        flat = x.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])
        return flat.index_select(0, self.slots)


def _scan(
    added: torch.Tensor, shrink: torch.Tensor, state: torch.Tensor, active: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add up chunks' states along each sequence: ``S <- S + (λ^m - 1) S + added``.

    Args:
        added: ``[chunks, H, K, V]``, what each chunk adds, in a plan's order.
        shrink: ``[chunks, H, 1, 1]``, ``λ^m - 1``.
        state: ``[N, H, K, V]``, longest sequence first.
        active: sequences that have a j-th chunk, for every j.

    Returns:
        The states before each chunk, in the same order, and those after each sequence.
    """
    before, after = [], []
    steps = zip(torch.split(added, active), torch.split(shrink, active), active, strict=True)
    for more, less, count in steps:
        if count < len(state):
            state, done = torch.split(state, [count, len(state) - count])
            after.append(done)
        before.append(state)
        state = state + (more + less * state)
    after.append(state)
    return torch.cat(before) if before else added, torch.cat(after[::-1])
