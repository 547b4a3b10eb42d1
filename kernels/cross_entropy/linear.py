"""The head in pieces: at no time do more logits exist than a fixed workspace holds.

Tokens are taken in *chunks*, and a chunk's logits are made in smaller *tiles*. A tile's logits are
fp32, as they leave the matrix product: rounding them to bf16 would err by 3 % in a probability
whose logit is 16. A tile becomes its gradient, in the inputs' dtype, in a chunk-wide buffer. Of the
whole chunk's gradient two products are then taken, so that the weight's fp32 gradient is read and
written once a chunk and not once a tile. ``api.py`` has the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from kernels.cross_entropy import rows
from kernels.cross_entropy.parallel import Shard
from kernels.cross_entropy.rows import Curve
from kernels.triton_support import cdiv

WORKSPACE = {"cuda": 3 << 30, "cpu": 192 << 20}
"""Bytes that logits and their gradients may take together, by kind of device.

Two thirds hold a chunk's gradient, one third a tile's logits. With V = 200,064 and bf16 inputs,
3 GiB are chunks of up to 5,367 tokens and tiles of up to 1,341.
"""

TOP = 1024.0
"""The largest cotangent after scaling.

Gradients of logits are stored in the inputs' dtype. Scaled so that the largest cotangent of a call
is 512 to 1024, probabilities down to 1e-10 survive in fp16, and 65504 is not reached until a z-loss
multiplies a cotangent by 30. A power of two, it changes no bit in bf16 or fp32. It is taken out
again in fp32.
"""


class Plan(NamedTuple):
    """How many tokens a chunk and a tile have."""

    chunk: int
    tile: int


def plan(tokens: int, columns: int, itemsize: int, workspace: int, gradients: bool) -> Plan:
    """Chunks of about equal size that fit ``workspace`` bytes; at least one token each.

    ``itemsize`` is that of the stored gradient. Without ``gradients`` there is no chunk buffer and
    the tile takes it all. Sizes are multiples of 64 where they can be, for the matrix products.
    """

    def even(count: int, bytes_each: int, available: int) -> int:
        most = max(1, available // bytes_each)
        size = cdiv(max(count, 1), cdiv(max(count, 1), most))
        rounded = cdiv(size, 64) * 64
        return rounded if rounded <= most else size

    if not gradients:
        tile = even(tokens, columns * 4, workspace)
        return Plan(tile, tile)
    chunk = even(tokens, columns * itemsize, workspace * 2 // 3)
    return Plan(chunk, min(chunk, even(chunk, columns * 4, workspace // 3)))


class Head(NamedTuple):
    """One call's tensors, the same for its forward and its backward.

    ``hidden`` [N, H] and ``weight`` [V', H], ``targets`` int64 [N] over the whole vocabulary.
    """

    hidden: torch.Tensor
    weight: torch.Tensor
    targets: torch.Tensor
    curve: Curve
    shard: Shard
    totals: bool
    workspace: int

    @property
    def first(self) -> int:
        return self.shard.rank * self.weight.shape[0]

    def plan(self, gradients: bool) -> Plan:
        size = torch.promote_types(self.hidden.dtype, self.weight.dtype).itemsize
        return plan(len(self.hidden), len(self.weight), size, self.workspace, gradients)


def _operand(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``tensor`` as a factor of a product in ``dtype``: widened where no product takes 16 bits."""
    wide = torch.float32 if tensor.device.type != "cuda" else dtype
    return tensor.to(wide)


def _product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, add: bool = False) -> None:
    """``out = a @ b``, or ``out += a @ b``, accumulated and written in fp32."""
    if a.dtype == torch.float32:
        torch.addmm(out, a, b, out=out) if add else torch.mm(a, b, out=out)
    elif add:
        torch.ops.aten.addmm.dtype_out(out, a, b, torch.float32, out=out)
    else:
        torch.ops.aten.mm.dtype_out(a, b, torch.float32, out=out)


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    for at in range(start, stop, step):
        yield slice(at, min(at + step, stop))


