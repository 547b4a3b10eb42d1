"""Gradients and AdamW over ranks: Megatron-Core's DDP and its distributed optimizer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Self

import torch
import torch.distributed as dist
from pydantic import BaseModel, ConfigDict, Field, model_validator


class OptimizerSettings(BaseModel):
    """AdamW (arXiv:1711.05101) with decoupled weight decay and clipping by the global norm.

    ``weight_decay`` leaves norms and every other parameter of one dimension alone. ``clip`` is the
    largest global gradient norm, 0 for no clipping. ``precision`` is that of the model's
    parameters; with ``bf16`` the optimizer keeps them in float32 too, as its own. The learning rate
    is not here: it starts at 0, and ``set_rate`` sets it at each step.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float = Field(default=1.0, ge=0)
    precision: Literal["fp32", "bf16"] = "bf16"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.beta1 >= self.beta2:
            raise ValueError(
                f"found beta1 {self.beta1} and beta2 {self.beta2}, expected beta1 below beta2"
            )
        return self


class StepFailed(Exception):
    """Gradients were not finite, and no step was taken."""


def wrap(
    model_chunks: Sequence[torch.nn.Module],
    config: Any,
    *,
    overlap_grad_reduce: bool = False,
    overlap_param_gather: bool = False,
    bucket_size: int | None = None,
) -> list[Any]:
    """Model chunks in Megatron-Core's ``DistributedDataParallel``, ready for its schedules.

    Gradients are summed in float32 and reduce-scattered over the data-parallel ranks;
    ``overlap_grad_reduce`` starts that during the backward, and ``overlap_param_gather`` (which
    needs it) gathers updated parameters during the next forward. ``bucket_size`` is in elements,
    Megatron-Core's own by default. Sets on ``config``, the chunks' ``TransformerConfig``, what the
    schedules call at the end of a batch.

    A loss is ``(sum, count, …)``: the gradient of a batch is divided by the global count of tokens
    that count, which is why ``config.calculate_per_token_loss`` must be set.

    Raises:
        ValueError: ``config.calculate_per_token_loss`` is false, the gather is to overlap and the
            reduction is not, or experts are marked so that a gradient norm would miss some.
    """
    if not config.calculate_per_token_loss:
        raise ValueError(
            "config.calculate_per_token_loss: found False, expected True; micro-batches with "
            "different counts of labels would be weighed alike"
        )
    if overlap_param_gather and not overlap_grad_reduce:
        raise ValueError(
            "overlap_param_gather: found True without overlap_grad_reduce; set both or neither"
        )
    for chunk in model_chunks:
        _check_marks(chunk, config)

    from megatron.core.distributed import (
        DistributedDataParallel,
        DistributedDataParallelConfig,
        finalize_model_grads,
    )

    ddp_config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True,
        use_distributed_optimizer=True,
        overlap_grad_reduce=overlap_grad_reduce,
        overlap_param_gather=overlap_param_gather,
        bucket_size=bucket_size,
        # It raises before anything can say which documents were in the batch: a run judges the
        # gradient norm itself, before the step (trainer.guards).
        check_for_nan_in_grad=False,
    )
    chunks: list[Any] = [
        DistributedDataParallel(
            config=config,
            ddp_config=ddp_config,
            module=chunk,
            # Chunks after the first have time to overlap nothing: their gradients come last.
            disable_bucketing=number > 0,
        )
        for number, chunk in enumerate(model_chunks)
    ]
    config.finalize_model_grads_func = finalize_model_grads
    if overlap_grad_reduce:
        contexts = [chunk.no_sync for chunk in chunks]
        config.no_sync_func = contexts if len(contexts) > 1 else contexts[0]
    return chunks


def _check_marks(chunk: torch.nn.Module, config: Any) -> None:
    """Raises where experts are not marked by what tells Megatron-Core who holds which.

    ``allreduce = False`` has a parameter's gradient summed over the ranks that hold the same
    experts, not over the data-parallel ranks of the dense part. ``tensor_model_parallel = True``
    says that other tensor-parallel ranks hold other values: of a parameter without it, norms count
    the first rank's only.
    """
    if config.tensor_model_parallel_size == 1:
        return
    for name, parameter in chunk.named_parameters():
        of_experts = not getattr(parameter, "allreduce", True)
        if of_experts and not getattr(parameter, "tensor_model_parallel", False):
            raise ValueError(
                f"{name}: found allreduce = False without tensor_model_parallel = True, expected "
                "both of the parameters of experts; set them where the module makes it"
            )


def build_optimizer(ddp_chunks: Sequence[Any], settings: OptimizerSettings) -> Any:
    """Megatron-Core's distributed AdamW over the chunks that ``wrap`` returned.

    Each data-parallel rank keeps and updates its share of the states. ``step`` takes its steps.

    A parameter of a bf16 model that is marked ``keep_fp32`` is in float32, such as a head whose
    logits are made in float32: it is its own master.

    Raises:
        ValueError: parameters are not of ``settings.precision``.
    """
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer

    expected = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    for chunk in ddp_chunks:
        for name, parameter in chunk.module.named_parameters():
            kept = parameter.dtype == torch.float32 and getattr(parameter, "keep_fp32", False)
            if parameter.requires_grad and parameter.dtype != expected and not kept:
                raise ValueError(
                    f"{name}: found {parameter.dtype}, expected {expected} for precision "
                    f"{settings.precision!r}; build the model with that dtype"
                )
    optimizer = get_megatron_optimizer(
        OptimizerConfig(
            optimizer="adam",
            lr=0.0,
            min_lr=0.0,
            weight_decay=settings.weight_decay,
            adam_beta1=settings.beta1,
            adam_beta2=settings.beta2,
            adam_eps=settings.eps,
            clip_grad=settings.clip,
            bf16=settings.precision == "bf16",
            use_distributed_optimizer=True,
        ),
        list(ddp_chunks),
    )
    for group in optimizer.param_groups:
        # Megatron-Core leaves that to its own scheduler, which this project does not use.
        group["weight_decay"] = settings.weight_decay * group["wd_mult"]
    if all(p.is_cuda for chunk in ddp_chunks for p in chunk.module.parameters()):
        fuse(optimizer)
    return optimizer


