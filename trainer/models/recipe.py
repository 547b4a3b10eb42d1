"""What a model is: the fields of ``recipes/models/*.yaml``."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mixtures.amounts import Scale, Tokens
from trainer.vision.recipe import VisionRecipe
from vl_data.tiling import tiling_of


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AuxLoss(_Part):
    """The router's load-balancing loss, of one packed sequence of T tokens with E experts.

    With ``f_i`` the share of the sequence's slots that choose expert i (before any is dropped) and
    ``m_i`` the mean probability of expert i, the loss is ``coefficient · scale · Σ f_i m_i``:
    ``paper`` is 1/E, as MiniMax-01 prints it (arXiv:2501.08313, section 2.2.2); ``megatron`` is E,
    as in Switch Transformer (arXiv:2101.03961), Mixtral and Megatron-Core.
    """

    coefficient: float = Field(default=0.01, ge=0)
    scale: Literal["paper", "megatron"] = "megatron"


class Experts(_Part):
    """A mixture of experts of ``ffn`` wide SwiGLU layers, of which each token takes ``top_k``.

    ``capacity_factor``: an expert takes at most ``⌈factor · tokens · top_k / count⌉`` slots of a
    packed sequence and drops the rest (``drop`` says which first); dropless where it is null.
    """

    count: int = Field(ge=1)
    top_k: int = Field(ge=1)
    ffn: int = Field(ge=1)
    capacity_factor: float | None = Field(default=None, gt=0)
    drop: Literal["probability", "position"] = "probability"
    aux_loss: AuxLoss = AuxLoss()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.top_k > self.count:
            raise ValueError(
                f"found top_k {self.top_k} of {self.count} experts, expected at most that"
            )
        return self


class StageDefaults(_Part):
    """How stages are run for a model of this size, where the command line does not say.

    ``scale``, ``tokens`` (the budget) and ``batch`` (of the first steps) as in
    ``trainer.stages.scaling``; ``rates``: what the scaled learning rates are multiplied by,
    ``tokens_of``, ``batch_of``, ``rates_of``: and those of some stages instead, by name;
    ``long_qa``: the share of long questions, 0 for none; ``tilings``: what the tilings of
    stages with images are replaced by, for a tower of other tiles than the stages' own.
    ``micro_batch``: tokens that go through the model at once, at most, where that is more than one
    sequence.
    """

    scale: Scale = Fraction(1)
    tokens: Tokens | None = None
    tokens_of: dict[str, Tokens] = {}
    batch: Tokens | None = None
    batch_of: dict[str, Tokens] = {}
    rates: float = Field(default=1.0, gt=0)
    rates_of: dict[str, Annotated[float, Field(gt=0)]] = {}
    long_qa: float | None = Field(default=None, ge=0, le=1)
    tilings: dict[str, str] = {}
    micro_batch: Tokens = 1

    @field_validator("tilings")
    @classmethod
    def _known(cls, tilings: dict[str, str]) -> dict[str, str]:
        for name in (*tilings, *tilings.values()):
            tiling_of(name)
        return tilings


class ModelRecipe(_Part):
    """Sizes and choices of a model; what depends on the stage (lengths, rates) is not here.

    ``mixers`` is repeated over the layers: ``[lightning × 7, softmax]`` is MiniMax-01's. ``alpha``
    weighs the residual of a post-norm block, (2N)^¼ of N layers where it is null (DeepNorm,
    arXiv:2203.00555). ``rotary_dim`` of each head's features are rotated in softmax layers.
    ``fp32_head`` keeps the head's weight in float32 and makes the logits of it in float32, whatever
    the precision of the rest, as MiniMax-M1 does (arXiv:2506.13585, section 3.2).
    ``vocab_size`` is the tokenizer's where it is null. ``vision`` is the tower of a model that is
    shown images, null for a model of text. ``stages`` says how its stages are scaled.
    """

    name: str
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    mixers: tuple[str, ...] = Field(min_length=1)
    experts: Experts
    rotary_dim: int = Field(ge=2)
    rope_base: float = Field(default=10_000.0, ge=1)
    residual: Literal["deepnorm", "pre"] = "deepnorm"
    alpha: float | None = Field(default=None, gt=0)
    norm_eps: float = Field(default=1e-5, gt=0)
    mixer_norm_eps: float = Field(default=1e-6, gt=0)
    vocab_size: int | None = Field(default=None, ge=1)
    fp32_head: bool = False
    vision: VisionRecipe | None = None
    stages: StageDefaults = StageDefaults()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(
                f"found {self.heads} heads and {self.kv_heads} kv_heads, expected a multiple"
            )
        if self.rotary_dim % 2 or self.rotary_dim > self.head_dim:
            raise ValueError(
                f"found rotary_dim {self.rotary_dim}, expected an even number up to head_dim "
                f"{self.head_dim}"
            )
        return self

    def showing_images_at(self, image_token: int | None) -> Self:
        """The recipe with the id of images said, where it leaves that to the tokenizer.

        Raises:
            ValueError: for another id than the recipe's own.
        """
        if self.vision is None or image_token is None or self.vision.image_token == image_token:
            return self
        if self.vision.image_token is not None:
            raise ValueError(
                f"model {self.name}: found image token {image_token}, expected "
                f"{self.vision.image_token} as vision.image_token says"
            )
        vision = self.vision.model_copy(update={"image_token": image_token})
        return self.model_copy(update={"vision": vision})

    def mixer_of(self, layer: int) -> str:
        """The mixer of a layer, counted from 0."""
        return self.mixers[layer % len(self.mixers)]

    @property
    def residual_weight(self) -> float:
        """α of each block's residual: 1 for pre-norm."""
        if self.residual == "pre":
            return 1.0
        return (2 * self.layers) ** 0.25 if self.alpha is None else self.alpha

    @property
    def initial_gain(self) -> float:
        """β = (8N)^-¼, DeepNorm's gain at initialisation; 1 for pre-norm."""
        return 1.0 if self.residual == "pre" else (8 * self.layers) ** -0.25
