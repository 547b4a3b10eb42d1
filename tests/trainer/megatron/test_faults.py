"""Each fault of Megatron-Core shows in a fresh process, and is gone when it is mended.

A test that fails here before ``mend`` says that upstream has mended the fault: remove its entry.
"""

from __future__ import annotations

import os
import queue
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from tests.trainer.ranks import run_ranks
from trainer.megatron import faults


def _present() -> tuple[list[str], list[str]]:
    before = [fault.name for fault in faults.FAULTS if fault.present()]
    faults.mend()
    faults.mend()
    return before, [fault.name for fault in faults.FAULTS if fault.present()]


def test_every_fault_is_still_upstream_and_is_mended() -> None:
    [(before, after)] = run_ranks(_present, 1)
    assert before == [fault.name for fault in faults.FAULTS]
    assert after == []


def _route() -> None:
    from megatron.core.transformer.moe.moe_utils import router_gating_linear

    x = torch.randn(3, 4, requires_grad=True)
    weight = torch.randn(2, 4, requires_grad=True)
    with pytest.raises(NameError, match="te_general_gemm"):
        router_gating_linear(x, weight, None, torch.float32)
    faults.mend()
    y = router_gating_linear(x, weight, None, torch.float32)
    torch.testing.assert_close(y, x @ weight.T)
    y.sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, x.detach().sum(0).expand(2, 4))


def test_router() -> None:
    run_ranks(_route, 1)


def _dispatch() -> None:
    from megatron.core.transformer.moe import token_dispatcher

    from trainer.megatron import start

    start.start(start.Layout(), 1)
    rows, out = torch.arange(6.0).view(3, 2), torch.empty(3, 2)
    moved = token_dispatcher.maybe_move_tensor_to_cpu(torch.tensor([3]), as_numpy=True)
    torch.distributed.all_to_all_single(out, rows, moved, moved)
    assert torch.equal(out, rows)
    kept = token_dispatcher.maybe_move_tensor_to_cpu(torch.tensor([3]))
    assert isinstance(kept, torch.Tensor)  # what is not asked for as numpy stays a tensor
    assert token_dispatcher.maybe_move_tensor_to_cpu(None, as_numpy=True) is None


def test_splits() -> None:
    run_ranks(_dispatch, 1)


def _adam(parameters: list[torch.nn.Parameter]) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW(parameters)
    faults.fill_adam_state(optimizer)
    return optimizer


def _fresh_state() -> None:
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    parameter = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(AssertionError):
        DistributedOptimizer.state_dict(faults._bare(torch.optim.AdamW([parameter]), parameter))
    faults.mend()
    optimizer = torch.optim.AdamW([parameter], lr=0.5)
    found = DistributedOptimizer.state_dict(faults._bare(optimizer, parameter))
    [group] = found["optimizer"]["param_groups"]
    assert (group["step"], group["lr"], "params" in group) == (0.0, 0.5, False)
    assert torch.equal(optimizer.state[parameter]["exp_avg"], torch.zeros(2))
    # A rank whose shard holds no parameter.
    empty = torch.optim.AdamW([parameter])
    empty.param_groups[0]["params"] = []
    found = DistributedOptimizer.state_dict(faults._bare(empty, parameter))
    assert found["optimizer"]["param_groups"][0]["step"] == 0.0


def test_state_of_a_fresh_optimizer() -> None:
    run_ranks(_fresh_state, 1)


def _missed_step() -> None:
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = _adam([parameter])
    optimizer.state[parameter]["step"].fill_(7)
    bare = faults._bare(optimizer, parameter)
    stored = {name: torch.full((2,), 3.0) for name in ("param", "exp_avg", "exp_avg_sq")}
    with pytest.raises(KeyError, match="step"), torch.no_grad():
        DistributedOptimizer._set_main_param_and_optimizer_states(bare, parameter, stored)
    faults.mend()
    DistributedOptimizer._set_main_param_and_optimizer_states(bare, parameter, stored)
    assert torch.equal(parameter, torch.full((2,), 3.0))
    assert optimizer.state[parameter]["step"] == 7
    assert "step" not in stored


def test_step_that_is_missed() -> None:
    run_ranks(_missed_step, 1)


def _steps_after_load() -> list[float]:
    """Adam's step of each parameter after a load at step 2 and one more step."""
    from tests.trainer.megatron import stock_model
    from trainer.megatron.start import Layout

    started = stock_model.begin(Layout())
    stock_model.train(started, 0, 2)
    [inner] = started.optimizer.chained_optimizers
    inner.load_state_dict(inner.state_dict())
    stock_model.train(started, 2, 1)
    return [float(state["step"]) for state in inner.optimizer.state.values()]


def _unmended_steps_after_load() -> list[float]:
    shared = [fault for fault in faults.FAULTS if fault.name == "Adam's step is shared"]
    faults.FAULTS = tuple(fault for fault in faults.FAULTS if fault not in shared)
    return _steps_after_load()


def test_every_parameter_advances_its_own_step_after_a_load() -> None:
    assert set(run_ranks(_steps_after_load, 1)[0]) == {3.0}
    [found] = run_ranks(_unmended_steps_after_load, 1)
    assert set(found) == {2.0 + len(found)}


def _write(folder: str) -> None:
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    def forks() -> NoReturn:
        raise OSError("forked")

    os.fork = forks
    writer = filesystem_async.FileSystemWriterAsync
    answers: queue.Queue[Any] = queue.Queue()
    buckets: list[Any] = [(f"{folder}/{i}", str(i), ([], [])) for i in range(2)]
    with pytest.raises(OSError, match="forked"):
        writer.write_preloaded_data_multiproc([], False, 0, buckets, answers)
    faults.mend()
    writer.write_preloaded_data_multiproc([], False, 0, buckets, answers)
    assert answers.get_nowait() == {0: [], 1: []}
    assert sorted(file.name for file in Path(folder).iterdir()) == ["0", "1"]
    absent: Any = (f"{folder}/absent/2", "2", ([], []))
    writer.write_preloaded_data_multiproc([], False, 0, [*buckets, absent], answers)
    assert isinstance(answers.get_nowait(), FileNotFoundError)
    assert isinstance(filesystem_async._get_write_results_queue(), queue.Queue)


def _mixed() -> None:
    for mended in (False, True):
        half, full, parameters, order = faults._mixed_group()
        assert [p.dtype for p in parameters] == [torch.float32, torch.float32]
        is_own = [parameters[order[p][1]].data_ptr() == p.data_ptr() for p in (half, full)]
        assert is_own == [False, mended]  # the half has a copy in float32
        assert order[half] != order[full]
        faults.mend()


def test_a_mixed_group_knows_its_parameters() -> None:
    run_ranks(_mixed, 1)


def test_saving_neither_forks_nor_spawns(tmp_path: Path) -> None:
    run_ranks(_write, 1, str(tmp_path))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = faults.importlib.util.find_spec  # type: ignore[attr-defined]
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "psutil" else found(name)
    )
    with pytest.raises(RuntimeError, match="found no package psutil") as error:
        faults.mend()
    assert "pip install" in str(error.value)
