"""Lightning attention inside torch: compile, checkpoints, autocast, shapes without data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from kernels.lightning import api, checks, lightning_attention, passes
from tests.kernels.tensors.attention_cases import (
    DEVICE,
    Case,
    case,
    cut_every,
    exact,
    near,
    outcome,
    random_cotangents,
    same,
)

NAMES = ("q", "k", "v", "initial")


def moved(x: Case, move: Callable[[torch.Tensor], torch.Tensor]) -> Case:
    """The case with every tensor replaced."""
    changed: dict[str, Any] = {
        n: move(y) for n, y in x._asdict().items() if isinstance(y, torch.Tensor)
    }
    return x._replace(**changed)


def attention(*x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """With all arguments by position."""
    q, k, v, slopes, initial, boundaries, scale, activation = x
    found = lightning_attention(
        q, k, v, slopes,
        initial_state=initial, output_final_state=True, cu_seqlens=boundaries, scale=scale,
        activation=activation,
    )  # fmt: skip
    assert isinstance(found, tuple)
    return found


def leaves(x: Case) -> Any:
    """The case with leaves that want gradients."""
    changed = {n: getattr(x, n).detach().requires_grad_() for n in ("q", "k", "v", "initial")}
    return x._replace(**changed)


@pytest.fixture
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("tokens", [20, [12, 0, 8]])
def test_it_compiles_without_breaking_the_graph(tokens: Any) -> None:
    x = case(tokens, H=2, Hk=1, dtype=torch.bfloat16, activation="silu")

    def form(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        slopes: torch.Tensor,
        *,
        initial_state: torch.Tensor,
        output_final_state: bool,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        o, state = attention(
            q * 2, k, v, slopes, initial_state, options["cu_seqlens"], options["scale"],
            options["activation"],
        )  # fmt: skip
        return o + 1, state * 2

    def run(function: Any) -> dict[str, torch.Tensor]:
        def call(*args: Any, **options: Any) -> Any:
            return function(*args, output_final_state=True, **options)

        return outcome(x, form=call)

    compiled = torch.compile(form, fullgraph=True, backend="aot_eager")
    with cut_every(16):
        same(run(compiled), run(form))


@pytest.mark.usefixtures("fresh")
def test_one_graph_serves_lengths_and_numbers_of_documents() -> None:
    """Also lengths that are cut, of the same number of segments."""
    graphs: list[int] = []

    def backend(module: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(len(module.graph.nodes))
        return module.forward

    compiled = torch.compile(attention, fullgraph=True, backend=backend, dynamic=True)
    for packed in (False, True):
        graphs.clear()
        for tokens in ([9, 5, 6], [11, 3], [4, 20, 7, 2]):
            x = case(tokens if packed else sum(tokens), H=1, V=16)
            with torch.no_grad():
                for found, expected in zip(compiled(*x), attention(*x), strict=True):
                    assert torch.equal(found, expected)
        assert len(graphs) == 1


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant: bool) -> None:
    x = case([12, 8], H=2, Hk=1, activation="silu")
    expected = outcome(x)
    y = leaves(x)
    found = checkpoint(attention, *y, use_reentrant=reentrant)
    torch.autograd.backward(found, random_cotangents(x))
    for name in NAMES:
        assert torch.equal(getattr(y, name).grad, expected[f"d{name}"]), name


@pytest.mark.parametrize(("tokens", "final"), [(20, False), ([8, 0, 5], True)])
def test_the_operators_keep_what_they_declare(tokens: Any, final: bool) -> None:
    x = leaves(case(tokens, H=2, Hk=1, V=16))
    with cut_every(16):
        arguments = (*x[:7], final, final)  # with SiLU, and without
        operator = torch.ops.leyden.lightning_forward.default
        utilities = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(operator, arguments, test_utils=utilities)
        if not final:  # whole graphs with lengths unknown, which takes seconds
            torch.library.opcheck(operator, arguments, test_utils="test_aot_dispatch_dynamic")
        plain = moved(x, torch.Tensor.detach)
        o, state, carried = torch.ops.leyden.lightning_forward.default(*plain[:7], final, final)
        torch.library.opcheck(
            torch.ops.leyden.lightning_backward.default,
            (o, state if final else None, *plain[:5], carried, *plain[5:7], final),
            test_utils=("test_schema", "test_faketensor"),
        )


@pytest.mark.parametrize(
    ("dtype", "rounded"),
    [(torch.bfloat16, True), (torch.float16, False), (torch.float32, True)],
)
def test_heads_that_share_are_summed_from_what_a_kernel_writes(
    dtype: torch.dtype, rounded: bool
) -> None:
    """float16 would end before a sum over heads does; the kernels for Hopper write bfloat16."""
    x = case(20, H=8, Hk=1, V=16, dtype=dtype)
    found = passes.empty_gradients(x.q, x.k, x.v, x.initial)
    assert {y.shape[2] for y in found[:3]} == {8}
    assert found.q.dtype == dtype
    assert found.k.dtype == found.v.dtype == (dtype if rounded else torch.float32)
    near(outcome(x), exact(x), dtype)


@pytest.mark.parametrize(
    "wanted", [c for n in (1, 3) for c in combinations(NAMES, n)], ids="+".join
)
def test_gradients_of_some_inputs(wanted: tuple[str, ...]) -> None:
    x = case(7, H=1, V=16)
    expected = outcome(x)
    some = x._replace(**{n: getattr(x, n).detach().requires_grad_() for n in wanted})
    torch.autograd.backward(attention(*some), random_cotangents(x))
    for name in NAMES:
        gradient = getattr(some, name).grad
        if name in wanted:
            assert torch.equal(gradient, expected[f"d{name}"])
        else:
            assert gradient is None


def test_slopes_have_no_gradient_and_inputs_stay_as_they_are() -> None:
    x = leaves(case(18, H=1, V=16))
    x.slopes.requires_grad_()
    before = [y.detach().clone() for y in x[:5]]
    torch.autograd.backward(attention(*x), random_cotangents(x))
    assert x.slopes.grad is None
    for y, was in zip(x[:5], before, strict=True):
        assert torch.equal(y, was)


def test_without_gradients() -> None:
    x = leaves(case(18, H=1, V=16))
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            o, state = attention(*x)
        assert not o.requires_grad
        assert not state.requires_grad
    o, state = attention(*case(18, H=1, V=16))
    assert o.grad_fn is None
    again = lightning_attention(*x[:4], initial_state=x.initial)
    assert isinstance(again, torch.Tensor)
    assert torch.equal(o, again)


@pytest.mark.parametrize("which", ["triton", "plain"])
def test_autocast_casts_nothing(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if which == "plain":
        for module in (api, checks):
            monkeypatch.setattr(module, "runs_triton", lambda _: False)
    x = case([12, 8], H=2)

    def form(*args: Any, **options: Any) -> Any:
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
            return lightning_attention(*args, output_final_state=True, **options)

    found = outcome(x, form=form)
    assert found["o"].dtype == torch.float32
    same(found, outcome(x))


@pytest.mark.parametrize("tokens", [18, [9, 9]])
def test_a_second_derivative_is_refused(tokens: Any) -> None:
    x = leaves(case(tokens, H=1, V=16))
    o, _ = attention(*x)
    (dq,) = torch.autograd.grad(o.sum(), x.q, create_graph=True)
    with pytest.raises(RuntimeError, match=r"second derivative .*take .*reference\.chunked"):
        torch.autograd.backward(dq.sum())


@pytest.mark.parametrize("tokens", [18, [12, 0, 8]])
@pytest.mark.parametrize("kind", ["meta", "fake"])
def test_shapes_without_data(tokens: Any, kind: str) -> None:
    x = case(tokens, H=2, Hk=1, dtype=torch.bfloat16)
    with cut_every(16):
        expected = outcome(x)
        do, d_state = random_cotangents(x)
        if kind == "meta":
            empty = moved(x, lambda y: y.to("meta"))
            found = outcome(empty, cotangents=(do.to("meta"), d_state.to("meta")))
        else:
            with FakeTensorMode() as mode:
                cotangents = (mode.from_tensor(do), mode.from_tensor(d_state))
                found = outcome(moved(x, mode.from_tensor), cotangents=cotangents)
    for name, y in expected.items():
        assert found[name].shape == y.shape, name
        assert found[name].dtype == y.dtype, name
        assert found[name].stride() == y.stride(), name


@pytest.mark.gpu
@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("tokens", [5000, [700, 0, 4000, 300]])
def test_inductor(tokens: Any) -> None:
    x = case(tokens, H=4, K=128, V=128, dtype=torch.bfloat16, activation="silu")
    compiled = torch.compile(attention, fullgraph=True)
    y = leaves(x)
    gradients = torch.autograd.grad(compiled(*y), (y.q, y.k, y.v, y.initial), random_cotangents(x))
    expected = outcome(x)
    for name, gradient in zip(("dq", "dk", "dv", "dinitial"), gradients, strict=True):
        assert torch.equal(gradient, expected[name]), name


@pytest.mark.gpu
@pytest.mark.parametrize("tokens", [5000, [700, 0, 4000, 300]])
def test_a_graph_replays_forward_and_backward(tokens: Any) -> None:
    """New numbers, and new boundaries too, are read at every replay."""
    x = leaves(case(tokens, H=4, K=128, V=128, dtype=torch.bfloat16))
    cotangents = random_cotangents(x)
    inputs: Any = (x.q, x.k, x.v, x.initial)
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # compiles
        torch.autograd.grad(attention(*x), inputs, cotangents)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        o, state = attention(*x)
        gradients = torch.autograd.grad((o, state), inputs, cotangents)
    for seed in (3, 4):
        other = case(tokens, H=4, K=128, V=128, dtype=torch.bfloat16, seed=seed)
        with torch.no_grad():
            for y, new in zip(inputs, (other.q, other.k, other.v, other.initial), strict=True):
                y.copy_(new)
            if x.boundaries is not None:
                ends = [0, 64 * seed, 1000, 1000 + seed, 5000]
                x.boundaries.copy_(torch.tensor(ends))
                other = other._replace(boundaries=x.boundaries.clone())
        graph.replay()
        expected = outcome(other, cotangents=cotangents)
        assert torch.equal(o, expected["o"])
        assert torch.equal(state, expected["state"])
        for name, gradient in zip(("dq", "dk", "dv", "dinitial"), gradients, strict=True):
            assert torch.equal(gradient, expected[name]), name
