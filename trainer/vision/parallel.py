"""Linear layers of the vision tower and the projector, cut over tensor-parallel ranks."""

from __future__ import annotations

from copy import copy
from typing import Any

from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear

from trainer.models.config import ModelConfig
from trainer.models.deviations import Deviations


class WideningLinear(ColumnParallelLinear):  # type: ignore[misc]
    """``x Wᵀ + b`` of which a rank makes some columns; ``deviation`` is that of W's first values.

    Its input is whole on every rank, also where the language model cuts sequences: tiles are no
    part of a sequence yet.
    """

    def __init__(
        self, config: ModelConfig, group: Any, fan_in: int, fan_out: int, deviation: float
    ) -> None:
        super().__init__(
            fan_in,
            fan_out,
            config=whole_sequences(config),
            init_method=config.init_method,
            bias=True,
            tp_group=group,
        )
        self.deviation = deviation

    def deviations(self) -> Deviations:
        """The bias starts at zero."""
        return {"weight": self.deviation, "bias": 0.0}


class NarrowingLinear(RowParallelLinear):  # type: ignore[misc]
    """``x Wᵀ + b`` of an x whose columns lie on the ranks; the result is whole on each."""

    def __init__(
        self, config: ModelConfig, group: Any, fan_in: int, fan_out: int, deviation: float
    ) -> None:
        super().__init__(
            fan_in,
            fan_out,
            config=whole_sequences(config),
            init_method=config.init_method,
            bias=True,
            input_is_parallel=True,
            skip_bias_add=False,
            tp_group=group,
        )
        self.deviation = deviation

    def deviations(self) -> Deviations:
        """The bias starts at zero."""
        return {"weight": self.deviation, "bias": 0.0}


def whole_sequences(config: ModelConfig) -> ModelConfig:
    """The configuration without sequence parallelism.

    A copy as it is: made anew it would be refused, for a mixture of experts on tensor-parallel
    ranks needs sequence parallelism.
    """
    found = copy(config)
    found.sequence_parallel = False
    return found
