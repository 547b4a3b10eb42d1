"""Grouped experts: each fused part, and the layer, beside the same in torch operators.

``python -m benchmarks.kernels.experts [SHAPE …]`` prints, on a GPU, medians of CUDA events in
bfloat16. Beside a part stand the bytes that no version can save; beside the layer, its grouped
products alone: two forward, six with the backward. A part is kept fused where its line says that it
pays. Without a GPU it times the plain forms on one core in float32, and grouped_mm beside a loop.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm, silu

from kernels.experts import grouped_experts
from kernels.experts.activation import swiglu
from kernels.experts.order import order_slots
from kernels.experts.products import grouped_outer, grouped_product
from kernels.experts.rows import collect, spread


class Shape(NamedTuple):
    """One layer: tokens, sizes of the residual stream and of an expert, experts, choices."""

    tokens: int
    width: int
    hidden: int
    experts: int
    choices: int


SHAPES = {
    "small": Shape(16_384, 1024, 1536, 32, 2),
    "middle": Shape(32_768, 2048, 4096, 32, 2),
    "text-01": Shape(16_384, 6144, 9216, 32, 2),
}
CPU_SHAPES = {"tiny": Shape(256, 64, 128, 8, 2), "nano": Shape(2048, 128, 256, 8, 2)}


class Case(NamedTuple):
    """One call to time. ``floor_bytes`` is 0 where bytes are not what bounds it."""

    part: str
    form: str
    call: Callable[[], object]
    floor_bytes: int


class Layer:
    """Inputs of one shape, and the parts' inputs made from them."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        generator = torch.Generator(device).manual_seed(0)

        def normal(*sizes: int) -> Tensor:
            dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
            out = torch.empty(sizes, device=device, dtype=dtype)
            return out.normal_(std=sizes[-1] ** -0.5, generator=generator).requires_grad_()

        self.shape = shape
        self.x = normal(shape.tokens, shape.width)
        scores = torch.rand(shape.tokens, shape.experts, device=device, generator=generator)
        chosen, self.index = scores.softmax(-1).topk(shape.choices)
        self.probabilities = chosen.requires_grad_()
        self.w_gate_up = normal(shape.experts, 2 * shape.hidden, shape.width)
        self.w_down = normal(shape.experts, shape.width, shape.hidden)
        self.leaves = (self.x, self.probabilities, self.w_gate_up, self.w_down)
        self.d_out = normal(shape.tokens, shape.width).detach()
        self.row_of, self.offsets = order_slots(self.index, shape.experts)

    def ours(self) -> Tensor:
        """The public call."""
        return grouped_experts(self.x, self.index, self.probabilities, self.w_gate_up, self.w_down)[
            0
        ]

    def naive(self) -> Tensor:
        """Sort, index, grouped_mm, SwiGLU and index_add: every step one torch operator."""
        slots, tokens, offsets = sorted_slots(self.index, self.shape.experts)
        gate_up = grouped_mm(self.x[tokens], self.w_gate_up.transpose(1, 2), offs=offsets)
        gate, up = gate_up.chunk(2, dim=-1)
        y = grouped_mm(silu(gate) * up, self.w_down.transpose(1, 2), offs=offsets)
        y = y * self.probabilities.reshape(-1)[slots].to(y.dtype)[:, None]
        return torch.zeros_like(self.x).index_add(0, tokens, y)


