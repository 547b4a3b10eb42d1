"""Starts the process groups of a training run, and stops them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from trainer.megatron import cpu, faults, meeting


@dataclass(frozen=True)
class Layout:
    """How a model is spread: ``tp`` tensor-, ``pp`` pipeline- and ``ep`` expert-parallel ranks.

    A model's dense part takes ``tp · pp`` ranks and its experts ``ep · pp`` (an expert is never
    split over tensor-parallel ranks); what is left of the world is data-parallel, apart for each.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "ep"):
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"layout.{name}: found {size!r}, expected a whole number from 1")

    def check(self, world: int) -> None:
        """Raises ValueError where ``world`` ranks cannot hold this layout."""
        for size, names in ((self.tp * self.pp, "tp · pp"), (self.ep * self.pp, "ep · pp")):
            if world % size:
                raise ValueError(
                    f"layout: found {world} ranks, expected a multiple of {names} = {size} "
                    f"(tp {self.tp}, pp {self.pp}, ep {self.ep}); change the layout or the number "
                    "of ranks (--processes, or torchrun --nproc-per-node)"
                )


@dataclass(frozen=True)
class Ranks:
    """Where this process is: of ``world`` ranks, and in each kind of group.

    ``dp_rank`` of ``dp_size`` says which sequences of a batch are this rank's. ``expert_dp_size``
    ranks hold copies of the same experts.
    """

    layout: Layout
    rank: int
    world: int
    local_rank: int
    device: torch.device
    tp_rank: int
    pp_rank: int
    ep_rank: int
    dp_rank: int
    dp_size: int
    expert_dp_rank: int
    expert_dp_size: int

    @property
    def is_first_stage(self) -> bool:
        """Whether this rank embeds tokens."""
        return self.pp_rank == 0

    @property
    def is_last_stage(self) -> bool:
        """Whether this rank computes the loss."""
        return self.pp_rank == self.layout.pp - 1


def _environment(name: str) -> int:
    found = os.environ.get(name)
    if found is None or not found.isdecimal():
        raise ValueError(
            f"{name}: found {found!r} in the environment, expected a number as torchrun sets it; "
            "start with torchrun, or unset RANK and WORLD_SIZE for a single process"
        )
    return int(found)


def start(layout: Layout, seed: int, *, timeout_minutes: float = 30) -> Ranks:
    """Starts every process group and seeds the random states; one call per process.

    Reads ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` as torchrun
    sets them; where neither ``RANK`` nor ``WORLD_SIZE`` is set, this process is the only one. The
    groups run by nccl on GPUs and by gloo on a CPU, where ``cpu.install`` is called first.

    ``seed``, from 0, is the same on every rank: Megatron-Core's states differ by tensor-parallel
    rank (weights of one layer that are split) and by expert-parallel rank (experts), and are the
    same on data-parallel ranks. Weights drawn then depend on the layout.

    Raises:
        ValueError: the world cannot hold ``layout``, an environment variable is missing, or
            there are more processes than GPUs on this machine.
        RuntimeError: groups have been started already, or a package is missing.
    """
    # Imported here: it takes seconds, and Layout is wanted by what only reads recipes.
    cpu.install()
    faults.mend()
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

    if dist.is_initialized():
        raise RuntimeError(
            "found process groups already started, expected none; call trainer.megatron.start.stop"
        )
    alone = "RANK" not in os.environ and "WORLD_SIZE" not in os.environ
    rank, world = (0, 1) if alone else (_environment("RANK"), _environment("WORLD_SIZE"))
    local_rank = rank if "LOCAL_RANK" not in os.environ else _environment("LOCAL_RANK")
    layout.check(world)
    device = _device(local_rank)
    timeout = timedelta(minutes=timeout_minutes)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        rank=rank,
        world_size=world,
        timeout=timeout,
        store=meeting.alone() if alone else meeting.store(rank, world, timeout),
    )
    try:
        parallel_state.initialize_model_parallel(
            tensor_model_parallel_size=layout.tp,
            pipeline_model_parallel_size=layout.pp,
            expert_model_parallel_size=layout.ep,
            # By default it is tp, and the experts would take tp · ep · pp ranks.
            expert_tensor_parallel_size=1,
            distributed_timeout_minutes=max(1, round(timeout_minutes)),
        )
        torch.manual_seed(seed)
        model_parallel_cuda_manual_seed(seed, force_reset_rng=True)
    except BaseException:
        stop()
        raise
    return Ranks(
        layout=layout,
        rank=rank,
        world=world,
        local_rank=local_rank,
        device=device,
        tp_rank=parallel_state.get_tensor_model_parallel_rank(),
        pp_rank=parallel_state.get_pipeline_model_parallel_rank(),
        ep_rank=parallel_state.get_expert_model_parallel_rank(),
        dp_rank=parallel_state.get_data_parallel_rank(),
        dp_size=parallel_state.get_data_parallel_world_size(),
        expert_dp_rank=parallel_state.get_expert_data_parallel_rank(),
        expert_dp_size=parallel_state.get_expert_data_parallel_world_size(),
    )


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"LOCAL_RANK: found {local_rank}, expected less than the {torch.cuda.device_count()} "
            "GPUs of this machine; start one process per GPU (--processes, or torchrun "
            "--nproc-per-node)"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def stop() -> None:
    """Ends every process group; nothing where none was started."""
    from megatron.core import parallel_state
    from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler

    parallel_state.destroy_model_parallel()
    # Kept by Megatron-Core for as long as the process runs, in the shape of its first use.
    MoEAuxLossAutoScaler.main_loss_backward_scale = None
    if dist.is_initialized():
        dist.destroy_process_group()
