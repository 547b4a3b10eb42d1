"""Megatron-Core without a GPU: what stands in for CUDA, and that parallel parts agree with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.trainer.megatron import stock_model
from tests.trainer.ranks import run_ranks
from trainer.megatron import cpu
from trainer.megatron.start import Layout, start

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="stands in where CUDA is absent")


def _without() -> list[str]:
    from megatron.core.optimizer import clip_grads

    cuda: Any = torch.cuda
    calls: dict[str, Callable[[], object]] = {
        "generators": cuda.get_rng_state,
        "streams": cuda.Stream,
        "devices": cuda.current_device,
        "literals": lambda: clip_grads.get_grad_norm_fp32([torch.ones(1)]),
        "methods": torch.ones(1).cuda,
    }
    failed = []
    for name, call in calls.items():
        try:
            call()
        except (AssertionError, RuntimeError):
            failed.append(name)
    return failed


def test_megatron_core_still_asks_for_cuda() -> None:
    assert run_ranks(_without, 1) == [["generators", "streams", "devices", "literals", "methods"]]


def _installed() -> None:
    kept = torch.zeros, torch.tensor
    cpu.install()
    stream, type_of = torch.cuda.Stream, torch.Tensor.type
    cpu.install()
    assert (torch.cuda.Stream, torch.Tensor.type) == (stream, type_of)
    assert (torch.zeros, torch.tensor) == kept  # only Megatron-Core's modules see others
    assert not torch.cuda.is_available()
    cuda: Any = torch.cuda
    assert cuda.current_device() == torch.device("cpu")
    with cuda.stream(cuda.Stream()):
        cuda.current_stream().wait_stream(cuda.default_stream())
        cuda.current_stream().record_event().synchronize()
    x = torch.ones(2)
    assert x.cuda() is x
    assert x.type() == "torch.FloatTensor"  # to this code
    namespace: dict[str, Any] = {"__name__": "megatron.core.any", "x": x}
    exec("found = x.type(), x.bfloat16().type(), x.long().type()", namespace)
    assert namespace["found"] == (
        "torch.cuda.FloatTensor", "torch.cuda.BFloat16Tensor", "torch.LongTensor",
    )  # fmt: skip
    assert x.type(torch.float64).dtype == torch.float64

    from megatron.core.optimizer import clip_grads

    made = clip_grads.torch.zeros(2, device="cuda", pin_memory=True)
    assert made.device.type == "cpu"
    assert clip_grads.torch.float32 is torch.float32


def test_install() -> None:
    run_ranks(_installed, 1)


def _draws(seed: int) -> dict[str, list[float]]:
    start(Layout(tp=2, ep=2), seed)
    from megatron.core.tensor_parallel import get_cuda_rng_tracker

    logs: list[str] = []
    logging.getLogger("megatron").addHandler(handler := logging.Handler())
    handler.emit = lambda record: logs.append(record.getMessage())  # type: ignore[method-assign]
    tracker = get_cuda_rng_tracker()
    before = torch.get_rng_state()
    drawn: dict[str, list[float]] = {}
    for _ in range(2):  # the second time each goes on where it was
        for name in ("model-parallel-rng", "expert-parallel-rng", "data-parallel-rng"):
            with tracker.fork(name):
                drawn.setdefault(name, []).extend(torch.rand(2).tolist())
                with tracker.fork("model-parallel-rng"):  # one inside another
                    drawn.setdefault("inner", []).extend(torch.rand(1).tolist())
                drawn[name].extend(torch.rand(1).tolist())
    assert torch.equal(torch.get_rng_state(), before)
    assert logs == []
    with pytest.raises(KeyError, match="found no random state 'absent'"), tracker.fork("absent"):
        pass
    return drawn


def test_random_states_differ_by_rank_and_repeat() -> None:
    first, second = run_ranks(_draws, 2, 5)
    assert first["data-parallel-rng"] == second["data-parallel-rng"]
    for name in ("model-parallel-rng", "expert-parallel-rng", "inner"):
        assert not set(first[name]) & set(second[name])
    assert [first, second] == run_ranks(_draws, 2, 5)
    assert run_ranks(_draws, 2, 6)[0] != first
    own = first["data-parallel-rng"]
    assert len(set(own)) == len(own)  # no draw repeats


def _curve(layout: Layout, more: dict[str, Any]) -> list[list[float]]:
    return stock_model.train(stock_model.begin(layout, **more), 0, 2)


def test_full_recomputation_gives_the_same_gradients() -> None:
    dropout = {"hidden_dropout": 0.2}  # its masks are drawn again from the states
    recompute = {
        "recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1,
    }  # fmt: skip
    assert run_ranks(_curve, 1, Layout(), dropout) == run_ranks(
        _curve, 1, Layout(), dropout | recompute
    )


def _linear(layout: Layout, sequence_parallel: bool) -> list[Any]:
    """A column- and a row-parallel linear: output and gradients, whole."""
    ranks = start(layout, 1)
    from megatron.core import ModelParallelConfig
    from megatron.core.tensor_parallel import (
        ColumnParallelLinear,
        RowParallelLinear,
        gather_from_sequence_parallel_region,
        scatter_to_sequence_parallel_region,
    )

    config = ModelParallelConfig(
        tensor_model_parallel_size=layout.tp,
        sequence_parallel=sequence_parallel,
        gradient_accumulation_fusion=False,
    )
    generator = torch.Generator().manual_seed(7)
    x, up, down = (
        torch.randn(shape, generator=generator) for shape in ((6, 1, 8), (12, 8), (8, 12))
    )
    rows = slice(ranks.tp_rank * 12 // layout.tp, (ranks.tp_rank + 1) * 12 // layout.tp)
    made = {"config": config, "init_method": torch.nn.init.zeros_, "bias": False}
    first = ColumnParallelLinear(8, 12, gather_output=False, **made)
    second = RowParallelLinear(12, 8, input_is_parallel=True, skip_bias_add=False, **made)
    first.weight.data, second.weight.data = up[rows].clone(), down[:, rows].clone()
    x.requires_grad_()
    part = scatter_to_sequence_parallel_region(x) if sequence_parallel else x
    y = second(first(part)[0].relu())[0]
    if sequence_parallel:
        y = gather_from_sequence_parallel_region(y, tensor_parallel_output_grad=False)
    y.square().sum().backward()
    assert x.grad is not None
    return [found.tolist() for found in (y, x.grad, first.weight.grad)]


def test_tensor_parallel_linears_with_sequence_parallelism_agree_with_one_rank() -> None:
    [(y, x_gradient, weight_gradient)] = run_ranks(_linear, 1, Layout(), False)
    parts = run_ranks(_linear, 2, Layout(tp=2), True)
    torch.testing.assert_close(torch.tensor(parts[0][0]), torch.tensor(y))
    torch.testing.assert_close(torch.tensor(parts[0][1]), torch.tensor(x_gradient))
    together = torch.tensor([*parts[0][2], *parts[1][2]])
    torch.testing.assert_close(together, torch.tensor(weight_gradient))
