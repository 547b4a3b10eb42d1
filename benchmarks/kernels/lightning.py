"""Lightning attention over lengths, beside others and the time that copying its tensors takes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.kernels.clock import Clock, Timing
from benchmarks.kernels.peers import Peer, peers
from benchmarks.kernels.shapes import Attention, Sizes
from benchmarks.kernels.table import Table
from kernels.lightning.api import lightning_attention
from kernels.lightning.pieces import Layout, choose_segment, count_pieces
from kernels.lightning.slopes import alibi_slopes, no_decay

FORWARD_TENSORS, BACKWARD_TENSORS = 4, 7
"""q, k, v, o; and q, k, v, do, dq, dk, dv."""


def run(table: Table, clock: Clock, device: torch.device, sizes: Sizes) -> None:
    """Forward and backward at every length; memory; no decay."""
    slopes = alibi_slopes(max(shape.heads for shape in sizes.attention), 0, sizes.layers).to(device)
    per_row: dict[str, list[float]] = {"forward": [], "backward": []}
    agreed = False
    for shape in sizes.attention:
        # Of fewer heads those that decay slowest: the rank that has the most to carry.
        chosen = slopes[-shape.heads :]
        times, agreed = _both_ways(table, clock, device, sizes, shape, chosen, agreed)
        if shape.tokens >= sizes.flat_from:
            for way, timing in times.items():
                per_row[way].append(timing.alone / shape.rows)
    for way, found in per_row.items():
        if found:
            metric = f"{way}: time per token and head, the most over the least, from 8K to 1M"
            table.figure(metric, max(found) / min(found), "times")
    _still(table, clock, device, sizes)
    for shape in sizes.attention:
        if shape.tokens >= sizes.flat_from:
            _memory(table, clock, device, sizes, shape, slopes[-shape.heads :])


def _both_ways(
    table: Table,
    clock: Clock,
    device: torch.device,
    sizes: Sizes,
    shape: Attention,
    slopes: Tensor,
    agreed: bool,
) -> tuple[dict[str, Timing], bool]:
    q, k, v = inputs(shape, sizes.head, device)
    do = torch.randn_like(q)
    one = copies(clock, q, 1)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    ours = times(clock, leaves, lambda q, k, v: _attend(q, k, v, slopes), do)
    others: dict[str, dict[str, Timing | str]] = {"forward": {}, "backward": {}}
    expected = None if agreed else _attend(q, k, v, slopes).detach()
    for peer in peers():
        try:
            found: dict[str, Timing] | str = _times_of_peer(clock, peer, (q, k, v), do, slopes)
            if peer.same and expected is not None:
                _agree(table, peer, expected, (q, k, v), slopes)
                agreed = True
        except Exception as error:  # noqa: BLE001 - its row says what ails a peer
            found = f"{type(error).__name__}: {error}".splitlines()[0][:90]
        for way, row in others.items():
            row[peer.name] = found if isinstance(found, str) else found[way]
    # The recurrence: a state of D x D updated and read at each token. Backward makes the states
    # again, reads them for dq, and has states of its own, updated once and read for dk and dv.
    state = shape.rows * sizes.head**2
    for way, tensors, operations in (
        ("forward", FORWARD_TENSORS, 4 * state),
        ("backward", BACKWARD_TENSORS, 10 * state),
    ):
        table.rows(
            f"{way}, {shape.name}",
            ours[way],
            floor=Timing(one.alone * tensors, one.sustained * tensors),
            peers=others[way],
            moved=tensors * q.nbytes,
            operations=operations,
        )
    return ours, agreed


def _attend(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor) -> Tensor:
    out = lightning_attention(q, k, v, slopes)
    assert isinstance(out, Tensor)
    return out


def inputs(shape: Attention, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator(device).manual_seed(0)

    def normal() -> Tensor:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        x = torch.empty(shape.batch, shape.tokens, shape.heads, size, device=device, dtype=dtype)
        return x.normal_(generator=generator)

    return normal(), normal(), normal()


def copies(clock: Clock, like: Tensor, tensors: int) -> Timing:
    """The time of moving ``tensors`` of this size, from copies, which move two."""
    source, target = like.detach(), torch.empty_like(like)
    copy = clock.time(lambda: target.copy_(source))
    return Timing(copy.alone * tensors / 2, copy.sustained * tensors / 2)


def times(
    clock: Clock, leaves: list[Tensor], call: Callable[..., Tensor], do: Tensor
) -> dict[str, Timing]:
    def forward() -> Tensor:
        with torch.no_grad():
            return call(*leaves)

    out = call(*leaves)
    return {
        "forward": clock.time(forward),
        "backward": clock.time(lambda: torch.autograd.grad(out, leaves, do, retain_graph=True)),
    }


def _times_of_peer(
    clock: Clock, peer: Peer, inputs: tuple[Tensor, Tensor, Tensor], do: Tensor, slopes: Tensor
) -> dict[str, Timing]:
    leaves = [_laid_out(x, peer).requires_grad_() for x in inputs]
    return times(clock, leaves, lambda q, k, v: peer.call(q, k, v, slopes), _laid_out(do, peer))


def _laid_out(x: Tensor, peer: Peer) -> Tensor:
    """A copy in the layout that the peer reads, so that it does not pay for ours."""
    x = x.detach()
    return (x.transpose(1, 2) if peer.heads_first else x).contiguous().clone()


def _agree(
    table: Table,
    peer: Peer,
    expected: Tensor,
    inputs: tuple[Tensor, Tensor, Tensor],
    slopes: Tensor,
) -> None:
    q, k, v = (_laid_out(x, peer) for x in inputs)
    with torch.no_grad():
        out = peer.call(q, k, v, slopes)
    out = out.transpose(1, 2) if peer.heads_first else out
    away = float((out.float() - expected.float()).norm() / expected.float().norm())
    table.figure(f"outputs of {peer.name} and ours apart by", away, "of their norm")


def _still(table: Table, clock: Clock, device: torch.device, sizes: Sizes) -> None:
    """Without decay no state may be left out."""
    longest = sizes.attention[-1]
    q, k, v = inputs(longest, sizes.head, device)
    slopes = no_decay(longest.heads).to(device)
    floor = copies(clock, q, FORWARD_TENSORS)
    ours = clock.time(lambda: _attend(q, k, v, slopes))
    table.rows(f"forward, {longest.name}, no decay", ours, floor=floor)


def _memory(
    table: Table,
    clock: Clock,
    device: torch.device,
    sizes: Sizes,
    shape: Attention,
    slopes: Tensor,
) -> None:
    """What forward and backward hold at most, beside inputs, outputs and a state at each cut."""
    q, k, v = (x.requires_grad_() for x in inputs(shape, sizes.head, device))
    do = torch.randn_like(q)
    peak = clock.peak_bytes(lambda: torch.autograd.grad(_attend(q, k, v, slopes), (q, k, v), do))
    layout = Layout(shape.batch, shape.tokens, shape.heads, False)
    cuts = count_pieces(layout, choose_segment(layout)) - layout.sequences
    # q, k, v, o, do, dq, dk, dv; float32 states.
    least = 8 * q.nbytes + cuts * shape.heads * sizes.head**2 * 4
    metric = f"memory of forward and backward, {shape.name}"
    table.figure(metric, peak / 1e9, "GB", "inputs, outputs, states at cuts", peak / least)