def sorted_slots(index: Tensor, experts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Slots by expert, their tokens, and offsets, from torch's sort."""
    key, slots = torch.sort(index.reshape(-1), stable=True)
    ends = torch.arange(experts, device=index.device)
    offsets = torch.searchsorted(key, ends, right=True, out_int32=True)
    return slots, slots // index.shape[1], offsets


def cases(shape: Shape, device: torch.device) -> Iterator[Case]:
    """Every part of one shape, ours beside torch's operators; one call is one pass."""
    yield from part_cases(shape, device)
    yield from layer_cases(shape, device)


def part_cases(shape: Shape, device: torch.device) -> Iterator[Case]:
    """The fused parts alone. Bytes leave the probabilities out."""
    layer = Layer(shape, device)
    index, row_of, offsets = layer.index, layer.row_of, layer.offsets
    x, probabilities = layer.x.detach(), layer.probabilities.detach()
    slots, tokens, _ = sorted_slots(index, shape.experts)
    rows = torch.randn(slots.numel(), shape.width, device=device, dtype=layer.x.dtype)

    def torch_order() -> tuple[Tensor, Tensor]:
        order, _, ends = sorted_slots(index, shape.experts)
        row = torch.empty_like(order)
        row[order] = torch.arange(order.numel(), device=device)
        return row, ends

    yield Case("order", "fused", lambda: order_slots(index, shape.experts), 12 * index.numel())
    yield Case("order", "torch", torch_order, 12 * index.numel())

    moved = x.nbytes * (1 + shape.choices)
    yield Case("spread", "fused", lambda: spread(x, probabilities, row_of, offsets), moved)
    yield Case("spread", "torch", lambda: (x[tokens], probabilities.reshape(-1)[slots]), moved)
    yield Case("collect", "fused", lambda: collect(rows, row_of, offsets), moved)
    add = torch.zeros_like(x)
    yield Case("collect", "index_add", lambda: add.zero_().index_add_(0, tokens, rows), moved)
    wide = row_of.long()
    yield Case("collect", "index", lambda: rows[wide].sum(1), moved)

    gate_up = torch.randn(slots.numel(), 2 * shape.hidden, device=device, dtype=layer.x.dtype)
    scales = torch.rand(slots.numel(), device=device)
    d_hidden = torch.randn(slots.numel(), shape.hidden, device=device, dtype=layer.x.dtype)
    inputs = gate_up.requires_grad_(), scales.requires_grad_()

    def torch_swiglu() -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return silu(gate) * up * scales.to(gate.dtype)[:, None]

    forms = {"fused": lambda: swiglu(gate_up, scales, offsets), "torch": torch_swiglu}
    for form, forward in forms.items():
        yield Case("swiglu", form, without_graph(forward), 3 * d_hidden.nbytes)
    for form, forward in forms.items():
        both = with_backward(forward, inputs, d_hidden)
        yield Case("swiglu and backward", form, both, 8 * d_hidden.nbytes)


def layer_cases(shape: Shape, device: torch.device) -> Iterator[Case]:
    """The layer, forward and with its backward, beside its grouped products alone."""
    layer = Layer(shape, device)
    offsets = layer.offsets
    rows, _ = spread(layer.x.detach(), None, layer.row_of, offsets)
    gate_up = torch.randn(rows.shape[0], 2 * shape.hidden, device=device, dtype=layer.x.dtype)
    hidden = gate_up[:, : shape.hidden].contiguous()
    w_gate_up, w_down = layer.w_gate_up.detach(), layer.w_down.detach()

    def products() -> None:
        grouped_product(rows, w_gate_up, offsets, False)
        grouped_product(hidden, w_down, offsets, False)

    def all_products() -> None:
        products()
        grouped_product(rows, w_down, offsets, True)
        grouped_outer(rows, hidden, offsets)
        grouped_product(gate_up, w_gate_up, offsets, True)
        grouped_outer(gate_up, rows, offsets)

    yield Case("layer", "fused", without_graph(layer.ours), 0)
    yield Case("layer", "torch", without_graph(layer.naive), 0)
    yield Case("layer", "products alone", products, 0)
    for form, forward in (("fused", layer.ours), ("torch", layer.naive)):
        both = with_backward(forward, layer.leaves, layer.d_out)
        yield Case("layer and backward", form, both, 0)
    yield Case("layer and backward", "products alone", all_products, 0)


def without_graph(forward: Callable[[], Tensor]) -> Callable[[], object]:
    """``forward`` without recording for a backward."""

    def call() -> Tensor:
        with torch.no_grad():
            return forward()

    return call


def with_backward(
    forward: Callable[[], Tensor], inputs: tuple[Tensor, ...], d_out: Tensor
) -> Callable[[], object]:
    """``forward`` and the gradients of ``inputs``."""
    return lambda: torch.autograd.grad(forward(), inputs, d_out)


def product_cases(shape: Shape, device: torch.device, dtype: torch.dtype) -> Iterator[Case]:
    """The first product of a layer, by grouped_mm and by one product an expert."""
    layer = Layer(shape, device)
    offsets = layer.offsets
    rows = torch.randn(layer.row_of.numel(), shape.width, device=device, dtype=dtype)
    weight = layer.w_gate_up.detach().to(dtype)

    def loop() -> Tensor:
        y = rows.new_empty((rows.shape[0], weight.shape[1]))
        begin = 0
        for expert, end in enumerate(offsets.tolist()):
            torch.mm(rows[begin:end], weight[expert].t(), out=y[begin:end])
            begin = end
        return y

    part = f"product {str(dtype).removeprefix('torch.')}"
    yield Case(part, "grouped_mm", lambda: grouped_product(rows, weight, offsets, False), 0)
    yield Case(part, "loop", loop, 0)


def gpu_milliseconds(call: Callable[[], object], warm: int = 3, turns: int = 15) -> float:
    """Median of CUDA event times."""
    for _ in range(warm):
        call()
    times: list[float] = []
    for _ in range(turns):
        begin, end = _event(), _event()
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def cpu_milliseconds(call: Callable[[], object], warm: int = 3, turns: int = 31) -> float:
    """Median of CPU times of one thread, which other processes disturb least."""
    for _ in range(warm):
        call()
    times: list[float] = []
    for _ in range(turns):
        begin = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - begin))
    return statistics.median(times)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def main(names: list[str]) -> None:
    """Print every case of the named shapes, with its ratio to ours and its bytes a second."""
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    shapes = SHAPES if gpu else CPU_SHAPES
    if not gpu:
        torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if gpu else 'one core'}")
    for name in names or shapes:
        shape = shapes[name]
        print(f"\n{name}: {shape}")
        every = list(cases(shape, device))
        if not gpu:
            for dtype in (torch.float32, torch.bfloat16):
                every += product_cases(shape, device, dtype)
        ours: dict[str, float] = {}
        for case in every:
            spent = gpu_milliseconds(case.call) if gpu else cpu_milliseconds(case.call)
            ratio = spent / ours.setdefault(case.part, spent)
            speed = f"{case.floor_bytes / spent / 1e6:7.0f} GB/s" if case.floor_bytes else ""
            print(f"{case.part:<20} {case.form:<15} {spent:9.4f} ms {ratio:6.2f} x ours {speed}")
        del every, case
        if gpu:
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main(sys.argv[1:])
