"""Grouped experts against loops in float64, in both forms, with every gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels.experts import activation as activation_module
from kernels.experts import (
    expert_capacity,
    experts,
    grouped_experts,
    over_capacity,
    permute,
    reference,
    unpermute,
)
from kernels.experts import order as order_module
from kernels.experts import products as products_module
from kernels.experts import rows as rows_module
from kernels.experts.tiles import order_tile, row_tile
from kernels.triton_support import interpreting
from tests.kernels.tensors.numerics import TOLERANCE, rel_rms

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FEW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def rounds_to_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter cuts float32 down to bfloat16; a GPU rounds. Tests are of the latter."""
    if not interpreting():
        return
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def rounding(data: Any, source: Any, target: Any, mode: Any) -> Any:
        if str(source) == "fp32" and str(target) == "bf16":
            values = torch.from_numpy(np.ascontiguousarray(data).view(np.float32))
            return values.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
        return convert(data, source, target, mode)

    monkeypatch.setattr(interpreter, "_convert_float", rounding)


@pytest.fixture(params=["triton", "plain"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the kernels, and with the plain torch form around the matrix products."""
    if request.param == "plain":
        for module, switch in (
            (order_module, "runs_triton"),
            (rows_module, "runs_fused"),
            (activation_module, "runs_fused"),
        ):
            monkeypatch.setattr(module, switch, lambda _tensor: False)
    return str(request.param)


class Problem(NamedTuple):
    """One layer's inputs."""

    x: Tensor
    chosen: Tensor
    probabilities: Tensor
    w_gate_up: Tensor
    w_down: Tensor

    @property
    def leaves(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What gets a gradient."""
        return self.x, self.probabilities, self.w_gate_up, self.w_down


def make(
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    tokens: int = 19,
    width: int = 24,
    hidden: int = 40,
    num_experts: int = 5,
    choices: int = 2,
    seed: int = 0,
) -> Problem:
    """Random inputs; choices of a token differ where there are experts enough."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=generator) * scale).to(device, dtype)

    scores = torch.rand(tokens, max(num_experts, choices), generator=generator)
    index = scores.topk(choices).indices % num_experts
    return Problem(
        normal(tokens, width),
        index.to(device),
        torch.rand(tokens, choices, generator=generator).to(device),
        normal(num_experts, 2 * hidden, width, scale=width**-0.5),
        normal(num_experts, width, hidden, scale=hidden**-0.5),
    )


def leaves(problem: Problem, dtype: torch.dtype | None = None) -> Problem:
    """A copy whose float tensors collect gradients."""
    x, probabilities, w_gate_up, w_down = (
        leaf.detach().clone().to(dtype or leaf.dtype).requires_grad_() for leaf in problem.leaves
    )
    return Problem(x, problem.chosen, probabilities, w_gate_up, w_down)


def check(
    problem: Problem,
    run: Callable[[Problem], tuple[Tensor, Tensor]],
    tolerance: float | None = None,
) -> Tensor:
    """Output and every gradient of ``run`` against the reference; returns the dropped slots."""
    ours, exact = leaves(problem), leaves(problem, torch.float64)
    tolerance = tolerance or TOLERANCE[problem.x.dtype]
    out, dropped = run(ours)
    expected = reference.grouped_experts(*exact, dropped=dropped)
    generator = torch.Generator().manual_seed(99)
    d_out = torch.randn(out.shape, generator=generator).to(out)
    torch.autograd.backward(out, d_out)
    torch.autograd.backward(expected, d_out.double())
    assert out.dtype == problem.x.dtype
    assert rel_rms(out.detach(), expected.detach()) <= tolerance
    names = ("x", "probabilities", "w_gate_up", "w_down")
    for name, found, wanted in zip(names, ours.leaves, exact.leaves, strict=True):
        assert found.grad is not None, name
        assert found.grad.dtype == found.dtype, name
        grad = wanted.grad if wanted.grad is not None else torch.zeros_like(wanted)
        assert rel_rms(found.grad, grad) <= tolerance, name
    return dropped


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("width", "hidden"), [(24, 40), (21, 13)])
def test_equals_the_loop_in_float64(
    device: torch.device, form: str, dtype: torch.dtype, width: int, hidden: int
) -> None:
    """Widths of 16-byte multiples go to grouped_mm, others to one product an expert."""
    problem = make(device, dtype, width=width, hidden=hidden)
    dropped = check(problem, lambda p: grouped_experts(*p))
    assert not dropped.any()


def test_float64_is_exact(device: torch.device) -> None:
    problem = make(device, torch.float64)
    problem = problem._replace(probabilities=problem.probabilities.double())
    check(problem, lambda p: grouped_experts(*p), tolerance=1e-14)


@FEW
@given(
    tokens=st.integers(0, 20),
    num_experts=st.integers(1, 7),
    choices=st.integers(1, 3),
    width=st.sampled_from([1, 4, 12, 17]),
    hidden=st.sampled_from([1, 8, 19]),
    capacity=st.none() | st.integers(0, 4),
    drop=st.sampled_from(["probability", "position"]),
    seed=st.integers(0, 2**20),
)
def test_any_shape(
    device: torch.device,
    tokens: int,
    num_experts: int,
    choices: int,
    width: int,
    hidden: int,
    capacity: int | None,
    drop: Any,
    seed: int,
) -> None:
    problem = make(
        device,
        tokens=tokens,
        width=width,
        hidden=hidden,
        num_experts=num_experts,
        choices=choices,
        seed=seed,
    )
    if tokens == 0:
        out, dropped = grouped_experts(*leaves(problem))
        assert out.shape == (0, width)
        assert dropped.shape == (0, choices)
        return
    dropped = check(problem, lambda p: grouped_experts(*p, capacity=capacity, drop=drop))
    if capacity is not None:
        expected = reference.dropped_slots(
            problem.chosen, problem.probabilities, num_experts, capacity, drop
        )
        assert torch.equal(dropped, expected)


def test_one_expert_takes_all_and_others_none(device: torch.device, form: str) -> None:
    problem = make(device, choices=1)
    problem = problem._replace(chosen=torch.full_like(problem.chosen, 3))
    check(problem, lambda p: grouped_experts(*p))


def test_no_tokens_give_zero_gradients(device: torch.device, form: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        problem = leaves(make(device, dtype, tokens=0))
        out, _ = grouped_experts(*problem)
        torch.autograd.backward(out.sum())
        for leaf in problem.leaves:
            assert leaf.grad is not None
            assert not leaf.grad.any()


def test_all_slots_dropped_give_zero(device: torch.device, form: str) -> None:
    problem = leaves(make(device))
    out, dropped = grouped_experts(*problem, capacity=0)
    torch.autograd.backward(out.sum())
    assert dropped.all()
    assert not out.any()
    for leaf in problem.leaves:
        assert leaf.grad is not None
        assert not leaf.grad.any()


def test_a_slot_without_expert_is_dropped(device: torch.device, form: str) -> None:
    problem = make(device)
    problem.chosen[3, 1] = problem.chosen[7] = -1
    dropped = check(problem, lambda p: grouped_experts(*p))
    assert torch.equal(dropped, problem.chosen < 0)


def test_leading_sizes_are_kept(device: torch.device) -> None:
    problem = make(device, tokens=12)
    flat, _ = grouped_experts(*problem)
    index = problem.chosen.view(3, 4, 2)
    x, probabilities = problem.x.view(3, 4, -1), problem.probabilities.view(3, 4, 2)
    out, dropped = grouped_experts(x, index, probabilities, *problem[3:])
    assert torch.equal(out.view(12, -1), flat)
    assert dropped.shape == index.shape


def test_rows_are_a_stable_sort_by_expert(device: torch.device, form: str) -> None:
    """Over several blocks of the counting sort, 32- and 64-bit indices alike."""
    generator = torch.Generator().manual_seed(4)
    index = torch.randint(-1, 9, (700, 3), generator=generator)
    x = torch.arange(700.0)[:, None].to(device)
    probabilities = torch.rand(700, 3, generator=generator).to(device)
    found = permute(x, index.to(device), probabilities, 9)
    narrow = permute(x, index.to(device, torch.int32), probabilities, 9)
    key = torch.where(index < 0, 9, index).flatten()
    slots = torch.argsort(key, stable=True)
    kept = int((index >= 0).sum())
    assert found.offsets.dtype == torch.int32
    assert found.offsets.tolist() == [int((key <= expert).sum()) for expert in range(9)]
    assert torch.equal(found.row_of.flatten().cpu()[slots], torch.arange(2100, dtype=torch.int32))
    assert torch.equal(found.tokens[:kept, 0].cpu(), (slots[:kept] // 3).float())
    assert torch.equal(
        found.probabilities.cpu()[:kept], probabilities.cpu().flatten()[slots[:kept]]
    )
    assert not found.tokens[kept:].any()
    assert not found.probabilities[kept:].any()
    assert torch.equal(found.dropped.cpu(), index < 0)
    assert torch.equal(found.row_of, narrow.row_of)


@FEW
@given(
    tokens=st.integers(1, 24),
    num_experts=st.integers(1, 5),
    choices=st.integers(1, 3),
    capacity=st.integers(0, 6),
    drop=st.sampled_from(["probability", "position"]),
    seed=st.integers(0, 2**20),
)
def test_drops_equal_the_loop(
    device: torch.device,
    tokens: int,
    num_experts: int,
    choices: int,
    capacity: int,
    drop: Any,
    seed: int,
) -> None:
    """With ties, slots without expert, and sequences interleaved at random."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(-1, num_experts, (tokens, choices), generator=generator)
    probabilities = torch.randint(0, 4, (tokens, choices), generator=generator) / 4
    ids = torch.randint(0, 3, (tokens,), generator=generator)
    over = over_capacity(
        index.to(device),
        probabilities.to(device),
        num_experts,
        capacity,
        drop=drop,
        sequence_ids=ids.to(device),
    )
    expected = reference.dropped_slots(index, probabilities, num_experts, capacity, drop, ids)
    assert torch.equal(over.cpu(), expected)


def test_drop_orders_by_hand(device: torch.device) -> None:
    index = torch.tensor([[0], [0], [1], [0], [0]], device=device)
    probabilities = torch.tensor([[0.2], [0.9], [0.1], [0.9], [0.5]], device=device)
    by_position = over_capacity(index, probabilities, 2, 2, drop="position")
    by_probability = over_capacity(index, probabilities, 2, 1, drop="probability")
    assert by_position.flatten().tolist() == [False, False, False, True, True]
    assert by_probability.flatten().tolist() == [True, False, False, True, True]


@pytest.mark.parametrize("drop", ["probability", "position"])
def test_drops_of_a_sequence_do_not_depend_on_its_neighbours(
    device: torch.device, drop: Any
) -> None:
    problem = make(device, tokens=30, num_experts=3)
    index, probabilities = problem.chosen, problem.probabilities
    bounds = [0, 7, 7, 19, 30]
    cu_seqlens = torch.tensor(bounds, dtype=torch.int32, device=device)
    capacities = torch.tensor([2, 5, 3, 1], device=device)
    packed = over_capacity(index, probabilities, 3, 3, drop=drop, cu_seqlens=cu_seqlens)
    each = over_capacity(index, probabilities, 3, capacities, drop=drop, cu_seqlens=cu_seqlens)
    assert packed.any()
    for i, (begin, end) in enumerate(pairwise(bounds)):
        alone = index[begin:end], probabilities[begin:end], 3
        assert torch.equal(packed[begin:end], over_capacity(*alone, 3, drop=drop))
        own = int(capacities[i])
        assert torch.equal(each[begin:end], over_capacity(*alone, own, drop=drop))


def test_capacity_is_rounded_up() -> None:
    assert expert_capacity(8192, 2, 32, 1.25) == 640
    assert expert_capacity(10, 2, 32, 1.0) == 1
    with pytest.raises(ValueError, match="found factor 0"):
        expert_capacity(10, 2, 32, 0)


def test_weighted_unpermute_has_gradients(device: torch.device, form: str) -> None:
    """Weights after the experts, as without probabilities in the activation."""
    for dtype in (torch.float32, torch.bfloat16):

        def run(p: Problem) -> tuple[Tensor, Tensor]:
            ones = torch.ones_like(p.probabilities)
            permuted = permute(p.x, p.chosen, ones, 5, capacity=6)
            y = experts(permuted.tokens, p.w_gate_up, p.w_down, permuted.offsets)
            out = unpermute(y, permuted.row_of, permuted.offsets, p.probabilities)
            return out, permuted.dropped

        assert check(make(device, dtype), run).any()


def test_strided_inputs_are_read_as_they_are(device: torch.device, form: str) -> None:
    problem = make(device, width=24)
    wide = torch.randn(19, 40, device=device)
    wide[:, 8:32] = problem.x
    turned = problem.w_down.transpose(1, 2).contiguous().transpose(1, 2)
    straight, _ = grouped_experts(*problem)
    for x in (wide[:, 8:32], problem.x.T.contiguous().T):
        out, _ = grouped_experts(x, *problem[1:4], turned)
        assert torch.equal(out, straight)
    ours = leaves(problem)
    torch.autograd.backward(grouped_experts(*ours)[0].sum())  # an expanded gradient, of stride 0
    exact = leaves(problem, torch.float64)
    torch.autograd.backward(reference.grouped_experts(*exact).sum())
    for found, wanted in zip(ours.leaves, exact.leaves, strict=True):
        assert found.grad is not None
        assert wanted.grad is not None
        assert rel_rms(found.grad, wanted.grad) <= 1e-5


def test_nan_stays_with_its_token(device: torch.device, form: str) -> None:
    """It reaches its own output, and from a dropped slot nothing."""
    problem = make(device)
    problem.x[4] = float("nan")
    out, _ = grouped_experts(*problem)
    assert out[4].isnan().all()
    assert out.isnan().any(dim=1).sum() == 1
    problem.chosen[4] = -1
    ours = leaves(problem)
    out, _ = grouped_experts(*ours)
    torch.autograd.backward(out.sum())
    assert not out.isnan().any()
    assert not out[4].any()
    for leaf in ours.leaves:
        assert leaf.grad is not None
        assert not leaf.grad.isnan().any()


@pytest.mark.parametrize(("width", "hidden"), [(24, 40), (21, 13)])
def test_rows_past_the_last_expert_are_not_read(
    device: torch.device, form: str, width: int, hidden: int
) -> None:
    """NaN there, in every input and every gradient that comes in, reaches nothing."""
    problem = make(device, width=width, hidden=hidden)
    permuted = permute(*problem[:3], 5, capacity=5)
    kept = int(permuted.offsets[-1])
    assert kept < permuted.tokens.shape[0]
    x, probabilities = permuted.tokens.clone(), permuted.probabilities.clone()
    x[kept:], probabilities[kept:] = float("nan"), float("nan")
    ours = leaves(Problem(x, problem.chosen, probabilities, problem.w_gate_up, problem.w_down))
    y = experts(ours.x, ours.w_gate_up, ours.w_down, permuted.offsets, ours.probabilities)
    poison = y.detach().clone()
    poison[kept:] = float("nan")
    expected = unpermute(y.detach(), permuted.row_of, permuted.offsets)
    assert torch.equal(unpermute(poison, permuted.row_of, permuted.offsets), expected)
    torch.autograd.backward(y, poison)
    for leaf in ours.leaves:
        assert leaf.grad is not None
        assert not leaf.grad[: kept if leaf.shape[0] == x.shape[0] else None].isnan().any()
    assert ours.probabilities.grad is not None
    assert not ours.probabilities.grad[kept:].any()

    rows = poison.requires_grad_()
    weights = problem.probabilities.clone().requires_grad_()
    torch.autograd.backward(unpermute(rows, permuted.row_of, permuted.offsets, weights).sum())
    assert rows.grad is not None
    assert weights.grad is not None
    assert not rows.grad.isnan().any()
    assert not rows.grad[kept:].any()
    assert not weights.grad[permuted.dropped].any()


def test_swiglu_reads_no_row_past_the_last_expert(device: torch.device, form: str) -> None:
    offsets = torch.tensor([3, 3, 7], dtype=torch.int32, device=device)
    gate_up, scales, d_hidden = (
        torch.randn(11, *size, device=device) for size in ((18,), (), (9,))
    )
    for tensor in (gate_up, scales, d_hidden):
        tensor[7:] = float("nan")
    gate_up.requires_grad_()
    scales.requires_grad_()
    hidden = activation_module.swiglu(gate_up, scales, offsets)
    torch.autograd.backward(hidden, d_hidden)
    for found in (hidden, gate_up.grad, scales.grad):
        assert found is not None
        assert not found[:7].isnan().any()
        assert not found[7:].any()


@pytest.mark.parametrize("transposed", [False, True])
def test_products_equal_a_loop(device: torch.device, transposed: bool) -> None:
    offsets = torch.tensor([2, 2, 7], dtype=torch.int32, device=device)
    x = torch.randn(7, 8, device=device, requires_grad=True)
    weight = torch.randn(3, 12, 8, device=device)
    weight = (weight.transpose(1, 2).contiguous() if transposed else weight).requires_grad_()
    straight = weight.transpose(1, 2) if transposed else weight
    expected = torch.cat([x[:2] @ straight[0].T, x[2:] @ straight[2].T])
    found = products_module.grouped_product(x, weight, offsets, transposed)
    d_out = torch.randn_like(expected)
    assert rel_rms(found.detach(), expected.detach()) <= 1e-6
    for a, b in zip(
        torch.autograd.grad(found, (x, weight), d_out),
        torch.autograd.grad(expected, (x, weight), d_out),
        strict=True,
    ):
        assert rel_rms(a, b) <= 1e-6


def test_runs_repeat_bit_for_bit(device: torch.device, form: str) -> None:
    def once() -> list[Tensor]:
        problem = leaves(make(device, torch.bfloat16, tokens=40))
        out, _ = grouped_experts(*problem, capacity=12)
        torch.autograd.backward(out.square().sum())
        grads = [leaf.grad for leaf in problem.leaves if leaf.grad is not None]
        return [out.detach(), *grads]

    first, second = once(), once()
    assert len(first) == 5
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def test_gradients_are_made_only_where_asked(device: torch.device, form: str) -> None:
    problem = leaves(make(device))
    for leaf in problem.leaves[1:]:
        leaf.requires_grad_(False)
    torch.autograd.backward(grouped_experts(*problem)[0].sum())
    assert problem.x.grad is not None
    assert all(leaf.grad is None for leaf in problem.leaves[1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_empty_experts_gradients_are_zeroed(device: torch.device, dtype: torch.dtype) -> None:
    """What the kernel for Blackwell does, wherever it runs."""
    weights = torch.ones(4, 50, 200, dtype=dtype, device=device)
    offsets = torch.tensor([0, 3, 3, 8], dtype=torch.int32, device=device)
    products_module.zero_empty(weights, offsets)
    assert weights.flatten(1).float().mean(dim=1).tolist() == [0.0, 1.0, 0.0, 1.0]


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_compiled_equals_eager(device: torch.device, form: str, fresh_compiler: None) -> None:
    problem = make(device)
    compiled = torch.compile(grouped_experts, backend="aot_eager", fullgraph=True)
    check(problem, lambda p: compiled(*p, capacity=6))


def test_checkpointed_equals_eager(device: torch.device, form: str) -> None:
    def run(p: Problem) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = checkpoint(grouped_experts, *p, use_reentrant=False)
        return found

    check(make(device), run)


def test_operators_keep_their_contracts(device: torch.device) -> None:
    """Schemas, shapes without data, and autograd registration, as torch checks them."""
    problem = leaves(make(device, tokens=6, width=8, hidden=8))
    index, (row_of, offsets) = problem.chosen, order_module.order_slots(problem.chosen, 5)
    rows = torch.randn(12, 8, device=device, requires_grad=True)
    gate_up = torch.randn(12, 16, device=device, requires_grad=True)
    values = torch.rand(12, device=device, requires_grad=True)
    utilities = ("test_schema", "test_autograd_registration", "test_faketensor")
    for operator, arguments in (
        (order_module.order_slots, (index, 5)),
        (rows_module._spread, (problem.x, problem.probabilities, row_of, offsets)),
        (rows_module._collect, (rows, values, row_of, offsets)),
        (rows_module._collect_weighted, (rows, problem.probabilities, row_of, offsets)),
        (activation_module._swiglu, (gate_up, values, offsets)),
        (products_module.grouped_product, (rows, problem.w_gate_up, offsets, False)),
        (products_module.grouped_product, (gate_up, problem.w_gate_up, offsets, True)),
        (products_module.grouped_outer, (gate_up.detach(), rows.detach(), offsets)),
    ):
        torch.library.opcheck(operator, arguments, test_utils=utilities)


def test_bad_input_is_refused_before_a_launch(device: torch.device) -> None:
    x, index, probabilities, w_gate_up, w_down = make(device)
    for error, message, arguments in (
        (
            TypeError,
            "w_gate_up of torch.float64",
            (x, index, probabilities, w_gate_up.double(), w_down),
        ),
        (
            TypeError,
            "found x of torch.int64",
            (x.long(), index, probabilities, w_gate_up.long(), w_down.long()),
        ),
        (
            TypeError,
            "expert_index of torch.float32",
            (x, index.float(), probabilities, w_gate_up, w_down),
        ),
        (TypeError, "probabilities of torch.int64", (x, index, index, w_gate_up, w_down)),
        (ValueError, "same leading sizes", (x[1:], index, probabilities, w_gate_up, w_down)),
        (
            ValueError,
            r"expected both \[19, k\]",
            (x, index, probabilities[:, :1], w_gate_up, w_down),
        ),
        (ValueError, r"expected \[E, 2F, h\]", (x, index, probabilities, w_gate_up[:, 1:], w_down)),
        (ValueError, r"expected \[E, 2F, h\]", (x, index, probabilities, w_gate_up, w_down[1:])),
        (ValueError, r"expected \[E, 2F, h\]", (x, index, probabilities, w_gate_up[0], w_down)),
        (
            ValueError,
            "found w_down on meta",
            (x, index, probabilities, w_gate_up, w_down.to("meta")),
        ),
    ):
        with pytest.raises(error, match=message):
            grouped_experts(*arguments)
    for message, options in (
        ("found drop='random'", {"drop": "random"}),
        ("found capacity -1", {"capacity": -1}),
        ("found both", {"sequence_ids": index[:, 0], "cu_seqlens": torch.tensor([0, 19])}),
        ("one id for each of the 19", {"sequence_ids": index[1:, 0]}),
        ("rise from 0", {"cu_seqlens": torch.tensor([0, 18])}),
        ("rise from 0", {"cu_seqlens": torch.tensor([0, 12, 9, 19])}),
    ):
        with pytest.raises(ValueError, match=message):
            permute(x, index, probabilities, 5, **({"capacity": 2} | options))
    with pytest.raises(ValueError, match="expected int32"):
        experts(x, w_gate_up, w_down, torch.zeros(5, dtype=torch.int64, device=device))
    with pytest.raises(ValueError, match="take both from the same permute"):
        unpermute(x, index, torch.zeros(5, dtype=torch.int32, device=device))


def test_an_index_that_is_no_expert(device: torch.device, form: str) -> None:
    """An error where looking costs nothing; where it would stop the stream, a dropped slot."""
    problem = make(device)
    problem.chosen[0, 0] = 5
    if form == "plain":
        with pytest.raises(ValueError, match="found expert indices from 0 to 5"):
            grouped_experts(*problem)
        return
    _, dropped = grouped_experts(*problem)
    assert dropped.sum() == 1
    assert dropped[0, 0]


def test_tiles_are_powers_of_two() -> None:
    for width in (1, 8, 100, 1024, 1408, 9216):
        tile = row_tile(width)
        assert tile.rows * tile.columns == 2048
    for count in (1, 8, 32, 64, 255, 256, 1000):
        for size in order_tile(count):
            assert size & (size - 1) == 0
        assert order_tile(count).columns > count


@pytest.mark.gpu
@pytest.mark.parametrize("capacity", [None, 1000])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_large(device: torch.device, dtype: torch.dtype, capacity: int | None) -> None:
    problem = make(device, dtype, tokens=16_384, width=2048, hidden=1408, num_experts=32, seed=1)
    check(problem, lambda p: grouped_experts(*p, capacity=capacity))


@pytest.mark.gpu
def test_rows_beyond_32_bit_offsets(device: torch.device) -> None:
    """2.5 billion elements in the rows: the last token goes through as the first does."""
    tokens, width = 300_000, 4096
    x = torch.zeros(tokens, width, dtype=torch.bfloat16, device=device)
    x[0], x[-1] = 1.0, 2.0
    index = torch.tensor([0, 1], device=device).expand(tokens, 2).contiguous()
    probabilities = torch.ones(tokens, 2, device=device)
    found = permute(x, index, probabilities, 2)
    out = unpermute(found.tokens, found.row_of, found.offsets)
    assert found.tokens.numel() > 2**31
    assert (found.tokens[-1] == 2).all()
    assert torch.equal(out, 2 * x)


@pytest.mark.gpu
def test_captured_in_a_cuda_graph(device: torch.device) -> None:
    """Another routing through the captured graph: nothing of the first is baked in."""
    problem = make(device, torch.bfloat16, tokens=512, width=256, hidden=128, num_experts=8)
    warm = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    warm.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm):
        grouped_experts(*problem, capacity=100)
    torch.cuda.current_stream().wait_stream(warm)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, dropped = grouped_experts(*problem, capacity=100)
    problem.chosen.copy_((problem.chosen + 3) % 8)
    graph.replay()
    expected, expected_dropped = grouped_experts(*problem, capacity=100)
    assert torch.equal(dropped, expected_dropped)
    assert torch.equal(out, expected)
