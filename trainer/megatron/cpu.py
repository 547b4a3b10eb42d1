"""Stands in for the CUDA calls that Megatron-Core 0.16.1 makes where there is no GPU.

Megatron-Core asks for CUDA unconditionally in few ways, and each has one answer here:

1. functions and classes of ``torch.cuda`` (``current_device()``, streams, events, generators):
   replaced one by one; without CUDA every one of them would raise;
2. its tracker of random states, which keeps those of the GPU: it keeps the CPU's;
3. ``torch.zeros(..., device="cuda")`` in a dozen of its modules: each sees, by the name ``torch``,
   a module that turns the device into the CPU and hands everything else to the real one. A
   ``TorchFunctionMode`` would do the same, and slow every operator of the model;
4. tests such as ``param.type() == "torch.cuda.FloatTensor"``: a tensor on the CPU is named so, to
   code of ``megatron.core`` alone;
5. ``torch.compile`` of a few of its functions, which on a CPU takes longer than they ever run for.

With gloo, tensor parallelism with sequence parallelism, pipelines, expert parallelism, the
distributed optimizer and distributed checkpoints then run on a CPU by the code that runs on GPUs.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

_FACTORIES = (
    "arange", "empty", "empty_like", "full", "full_like", "ones", "ones_like", "tensor", "zeros",
    "zeros_like",
)  # fmt: skip

# The modules of Megatron-Core that write device="cuda" on a path of training or of checkpoints.
_WITH_LITERALS = (
    "megatron.core.dist_checkpointing.exchange_utils",
    "megatron.core.dist_checkpointing.mapping",
    "megatron.core.dist_checkpointing.strategies.state_dict_saver",
    "megatron.core.optimizer.clip_grads",
    "megatron.core.optimizer.grad_scaler",
    "megatron.core.optimizer.optimizer",
    "megatron.core.pipeline_parallel.schedules",
    "megatron.core.rerun_state_machine",
    "megatron.core.tensor_parallel.data",
    "megatron.core.transformer.moe.moe_utils",
    "megatron.core.transformer.utils",
    "megatron.core.utils",
)

_CPU_NAMES = {
    "torch.FloatTensor": "torch.cuda.FloatTensor",
    "torch.HalfTensor": "torch.cuda.HalfTensor",
    "torch.BFloat16Tensor": "torch.cuda.BFloat16Tensor",
}


class _Stream:
    """A stream of a device that has none: what it is given is done when the call returns."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def wait_stream(self, _: _Stream) -> None: ...

    def wait_event(self, _: _Event) -> None: ...

    def synchronize(self) -> None: ...

    def record_event(self, event: _Event | None = None) -> _Event:
        return _Event() if event is None else event

    def query(self) -> bool:
        return True


