"""The two passes over rows of logits, in plain torch and launched as kernels.

With ``x = softcap(scale · logits)``, a row's *statistics* are

    lse = log Σ_v exp(x_v)        target = x_y        total = Σ_v x_v

and every loss of the package is a function of these three numbers (``losses.py``). So the gradient
of any of them with respect to the logits is, with ``a, b, c`` its derivatives by the three,

    ∂/∂(scale·logits_v) = (a · exp(x_v − lse) + b · [v = y] + c) · softcap'(·)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch

from kernels.triton_support import cdiv, next_power_of_2, runs_triton

if TYPE_CHECKING:
    from kernels.artefacts import Configuration


class Curve(NamedTuple):
    """What is done to logits before the softmax: ``x = cap · tanh(scale · logits / cap)``.

    ``cap`` 0 stands for none.
    """

    scale: float = 1.0
    cap: float = 0.0

    def scaled(self, logits: torch.Tensor) -> torch.Tensor:
        """``scale · logits`` in float32 or wider."""
        x = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return x if self.scale == 1 else x * self.scale

    def capped(self, scaled: torch.Tensor) -> torch.Tensor:
        """The curve, from ``scale · logits``."""
        return self.cap * torch.tanh(scaled / self.cap) if self.cap else scaled

    def slope(self, scaled: torch.Tensor) -> torch.Tensor:
        """Its derivative ``1 − tanh²``, in the form that keeps its digits where it is small."""
        decay = torch.exp(-2 / self.cap * scaled.abs())
        return 4 * decay / (1 + decay).square()


def block_of(columns: int) -> tuple[int, int]:
    """Columns a program reads at a time, and its warps.

    16 fp32 values a thread: four 16-byte loads in flight, and three accumulators in registers.
    Triton loads 16 bytes at a time only if rows lie, and are, multiples of 16 long (V = 200,064 is,
    and its shares of up to 8 ranks); other lengths are right, and slower.
    """
    block = min(max(next_power_of_2(columns), 128), 4096)
    return block, max(1, block // 512)


def statistics(
    logits: torch.Tensor, targets: torch.Tensor, curve: Curve, first: int, totals: bool
) -> torch.Tensor:
    """Rows of ``lse``, ``target`` and ``total``: float32 [3, N], read from ``logits`` [N, V] once.

    ``targets`` int64 [N]; column 0 of ``logits`` is the vocabulary's entry ``first``. A target
    outside these columns gives 0. ``total`` is 0 unless ``totals``.
    """
    rows, columns = logits.shape
    if runs_triton(logits):
        from kernels.cross_entropy.device import statistics_kernel

        out = torch.empty(3, rows, dtype=torch.float32, device=logits.device)
        block, warps = block_of(columns)
        if rows:
            with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
                statistics_kernel[(rows,)](
                    logits,
                    targets,
                    out,
                    rows,
                    columns,
                    logits.stride(0),
                    first,
                    curve.scale,
                    curve.cap or 1.0,
                    BLOCK=block,
                    CAPPED=curve.cap != 0,
                    TOTAL=totals,
                    num_warps=warps,
                )
        return out
    x = curve.capped(curve.scaled(logits))
    local = targets - first
    held = (local >= 0) & (local < columns)
    picked = x.gather(1, local.clamp(0, columns - 1)[:, None])[:, 0]
    total = x.sum(1) if totals else torch.zeros_like(picked)
    return torch.stack([torch.logsumexp(x, 1), torch.where(held, picked, 0.0), total])


def gradient(
    logits: torch.Tensor,
    targets: torch.Tensor,
    lse: torch.Tensor,
    cotangents: torch.Tensor,
    curve: Curve,
    first: int,
    out: torch.Tensor,
) -> None:
    """Write into ``out`` [N, V] the gradient by ``scale · logits``, given ``a, b, c``.

    ``lse`` float32 [N] over the whole vocabulary; ``cotangents`` float32 [3, N] are ``a, b, c``;
    ``out`` has any floating dtype and may be ``logits``. Rows whose three cotangents are 0 get
    zeros whatever their logits hold.
    """
    rows, columns = logits.shape
    if runs_triton(logits):
        from kernels.cross_entropy.device import gradient_kernel

        block, warps = block_of(columns)
        blocks = cdiv(columns, block)
        cotangents = cotangents.contiguous()
        if rows:
            with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
                gradient_kernel[(rows * blocks,)](
                    logits,
                    targets,
                    lse,
                    cotangents,
                    out,
                    columns,
                    blocks,
                    logits.stride(0),
                    out.stride(0),
                    cotangents.stride(0),
                    first,
                    curve.scale,
                    curve.cap or 1.0,
                    BLOCK=block,
                    CAPPED=curve.cap != 0,
                    num_warps=warps,
                )
        return
    scaled = curve.scaled(logits)
    local = targets - first
    held = (local >= 0) & (local < columns)
    of_lse, of_target, of_total = cotangents[:, :, None]
    grad = (curve.capped(scaled) - lse[:, None]).exp_().mul_(of_lse).add_(of_total)
    grad.scatter_add_(1, local.clamp(0, columns - 1)[:, None], held[:, None] * of_target)
    if curve.cap:
        grad *= curve.slope(scaled)
    out.copy_(grad.masked_fill_((cotangents == 0).all(0)[:, None], 0.0))


def configurations() -> Iterable[Configuration]:
    """Every launch that this package makes, for the compile check of all kernels."""
    from kernels.artefacts import Configuration
    from kernels.cross_entropy.device import gradient_kernel, statistics_kernel

    block, warps = block_of(200_064)
    for capped in (False, True):
        for kind in ("fp32", "bf16"):
            suffix = f"{kind}{'-capped' if capped else ''}"
            for totals in (False, True):
                yield Configuration(
                    name=f"cross-entropy-statistics-{suffix}{'-totals' if totals else ''}",
                    function=statistics_kernel,
                    signature={
                        "logits": f"*{kind}",
                        "targets": "*i64",
                        "out": "*fp32",
                        "rows": "i32",
                        "columns": "i32",
                        "stride": "i32",
                        "first": "i32",
                        "scale": "fp32",
                        "cap": "fp32",
                    },
                    constexprs={"BLOCK": block, "CAPPED": capped, "TOTAL": totals},
                    num_warps=warps,
                    num_stages=3,
                    expects_tensor_cores=False,
                )
            yield Configuration(
                name=f"cross-entropy-gradient-{suffix}",
                function=gradient_kernel,
                signature={
                    "logits": f"*{kind}",
                    "targets": "*i64",
                    "lse": "*fp32",
                    "cotangents": "*fp32",
                    "out": "*bf16",
                    "columns": "i32",
                    "blocks": "i32",
                    "stride": "i32",
                    "out_stride": "i32",
                    "cotangent_stride": "i32",
                    "first": "i32",
                    "scale": "fp32",
                    "cap": "fp32",
                },
                constexprs={"BLOCK": block, "CAPPED": capped},
                num_warps=warps,
                num_stages=3,
                expects_tensor_cores=False,
            )