def fuse(optimizer: Any) -> None:
    """Lets torch's AdamW take a step in one kernel for many parameters; the numbers differ by
    rounding.

    Megatron-Core has no setting for it: without Transformer Engine and Apex, whose AdamW are fused,
    it makes torch's with its defaults. Call it before the first step.
    """
    for inner in optimizer.chained_optimizers:
        if isinstance(inner.optimizer, torch.optim.AdamW):
            for group in inner.optimizer.param_groups:
                group["fused"], group["foreach"] = True, False


def set_rate(optimizer: Any, rate: float) -> None:
    """Sets the learning rate of the steps that follow."""
    if not rate >= 0:
        raise ValueError(f"rate: found {rate}, expected a number from 0")
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_mult"]


def step(optimizer: Any) -> float:
    """Takes a step; returns the global L2 norm of the gradients before they were clipped.

    Raises:
        StepFailed: on every rank, where the norm is not finite; no parameter or state has changed.
    """
    from megatron.core.optimizer.clip_grads import clip_grad_by_total_norm_fp32

    # What the optimizer's own step() does, which would go on with a norm that is not finite.
    optimizer.prepare_grads()
    norm = float(optimizer.get_grad_norm())
    if not math.isfinite(norm):
        raise StepFailed(
            f"found a gradient norm of {norm}, expected a finite number; no step was taken: skip "
            "the batch, or look for what it holds"
        )
    for inner in optimizer.chained_optimizers:
        limit = inner.config.clip_grad
        if limit > 0 and (parameters := inner.get_parameters()):
            clip_grad_by_total_norm_fp32(parameters, limit, norm)
    optimizer.step_with_ready_grads()
    return norm


def global_names(ddp_chunks: Sequence[Any]) -> dict[torch.nn.Parameter, str]:
    """The name of every parameter of this rank, layers counted over the whole model.

    Under pipeline parallelism Megatron-Core counts the layers of each stage from 0.
    """
    names: dict[torch.nn.Parameter, str] = {}
    for chunk in ddp_chunks:
        module = chunk.module
        layers = {
            name: f"{name.rpartition('.')[0]}.{layer.layer_number - 1}"
            for name, layer in module.named_modules()
            if re.fullmatch(r"(.*\.)?layers\.\d+", name) and hasattr(layer, "layer_number")
        }
        for name, parameter in module.named_parameters():
            layer = re.match(r"(?:.*?\.)??layers\.\d+(?=\.)", name)
            if layer and layer[0] in layers:
                name = layers[layer[0]] + name[layer.end() :]
            names[parameter] = name
    return names


def layer_of(name: str) -> str:
    """The group of a parameter for logs: its layer's, ``layers.17``, or its module's name."""
    layer = re.search(r"\blayers\.\d+", name)
    if layer:
        return layer[0]
    return name.removeprefix("decoder.").split(".")[0]


def _shards(optimizer: Any) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor]]:
    """Parameters of which this rank owns a part, with that part of their gradients, reduced."""
    for inner in optimizer.chained_optimizers:
        if inner.is_stub_optimizer:
            continue
        for ranges in inner.gbuf_ranges:
            for buckets in ranges.values():
                for bucket in buckets:
                    for parameter, where in bucket["param_map"].items():
                        part = where["param"]
                        yield parameter, parameter.main_grad.view(-1)[part.start : part.end]


def gradient_norms(
    optimizer: Any, ddp_chunks: Sequence[Any], by: Callable[[str], str] = layer_of
) -> dict[str, float]:
    """The L2 norm of the gradients of each group of parameters, over all ranks; by name.

    Call it on every rank, after the backward (whose end reduces the gradients) and before ``step``.
    ``by`` gives the group of a parameter's name (``global_names``). The squares of the norms
    sum to that of the global norm: a parameter that ranks hold copies of counts once.
    """
    from megatron.core.tensor_parallel import param_is_not_tensor_parallel_duplicate
    from megatron.core.transformer.module import param_is_not_shared

    names = global_names(ddp_chunks)
    squares: dict[str, torch.Tensor] = {}
    for parameter, gradient in _shards(optimizer):
        if param_is_not_shared(parameter) and param_is_not_tensor_parallel_duplicate(parameter):
            group = by(names[parameter])
            square = gradient.detach().float().square().sum(dtype=torch.float64)
            squares[group] = squares[group] + square if group in squares else square
    mine = {group: float(square) for group, square in squares.items()}
    of_ranks: list[dict[str, float] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(of_ranks, mine)
    total: dict[str, float] = {}
    for found in of_ranks:
        for group, part in (found or {}).items():
            total[group] = total.get(group, 0.0) + part
    return {group: total[group] ** 0.5 for group in sorted(total, key=_natural)}


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts ``layers.2`` before ``layers.10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