def head_statistics(head: Head) -> torch.Tensor:
    """Statistics [3, N] of every token over the whole vocabulary: one product, 8 B a logit moved.

    Ranks meet once, at the end.
    """
    hidden, weight = head.hidden, head.weight
    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    out = torch.empty(3, len(hidden), dtype=torch.float32, device=hidden.device)
    tile = head.plan(gradients=False).tile
    factor = _operand(weight, dtype).t()
    logits = hidden.new_empty(min(tile, len(hidden)), len(weight), dtype=torch.float32)
    for part in _slices(0, len(hidden), tile):
        block = logits[: part.stop - part.start]
        _product(_operand(hidden[part], dtype), factor, block)
        out[:, part] = rows.statistics(
            block, head.targets[part], head.curve, head.first, head.totals
        )
    return head.shard.gathered(out)


Cotangents = Callable[[slice, Callable[[], torch.Tensor]], tuple[torch.Tensor, torch.Tensor]]
"""For a tile: its log-sum-exp [n] and cotangents [3, n], given a way to compute its statistics."""


def head_gradients(
    head: Head, cotangents: Cotangents, of_hidden: bool, of_weight: bool, reduce_hidden: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """fp32 gradients of ``hidden`` [N, H] and ``weight`` [V', H], by ``curve.scale · logits``.

    One that is not wanted is an empty tensor. ``reduce_hidden`` adds the gradient of ``hidden``
    over the ranks, under the product that follows it. Chunks are added to the weight's gradient
    in their order, so its bits depend on the workspace but not on chance.
    """
    hidden, weight = head.hidden, head.weight
    tokens, columns = len(hidden), len(weight)
    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    sizes = head.plan(gradients=True)
    hidden_gradient = hidden.new_empty(hidden.shape if of_hidden else (0,), dtype=torch.float32)
    shape = weight.shape if of_weight else (0,)
    allocate = weight.new_empty if tokens else weight.new_zeros
    weight_gradient = allocate(shape, dtype=torch.float32)
    logits = hidden.new_empty(min(sizes.tile, tokens), columns, dtype=torch.float32)
    stored = hidden.new_empty(min(sizes.chunk, tokens), columns, dtype=dtype)
    factor = _operand(weight, dtype)
    for chunk in _slices(0, tokens, sizes.chunk):
        inputs = _operand(hidden[chunk], dtype)
        for tile in _slices(chunk.start, chunk.stop, sizes.tile):
            inner = slice(tile.start - chunk.start, tile.stop - chunk.start)
            block, targets = logits[: tile.stop - tile.start], head.targets[tile]
            _product(inputs[inner], factor.t(), block)

            def compute(block: torch.Tensor = block, t: torch.Tensor = targets) -> torch.Tensor:
                local = rows.statistics(block, t, head.curve, head.first, head.totals)
                return head.shard.gathered(local)

            lse, given = cotangents(tile, compute)
            rows.gradient(block, targets, lse, given, head.curve, head.first, stored[inner])
        gradient = _operand(stored[: chunk.stop - chunk.start], dtype)
        pending = None
        if of_hidden:
            _product(gradient, factor, hidden_gradient[chunk])
            pending = head.shard.start_sum(hidden_gradient[chunk]) if reduce_hidden else None
        if of_weight:
            _product(gradient.t(), inputs, weight_gradient, add=chunk.start > 0)
        if pending is not None:
            pending.wait()
    return hidden_gradient, weight_gradient


def unit(magnitudes: torch.Tensor) -> torch.Tensor:
    """The power of two (fp32 scalar) that brings the largest magnitude to 512..1024; 1 for 0."""
    if not magnitudes.numel():
        return torch.ones((), dtype=torch.float32, device=magnitudes.device)
    largest = magnitudes.abs().amax()
    exponent = torch.floor(torch.log2(TOP / largest)).clamp_max(100)
    return torch.where(largest == 0, 1.0, torch.exp2(exponent))