class _Event:
    """An event of such a stream: always past."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def record(self, _: _Stream | None = None) -> None: ...

    def wait(self, _: _Stream | None = None) -> None: ...

    def synchronize(self) -> None: ...

    def query(self) -> bool:
        return True


_STREAM = _Stream()


def _nothing() -> Callable[..., None]:
    """A function that does nothing: each its own, for torch.compile tells functions apart."""
    return lambda *_, **__: None


class _TorchOnCpu(types.ModuleType):
    """torch, whose factories make on the CPU what they are told to make on CUDA."""

    def __init__(self) -> None:
        super().__init__("torch")
        for name in _FACTORIES:
            setattr(self, name, _on_cpu(getattr(torch, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def _is_cuda(device: object) -> bool:
    return str(device).startswith("cuda")


def _on_cpu(factory: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def make(*args: Any, **kwargs: Any) -> torch.Tensor:
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = "cpu"
        kwargs.pop("pin_memory", None)  # memory is pinned for copies to a GPU
        return factory(*args, **kwargs)

    return make


def _get_rng_state(*_: object, **__: object) -> torch.Tensor:
    return torch.get_rng_state()


def _set_rng_state(state: torch.Tensor, *_: object, **__: object) -> None:
    torch.set_rng_state(state)


def _manual_seed(seed: int) -> None:
    # Not torch.manual_seed: that also queues seeds for CUDA, with a traceback each.
    torch.default_generator.manual_seed(seed)


@contextlib.contextmanager
def _fork(tracker: Any, name: str = "model-parallel-rng") -> Iterator[None]:
    """``CudaRNGStatesTracker.fork``, of the CPU's generator.

    Megatron-Core's own would warn at every use that the state of the CPU changed inside.
    """
    if name not in tracker.states_:
        raise KeyError(
            f"found no random state {name!r}, expected one of {sorted(tracker.states_)}; "
            "seed them by trainer.megatron.start.start"
        )
    outer, outer_name = torch.get_rng_state(), tracker._current_state_name
    if outer_name != "default-rng":
        tracker.states_[outer_name] = outer
    torch.set_rng_state(tracker.states_[name])
    tracker._current_state_name = name
    try:
        yield
    finally:
        tracker.states_[name] = torch.get_rng_state()
        if outer_name != "default-rng":
            outer = tracker.states_[outer_name]
        torch.set_rng_state(outer)
        tracker._current_state_name = outer_name


def _stand_in_for_torch_cuda() -> None:
    cpu = torch.device("cpu")
    cuda: Any = torch.cuda
    cuda.current_device = lambda: cpu
    cuda.set_device = _nothing()
    cuda.synchronize = _nothing()
    cuda.empty_cache = _nothing()
    cuda.Stream = _Stream
    cuda.Event = _Event
    cuda.stream = contextlib.nullcontext
    cuda.set_stream = _nothing()
    cuda.current_stream = lambda *_: _STREAM
    cuda.default_stream = lambda *_: _STREAM
    cuda.manual_seed = _manual_seed
    cuda.get_rng_state = cuda.random.get_rng_state = _get_rng_state
    cuda.set_rng_state = cuda.random.set_rng_state = _set_rng_state
    cuda.nvtx.range_push, cuda.nvtx.range_pop = _nothing(), _nothing()


def _stand_in_for_tensor_methods() -> None:
    tensor: Any = torch.Tensor
    true_type = tensor.type

    def type_name(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        found = true_type(self, *args, **kwargs)
        if args or kwargs:
            return found  # a conversion
        caller = sys._getframe(1).f_globals.get("__name__", "")
        return _CPU_NAMES.get(found, found) if caller.startswith("megatron.core") else found

    tensor.type = type_name
    tensor.cuda = lambda self, *_, **__: self
    tensor.pin_memory = lambda self, *_: self
    tensor.record_stream = _nothing()


def _stand_in_for_random_states() -> None:
    from megatron.core.tensor_parallel import random

    random._get_cuda_rng_state = _get_rng_state
    random._set_cuda_rng_state = _set_rng_state
    random.CudaRNGStatesTracker.fork = _fork


def _stand_in_for_literals() -> None:
    stand_in = _TorchOnCpu()
    for name in _WITH_LITERALS:
        importlib.import_module(name).torch = stand_in  # type: ignore[attr-defined]


def _compile_nothing() -> None:
    from megatron.core import jit
    from megatron.core.transformer.moe.router import TopKRouter

    jit.disable_jit_fuser()  # for modules not imported yet
    compiled = TopKRouter._apply_expert_bias  # the one on a path of training that is already
    TopKRouter._apply_expert_bias = getattr(compiled, "_torchdynamo_orig_callable", compiled)


def install() -> None:
    """Lets Megatron-Core run on the CPU: nothing where CUDA is there, once however often called.

    Call it before models, groups or optimizers are made. ``torch.cuda.is_available()`` stays
    False. Models are made with ``use_cpu_initialization=False``, so that the states of the tracker
    count as on GPUs.
    """
    installed: bool = torch.cuda.Stream is _Stream  # type: ignore[comparison-overlap]
    if torch.cuda.is_available() or installed:
        return
    # First what imports Megatron-Core, and with it torch.compile, which reads torch.cuda then.
    _compile_nothing()
    _stand_in_for_literals()
    _stand_in_for_random_states()
    _stand_in_for_torch_cuda()
    _stand_in_for_tensor_methods()
