"""Attention of a fused projection: that of its views, and a gradient that nobody put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from kernels.lightning import api, checks, fused, lightning_attention, lightning_attention_qkv
from tests.kernels.tensors.attention_cases import (
    DEVICE,
    Case,
    Results,
    case,
    cut_every,
    outcome,
    random_cotangents,
    same,
)


def projection(x: Case) -> torch.Tensor:
    """``[B, T, H, 2K + V]``."""
    return torch.cat([x.q, x.k, x.v], 3)


def parts(x: torch.Tensor, K: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views of q, k and v, or of their gradients."""
    return x[..., :K], x[..., K : 2 * K], x[..., 2 * K :]


def fused_outcome(
    x: Case,
    form: Callable[..., Any] = lightning_attention_qkv,
    qkv: torch.Tensor | None = None,
    cotangents: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> Results:
    """The outputs, states and gradients of the fused form under the names of the other."""
    qkv = projection(x) if qkv is None else qkv
    qkv = qkv.detach().requires_grad_()
    initial = None if x.initial is None else x.initial.detach().requires_grad_()
    K = x.q.shape[3]
    o, state = form(
        qkv, x.slopes, key_size=None if x.v.shape[3] == K else K,
        initial_state=initial, output_final_state=True, cu_seqlens=x.boundaries,
        scale=x.scale, activation=x.activation,
    )  # fmt: skip
    inputs = [qkv] if initial is None else [qkv, initial]
    d_qkv, *rest = torch.autograd.grad([o, state], inputs, cotangents or random_cotangents(x))
    names = ("dq", "dk", "dv")
    found = dict(zip(names, parts(d_qkv, K), strict=True))
    found |= {"o": o.detach(), "state": state.detach(), "dqkv": d_qkv}
    return found | ({"dinitial": rest[0]} if rest else {})


CASES: dict[str, tuple[int, Callable[..., Case]]] = {
    "dense": (1024, partial(case, 21, B=2, H=2, K=16, V=16, activation="silu")),
    "packed, K and V differ": (16, partial(case, [20, 0, 9], H=2, V=32, activation="silu")),
    "no state": (16, partial(case, 18, H=1, K=32, V=16, initial=False, dtype=torch.float16)),
}
"""Tokens of a segment, and the case."""


@pytest.mark.parametrize("form", ["triton", "plain"])
@pytest.mark.parametrize("name", CASES)
def test_it_is_attention_of_the_views(
    name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, whole and cut."""
    if form == "plain":
        for module in (api, checks, fused):
            monkeypatch.setattr(module, "runs_triton", lambda _: False)
    segment, make = CASES[name]
    x = make(scale=0.5)
    q, k, v = parts(projection(x), x.q.shape[3])
    with cut_every(segment):
        found = fused_outcome(x)
        same(found, outcome(x._replace(q=q, k=k, v=v)))
    assert found["dqkv"].is_contiguous()


def test_part_of_a_wider_projection() -> None:
    """As behind a gate of each head: read by its strides, and its neighbours are not touched."""
    x = case(19, B=2, H=2, K=16, V=16, activation="silu")
    wide = torch.full((2, 19, 2, 64), torch.nan, device=DEVICE)
    wide[..., 16:] = projection(x)
    expected = outcome(x)
    same(fused_outcome(x, qkv=wide[..., 16:]), expected)
    strided = projection(x).mT.contiguous().mT  # read as a copy
    assert strided.stride(3) != 1
    same(fused_outcome(x, qkv=strided), expected)


class Recorded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The names of all operators that are called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_nothing_is_put_together() -> None:
    x = case(40, H=2, K=16, V=16, dtype=torch.bfloat16, activation="silu")
    qkv = projection(x).requires_grad_()
    with cut_every(16), Recorded() as called:
        o = lightning_attention_qkv(qkv, x.slopes, activation="silu")
        assert isinstance(o, torch.Tensor)
        torch.autograd.grad(o, qkv, random_cotangents(x)[0])
    operators = [name for name in called.names if name.startswith("leyden")]
    assert operators == ["leyden::lightning_qkv_forward", "leyden::lightning_qkv_backward"]
    making = {"aten::cat", "aten::slice_backward", "aten::copy_", "aten::clone", "aten::add.Tensor"}
    assert not making & set(called.names)


def test_one_cotangent_or_none() -> None:
    x = case(9, H=1, V=16)
    _, d_state = random_cotangents(x)
    qkv = projection(x).requires_grad_()
    found = lightning_attention_qkv(qkv, x.slopes, output_final_state=True)
    (gradient,) = torch.autograd.grad(found[1], qkv, d_state, retain_graph=True)
    views = [y.requires_grad_() for y in (x.q, x.k, x.v)]
    q, k, v = views
    _, state = lightning_attention(q, k, v, x.slopes, output_final_state=True)
    separate = torch.autograd.grad(state, views, d_state)
    assert torch.equal(gradient, torch.cat(separate, 3))
    assert lightning_attention_qkv(qkv.detach(), x.slopes).grad_fn is None  # type: ignore[union-attr]


@pytest.fixture
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh")
def test_it_compiles_without_breaking_the_graph() -> None:
    x = case([12, 0, 8], H=2, K=16, V=32, dtype=torch.bfloat16, activation="silu")

    def form(qkv: torch.Tensor, *args: Any, **options: Any) -> Any:
        o, state = lightning_attention_qkv(qkv * 2, *args, **options)
        return o + 1, state * 2

    compiled = torch.compile(form, fullgraph=True, backend="aot_eager")
    with cut_every(16):
        same(fused_outcome(x, compiled), fused_outcome(x, form))


def test_the_operators_keep_what_they_declare() -> None:
    x = case([8, 0, 5], H=2, V=32, activation="silu")
    qkv = projection(x).requires_grad_()
    common = (x.slopes, x.initial, x.boundaries, 16, x.scale, True, True)
    with cut_every(16):
        torch.library.opcheck(
            torch.ops.leyden.lightning_qkv_forward.default,
            (qkv, *common),
            test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
        )
        o, state, carried = torch.ops.leyden.lightning_qkv_forward.default(qkv.detach(), *common)
        torch.library.opcheck(
            torch.ops.leyden.lightning_qkv_backward.default,
            (o, state, qkv.detach(), *common[:2], carried, *common[2:5], True),
            test_utils=("test_schema", "test_faketensor"),
        )


@pytest.mark.parametrize("kind", ["meta", "fake"])
def test_shapes_without_data(kind: str) -> None:
    x = case([12, 0, 8], H=2, V=32, dtype=torch.bfloat16, activation="silu")

    def moved(move: Callable[[torch.Tensor], torch.Tensor]) -> Results:
        tensors = {n: move(y) for n, y in x._asdict().items() if isinstance(y, torch.Tensor)}
        changed: dict[str, Any] = dict(tensors)
        do, d_state = random_cotangents(x)
        return fused_outcome(x._replace(**changed), cotangents=(move(do), move(d_state)))

    with cut_every(16):
        expected = fused_outcome(x)
        if kind == "meta":
            found = moved(lambda y: y.to("meta"))
        else:
            with FakeTensorMode() as mode:
                found = moved(mode.from_tensor)
    for name, y in expected.items():
        assert found[name].shape == y.shape, name
        assert found[name].dtype == y.dtype, name
        assert found[name].stride() == y.stride(), name


def test_a_second_derivative_is_refused() -> None:
    x = case(9, H=1, V=16)
    qkv = projection(x).requires_grad_()
    o = lightning_attention_qkv(qkv, x.slopes)
    assert isinstance(o, torch.Tensor)
    (gradient,) = torch.autograd.grad(o.sum(), qkv, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.backward(gradient.sum())


BAD: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "three dimensions": (r"qkv \[9, 2, 48\]; expected \[B, T, H, 2K \+ V\]", (9, 2, 48), {}),
    "no thirds": ("50 columns of qkv; expected a multiple of 3", (1, 9, 2, 50), {}),
    "no keys": ("key_size=0 and 48 columns", (1, 9, 2, 48), {"key_size": 0}),
    "no values": (r"key_size=24 .* expected 2K \+ V", (1, 9, 2, 48), {"key_size": 24}),
    "slopes": (r"slopes \[2\]; expected .*\[4\]", (1, 9, 4, 48), {}),
    "activation": ("activation='relu'", (1, 9, 2, 48), {"activation": "relu"}),
    "state": (
        "found initial_state",
        (1, 9, 2, 48),
        {"initial_state": torch.ones(1, device=DEVICE)},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    message, shape, options = BAD[name]
    qkv, slopes = torch.ones(shape, device=DEVICE), torch.ones(2, device=DEVICE)
    with pytest.raises(ValueError, match=message):
        lightning_attention_qkv(qkv, slopes, **options)
