"""Mends faults of Megatron-Core 0.16.1 where Transformer Engine is not installed, on any device.

Each fault says where it is, what it shows, and how to tell whether upstream still has it: what is
gone upstream is left alone, and a test fails so that its entry is removed here.

Left as they are, for no model of this project meets them: the norm after the last layer ignores
the provider of norms where a block is given one layer's ``ModuleSpec`` (ours are given
``TransformerBlockSubmodules``, which name it), and ``WrappedTorchNorm`` refuses sequence
parallelism (ours is ``kernels.norms.RMSNorm``).
"""

from __future__ import annotations

import importlib.util
import inspect
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch


@dataclass(frozen=True)
class Fault:
    """``name`` of a fault, whether the installed Megatron-Core has it, and what mends it."""

    name: str
    present: Callable[[], bool]
    mend: Callable[[], None]


def fill_adam_state(optimizer: torch.optim.Optimizer) -> None:
    """Gives parameters of torch's Adam that have no state yet the one that they start from."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if not state:
                # As torch's Adam makes it: on the CPU unless it is fused or captured in a graph.
                on_device = group.get("fused") or group.get("capturable")
                state["step"] = torch.zeros(
                    (), dtype=torch.float32, device=parameter.device if on_device else "cpu"
                )
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)


def _is_torch_adam(optimizer: object) -> bool:
    return isinstance(optimizer, torch.optim.Adam)  # AdamW is one


def _router_lacks_gemm() -> bool:
    from megatron.core.transformer.moe import moe_utils

    return not hasattr(moe_utils, "te_general_gemm")


def _mend_router() -> None:
    """``moe_utils.router_gating_linear``: ``NameError: te_general_gemm`` at the first token.

    The name is bound only where Transformer Engine imports; what reads it asks for None.
    """
    from megatron.core.transformer.moe import moe_utils

    moe_utils.te_general_gemm = None


def _splits_stay_tensors() -> bool:
    from megatron.core.transformer.moe import token_dispatcher

    moved = token_dispatcher.maybe_move_tensor_to_cpu(torch.ones(1), as_numpy=True)
    return isinstance(moved, torch.Tensor)


def _mend_splits() -> None:
    """``moe_utils.maybe_move_tensor_to_cpu(as_numpy=True)``: what is on the CPU stays a tensor.

    The all-to-all dispatcher hands it on as split sizes: ``TypeError`` in ``all_to_all_single``.
    """
    from megatron.core.transformer.moe import moe_utils, token_dispatcher

    upstream = moe_utils.maybe_move_tensor_to_cpu

    def move(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
        moved = upstream(tensor, as_numpy=as_numpy, record_stream=record_stream)
        return moved.numpy() if as_numpy and isinstance(moved, torch.Tensor) else moved

    moe_utils.maybe_move_tensor_to_cpu = token_dispatcher.maybe_move_tensor_to_cpu = move


def _bare(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> Any:
    """As much of a ``DistributedOptimizer`` of one parameter as the methods below read."""
    return SimpleNamespace(
        optimizer=optimizer,
        grad_scaler=None,
        config=SimpleNamespace(use_precision_aware_optimizer_no_fp8_or_ds_fp8=False, fp16=False),
        ddp_config=SimpleNamespace(use_megatron_fsdp=False),
        model_param_group_index_map={parameter: (0, 0)},
    )


def _fresh_state_asserts() -> bool:
    from megatron.core.optimizer.distrib_optimizer import HAVE_APEX_OR_TE, DistributedOptimizer

    if HAVE_APEX_OR_TE:
        return False  # torch's Adam is not used
    parameter = torch.nn.Parameter(torch.zeros(1))
    try:
        DistributedOptimizer.state_dict(_bare(torch.optim.AdamW([parameter]), parameter))
    except AssertionError:
        return True
    return False


def _mend_fresh_state() -> None:
    """``DistributedOptimizer.state_dict`` before the first step: ``assert len(steps) == 1``.

    So in a fresh process nothing can be loaded. The same on a rank whose shard holds no parameter,
    at any step; there the step is 0, which nothing reads.
    """
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    upstream = DistributedOptimizer.state_dict

    def state_dict(self: Any) -> dict[str, Any]:
        if not _is_torch_adam(self.optimizer):
            return dict(upstream(self))
        fill_adam_state(self.optimizer)
        if self.optimizer.state:
            return dict(upstream(self))
        groups = self.optimizer.state_dict()["param_groups"]
        for group in groups:
            del group["params"]
            group["step"] = 0.0
        state = {"optimizer": {"param_groups": groups}}
        return state | ({"grad_scaler": self.grad_scaler.state_dict()} if self.grad_scaler else {})

    DistributedOptimizer.state_dict = state_dict


def _step_is_missed() -> bool:
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter])
    fill_adam_state(optimizer)
    zeros = {name: torch.zeros(1) for name in ("param", "exp_avg", "exp_avg_sq")}
    try:
        with torch.no_grad():
            DistributedOptimizer._set_main_param_and_optimizer_states(
                _bare(optimizer, parameter), parameter, zeros
            )
    except KeyError:
        return True
    return False


def _mend_missed_step() -> None:
    """``load_parameter_state_from_fully_reshardable``: ``KeyError: 'step'``.

    It leaves Adam's ``step`` out of what it hands to ``_set_main_param_and_optimizer_states``,
    which copies all that the state holds. The step there is the right one: ``load_state_dict``
    has set it.
    """
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    upstream = DistributedOptimizer._set_main_param_and_optimizer_states

    def set_states(self: Any, model_param: torch.Tensor, tensors: dict[str, Any]) -> None:
        if _is_torch_adam(self.optimizer) and "step" not in tensors:
            group, order = self.model_param_group_index_map[model_param]
            state = self.optimizer.state[self.optimizer.param_groups[group]["params"][order]]
            if "step" in state:
                tensors = {**tensors, "step": state["step"]}
        with torch.no_grad():  # fp32 parameters are leaves that want gradients
            upstream(self, model_param, tensors)

    DistributedOptimizer._set_main_param_and_optimizer_states = set_states


def _step_is_shared() -> bool:
    from megatron.core.optimizer.distrib_optimizer import HAVE_APEX_OR_TE, DistributedOptimizer

    if HAVE_APEX_OR_TE:
        return False
    first, second = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([first, second])
    fill_adam_state(optimizer)
    marks = {"wd_mult": 1.0, "lr_mult": 1.0, "is_expert_parallel": False, "is_decoupled_lr": False}
    optimizer.param_groups[0].update(marks)
    bare = _bare(optimizer, first)
    group = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    DistributedOptimizer.load_state_dict(
        bare, {"optimizer": {"param_groups": [group | {"step": 1.0}]}}
    )
    return optimizer.state[first]["step"] is optimizer.state[second]["step"]


def _mend_shared_step() -> None:
    """``DistributedOptimizer.load_state_dict``: all parameters get one tensor as Adam's ``step``.

    Each parameter then advances it, so that a step counts as many steps as there are parameters:
    Adam's bias correction is gone at once after a resume. Silent.
    """
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    upstream = DistributedOptimizer.load_state_dict

    def load_state_dict(self: Any, state_dict: dict[str, Any]) -> None:
        upstream(self, state_dict)
        if _is_torch_adam(self.optimizer):
            for state in self.optimizer.state.values():
                state["step"] = state["step"].clone()

    DistributedOptimizer.load_state_dict = load_state_dict


def _mixed_group() -> tuple[Any, Any, list[Any], dict[Any, tuple[int, int]]]:
    """A group of a 16-bit and a float32 parameter, as a ``DistributedOptimizer`` orders it.

    Returns both parameters, what the group's optimizer has, and where it looks for them there.
    """
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    half: Any = torch.nn.Parameter(torch.zeros(1, dtype=torch.half))
    full: Any = torch.nn.Parameter(torch.zeros(1))
    # Their names on a GPU, which is where it looks for either.
    half.type, full.type = lambda: "torch.cuda.HalfTensor", lambda: "torch.cuda.FloatTensor"
    place = {"param": SimpleNamespace(start=0, end=1)}
    buffers = [{0: [{"param_map": {parameter: place}}]} for parameter in (half, full)]
    groups: list[Any] = [{"params": [half, full]}]
    order, ranges = DistributedOptimizer._build_optimizer_group_ranges(groups, buffers)
    DistributedOptimizer._build_model_and_main_param_groups(
        buffers,
        {parameter: (number, 0, 0) for number, parameter in enumerate((half, full))},
        ranges,
        SimpleNamespace(use_precision_aware_optimizer_no_fp8_or_ds_fp8=False, fp8_recipe=None),
    )
    return half, full, groups[0]["params"], order


def _mixed_group_is_mistaken() -> bool:
    _, full, parameters, order = _mixed_group()
    return bool(parameters[order[full][1]].data_ptr() != full.data_ptr())


def _mend_mixed_group() -> None:
    """``DistributedOptimizer._build_optimizer_group_ranges``: the wrong parameter's states.

    Of a group with float32 and 16-bit parameters the inner optimizer has the float32 ones first,
    and the map that says where a parameter's states are does not know: a checkpoint fails with
    ``The size of tensor a must match``, or silently has the states of another of the same size.
    """
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    upstream = DistributedOptimizer._build_optimizer_group_ranges

    def build(_: Any, param_groups: Any, gbuf_ranges: Any) -> tuple[Any, Any]:
        _, ranges = upstream(param_groups, gbuf_ranges)
        order: dict[Any, tuple[int, int]] = {}
        for number, group in enumerate(ranges):
            group["params"].sort(key=lambda parameter: parameter.dtype != torch.float32)  # stable
            order |= {parameter: (number, at) for at, parameter in enumerate(group["params"])}
        return order, ranges

    DistributedOptimizer._build_optimizer_group_ranges = classmethod(build)


def _saving_forks() -> bool:
    from megatron.core.dist_checkpointing.strategies.filesystem_async import FileSystemWriterAsync

    return 'get_context("fork")' in inspect.getsource(
        FileSystemWriterAsync.write_preloaded_data_multiproc
    )


def _mend_saving() -> None:
    """``FileSystemWriterAsync.write_preloaded_data_multiproc``: saving forks, and may never end.

    It forks a process that has threads and a CUDA context for every file, and waits for ever for
    one that dies (for want of psutil, say, or of memory). A spawned process besides serves the
    queue of results: it imports the main program again, and outlives a killed run. Threads do
    both here, as upstream later came to (Megatron-LM #3424).
    """
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    writer = filesystem_async.FileSystemWriterAsync

    def write(
        transforms: list[Any], use_msc: bool, rank: int, buckets: list[Any], answers: Any
    ) -> None:
        del rank
        results: queue.Queue[tuple[int, Any]] = queue.Queue()
        begun: queue.Queue[int] = queue.Queue()

        def write_one(number: int) -> None:
            begun.put(number)
            writer.write_preloaded_data(
                transforms,
                local_proc_idx=number,
                write_bucket=buckets[number],
                results_queue=results,
                count_queue=begun,
                use_fsync=True,
                use_msc=use_msc,
            )

        with ThreadPoolExecutor(len(buckets)) as threads:
            for done in [threads.submit(write_one, number) for number in range(len(buckets))]:
                done.result()
        written = dict(results.get_nowait() for _ in buckets)
        # An error is an answer: what reads them raises it on every rank.
        errors = [found for found in written.values() if isinstance(found, Exception)]
        answers.put(errors[0] if errors else written)

    writer.write_preloaded_data_multiproc = staticmethod(write)
    filesystem_async._get_write_results_queue = queue.Queue


FAULTS: tuple[Fault, ...] = (
    Fault("router needs te_general_gemm", _router_lacks_gemm, _mend_router),
    Fault("split sizes stay tensors on a CPU", _splits_stay_tensors, _mend_splits),
    Fault("state of a fresh optimizer", _fresh_state_asserts, _mend_fresh_state),
    Fault("Adam's step is missed", _step_is_missed, _mend_missed_step),
    Fault("Adam's step is shared", _step_is_shared, _mend_shared_step),
    Fault("a mixed group is mistaken", _mixed_group_is_mistaken, _mend_mixed_group),
    Fault("saving forks", _saving_forks, _mend_saving),
)


def check_packages() -> None:
    """Raises RuntimeError, naming the package, where one that training needs is not installed.

    psutil is one that Megatron-Core does not declare, and misses when it saves a checkpoint.
    """
    for module, package in (("megatron.core", "megatron-core==0.16.1"), ("psutil", "psutil>=6,<8")):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # of the package that holds it
            found = None
        if found is None:
            raise RuntimeError(
                f"found no package {module}, expected it for training; "
                f"install it: pip install 'leyden[train]' (or '{package}')"
            )


def mend() -> None:
    """Mends every fault that the installed Megatron-Core still has; once however often called."""
    check_packages()
    for fault in FAULTS:
        if fault.present():
            fault.mend()
