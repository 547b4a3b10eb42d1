"""RMSNorm as a module whose gain Megatron-Core knows how to reduce."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.norms.api import rms_norm


class RMSNorm(nn.Module):
    """``rms_norm`` with a learned gain, ones at first: ``[..., width]`` to ``[..., width]``.

    Args:
        width: size of the last dimension.
        eps: under the root.
        gain: False for SRMSNorm (TransNormerLLM, arXiv:2307.14995), which learns nothing.
        sequence_parallel: mark the gain with an attribute of this name. Under sequence parallelism
            each rank holds the whole gain and norms a part of the tokens; Megatron-Core sums the
            gradients of parameters so marked over the tensor-parallel group.
        device, dtype: of the gain.
    """

    weight: nn.Parameter | None

    def __init__(
        self,
        width: int,
        eps: float = 1e-5,
        gain: bool = True,
        sequence_parallel: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width: found {width}, expected at least 1")
        self.width = width
        self.eps = eps
        if not gain:
            self.register_parameter("weight", None)
            return
        self.weight = nn.Parameter(torch.ones(width, device=device, dtype=dtype))
        self.weight.sequence_parallel = sequence_parallel  # type: ignore[attr-defined]

    def reset_parameters(self) -> None:
        """Set the gain to ones."""
        if self.weight is not None:
            nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The norm of x, ``[..., width]``."""
        if x.shape[-1:] != (self.width,):
            raise ValueError(f"x: found shape {tuple(x.shape)}, expected [..., {self.width}]")
        return rms_norm(x, self.weight, self.eps)

    def extra_repr(self) -> str:
        """What ``print`` shows of the module."""
        return f"{self.width}, eps={self.eps}, gain={self.weight is not None}"
