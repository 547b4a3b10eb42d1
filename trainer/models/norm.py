"""RMSNorm of a layer's input, as a module that Megatron-Core builds from a spec."""

from __future__ import annotations

from kernels.norms import RMSNorm
from trainer.models.config import ModelConfig
from trainer.models.deviations import Deviations


class LayerNorm(RMSNorm):
    """``kernels.norms.RMSNorm`` with the arguments that Megatron-Core gives to a layer's norm.

    Under sequence parallelism a rank norms its own tokens with the whole gain, so the gain is
    marked for Megatron-Core to sum its gradient over the tensor-parallel group.
    """

    def __init__(self, config: ModelConfig, hidden_size: int, eps: float) -> None:
        super().__init__(
            hidden_size,
            eps,
            sequence_parallel=config.sequence_parallel,
            dtype=config.params_dtype,
        )

    def deviations(self) -> Deviations:
        """The gain starts at one."""
        return {"weight": None}
