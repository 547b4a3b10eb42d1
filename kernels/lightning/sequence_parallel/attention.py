"""The attention of one rank, with its all-gather forward and its all-gather backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
import torch.distributed as dist

from kernels.lightning.checks import check_activation
from kernels.lightning.sequence_parallel.shares import Share, share
from kernels.lightning.sequence_parallel.sums import (
    combine,
    local_gradient,
    local_state,
    no_state,
)

# torch 2.13 gave the collective a new name and deprecated the old one.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor

Gather = Callable[[torch.Tensor], torch.Tensor]
"""``[...]`` of this rank to ``[ranks, ...]`` of all."""


class Attention(Protocol):
    """What runs on one rank: ``kernels.lightning.lightning_attention`` or its equal."""

    def __call__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        slopes: torch.Tensor,
        *,
        initial_state: torch.Tensor | None = None,
        output_final_state: bool = False,
        cu_seqlens: torch.Tensor | None = None,
        scale: float = 1.0,
        activation: str | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]: ...


def lasp_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    *,
    group: dist.ProcessGroup | None = None,
    lengths: Sequence[int] | None = None,
    cu_seqlens: torch.Tensor | Sequence[int] | None = None,
    scale: float = 1.0,
    activation: str | None = None,
    horizons: Sequence[int] | None = None,
    attention: Attention | None = None,
) -> torch.Tensor:
    """Lightning attention of this rank's tokens, in the sequence that the group's ranks hold.

    Equal to ``lightning_attention`` on one device but for rounding, gradients of q, k and v
    included.

    Args:
        q, k, v: this rank's tokens, ``[B, n, H, K]``, ``[B, n, Hk, K]``, ``[B, n, Hk, V]``.
        slopes: ``[H]``.
        group: the ranks, in the order of their tokens; all ranks if left out.
        lengths: tokens on each rank; all as many as here if left out.
        cu_seqlens: boundaries of packed sequences (B = 1) over all ranks' tokens, the same on every
            rank. Read on the host: on a GPU this waits for it, so keep it on the CPU.
        scale: a factor on the output.
        activation: "silu" applies SiLU to q, k and v, of which gradients are then those before it;
            None takes them as they are.
        horizons: ``horizon(slopes, bits).tolist()``, computed once per layer: leaves out tokens
            whose weight on the other side of an edge is below ``2^-bits``. Without it all are
            summed.
        attention: what runs on one rank; ``kernels.lightning.lightning_attention`` if left out. It
            must honour the gradient of its final state.

    Returns:
        ``o [B, n, H, V]`` in q's dtype.

    Raises:
        ValueError: lengths or boundaries do not fit the group and the tokens; an unknown
            activation.
    """
    rank, world = dist.get_rank(group), dist.get_world_size(group)
    tokens = q.shape[1]
    lengths = [tokens] * world if lengths is None else list(lengths)
    if len(lengths) != world or lengths[rank] != tokens:
        raise ValueError(
            f"found lengths {lengths} on rank {rank} of {world} with {tokens} tokens; expected one "
            "length per rank, this rank's being its tokens"
        )
    if isinstance(cu_seqlens, torch.Tensor):
        cu_seqlens = cu_seqlens.tolist()
    if cu_seqlens is not None and len(q) != 1:
        raise ValueError(f"found a batch of {len(q)} with cu_seqlens; expected 1: pack along T")

    def gather(x: torch.Tensor) -> torch.Tensor:
        out = x.new_empty(world * x.shape[0], *x.shape[1:])
        _all_gather(out, x.contiguous(), group=group)
        return out.view(world, *x.shape)

    mine = share(lengths, rank, cu_seqlens)
    return attend(
        q, k, v, slopes, mine, gather,
        scale=scale, activation=activation, horizons=horizons, attention=attention,
    )  # fmt: skip


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    mine: Share,
    gather: Gather,
    *,
    scale: float = 1.0,
    activation: str | None = None,
    horizons: Sequence[int] | None = None,
    attention: Attention | None = None,
) -> torch.Tensor:
    """:func:`lasp_attention` with the share worked out and any way to gather."""
    check_activation(activation)
    if attention is None:
        from kernels.lightning.api import lightning_attention

        attention = lightning_attention
    state = None
    if mine.exchange:
        with torch.no_grad():
            local = (
                local_state(
                    k, v, slopes, tokens=mine.tail, horizons=horizons, activation=activation
                )
                if mine.after
                else no_state(q, v)
            )
            gathered = gather(local)
            state = combine(gathered, mine.before, slopes) if mine.before else None
            del gathered
    o, final = _attend_from(state, q, k, v, slopes, mine, scale, activation, attention)
    if not mine.exchange:
        return o
    result: torch.Tensor = _Exchange.apply(  # type: ignore[no-untyped-call]
        o, final, q, slopes, mine, gather, scale, activation, horizons
    )
    return result


class _Exchange(torch.autograd.Function):
    """Passes o on; backward, gathers what later ranks make of this rank's final state.

    Standing after the attention, it runs before the attention's own backward and hands it the
    gradient of its final state, so that one sweep does for both.
    """

    @staticmethod
    def forward(
        ctx: Any,
        o: torch.Tensor,
        final: torch.Tensor | None,  # noqa: ARG004 - an input for the sake of its gradient
        q: torch.Tensor,
        slopes: torch.Tensor,
        mine: Share,
        gather: Gather,
        scale: float,
        activation: str | None,
        horizons: Sequence[int] | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(q, slopes)
        ctx.mine, ctx.gather, ctx.horizons = mine, gather, horizons
        ctx.scale, ctx.activation = scale, activation
        return o.view_as(o)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, do: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, slopes = ctx.saved_tensors
        mine: Share = ctx.mine
        local = (
            local_gradient(
                q, do, slopes,
                tokens=mine.head, horizons=ctx.horizons, scale=ctx.scale, activation=ctx.activation,
            )
            if mine.before
            else no_state(q, do)
        )  # fmt: skip
        gathered = ctx.gather(local)
        dfinal = combine(gathered, mine.after, slopes) if mine.after else None
        return do, dfinal, *(None,) * 7


def _attend_from(
    state: torch.Tensor | None,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    slopes: torch.Tensor,
    mine: Share,
    scale: float,
    activation: str | None,
    attention: Attention,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """This rank's o, and the state after its last token when a later rank starts from it."""
    sequences, keys = len(mine.boundaries) + 1, q.shape[3]
    cuts = {0, mine.tokens}
    if sequences > 1 and 2 * sequences * keys > mine.tokens:
        # States for all of these sequences would take more memory than o, for the sake of the two
        # at the edges: these get calls of their own.
        cuts |= {mine.head} if mine.before else set()
        cuts |= {mine.tokens - mine.tail} if mine.after else set()
    edges = sorted(cuts) if mine.tokens else [0, 0]
    sizes = [end - start for start, end in pairwise(edges)]
    outputs, final = [], None
    parts = zip(*(torch.split(x, sizes, dim=1) for x in (q, k, v)), strict=True)
    for start, size, (qs, ks, vs) in zip(edges[:-1], sizes, parts, strict=True):
        first, last = start == 0, start + size == mine.tokens
        inside = [b - start for b in mine.boundaries if start < b < start + size]
        initial = state if first else None
        if initial is not None and inside:
            fresh = initial.new_zeros(len(inside), *initial.shape[1:])
            initial = torch.cat([initial, fresh])
        result = attention(
            qs,
            ks,
            vs,
            slopes,
            initial_state=initial,
            output_final_state=last and bool(mine.after),
            cu_seqlens=torch.tensor([0, *inside, size], dtype=torch.int32, device=q.device)
            if inside
            else None,
            scale=scale,
            activation=activation,
        )
        o, states = result if isinstance(result, tuple) else (result, None)
        outputs.append(o)
        final = None if states is None else states[-1:] if inside else states
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1), final
