"""What a stage of preferences is asked for: the ``objective`` of ``recipes/stages/*.yaml``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EarlyStop(_Part):
    """Ends a stage once it learns no more of pairs that it does not read.

    After ``every`` steps the loss of at most ``pairs`` held-out pairs is measured; the stage ends
    where it has not been below its lowest for ``patience`` measurements. Fewer than ``fewest``
    pairs are measured and end nothing: their loss is noise.
    """

    every: int = Field(default=20, ge=1)
    patience: int = Field(default=3, ge=1)
    pairs: int = Field(default=512, ge=1)
    fewest: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fewest > self.pairs:
            raise ValueError(
                f"found fewest {self.fewest} of at most {self.pairs} pairs, expected no more"
            )
        return self


class Dpo(_Part):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, equation 7).

    Attributes
    ----------
    beta: how strongly the model is held to what it was when the stage began.
    normalise: whether an answer's log-probability is divided by its tokens, so that a long one
        weighs no more than a short one.
    nll: weight of the chosen answer's mean loss beside it (Pang et al. 2024, arXiv:2404.19733).
    early_stop: when to end before the budget; None: not before.
    """

    kind: Literal["dpo"]
    beta: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    normalise: bool = False
    nll: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    early_stop: EarlyStop | None = EarlyStop()
