"""What a vision tower is: the ``vision`` block of ``recipes/models/*.yaml``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vl_data.tiling import tiling_of

CHANNELS = 3
"""Red, green, blue."""


class VisionRecipe(BaseModel):
    """Sizes of a vision transformer of CLIP's kind (arXiv:2103.00020), and how images reach it.

    A projector of two layers follows it, as wide as the language model (MiniMax-01,
    arXiv:2501.08313, section 6.2).

    ``tile``, ``patch``: sides in pixels; ``tiling`` names the rule (``vl_data.tiling``) by which
    images become tiles, where a stage says no other of the same tile. ``activation``: of the
    tower; ``quick_gelu`` is x σ(1.702 x), which OpenAI's CLIP was trained with.
    ``image_token``: the id whose places in a sequence take an image's features, the tokenizer's of
    the role ``image`` where it is null.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    heads: int = Field(ge=1)
    ffn: int = Field(ge=1)
    patch: int = Field(default=14, ge=1)
    tile: int = Field(default=336, ge=1)
    tiling: str = "released28"
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    norm_eps: float = Field(default=1e-5, gt=0)
    image_token: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(
                f"found hidden {self.hidden} and {self.heads} heads, expected a multiple"
            )
        if self.tile % self.patch:
            raise ValueError(f"found tile {self.tile} and patch {self.patch}, expected a multiple")
        tiling = tiling_of(self.tiling)
        if (tiling.tile, tiling.patch) != (self.tile, self.patch):
            raise ValueError(
                f"found tile {self.tile} and patch {self.patch}, expected {tiling.tile} and "
                f"{tiling.patch} as tiling {self.tiling} has; name another tiling"
            )
        return self

    @property
    def head_dim(self) -> int:
        """Features of an attention head."""
        return self.hidden // self.heads

    @property
    def side(self) -> int:
        """Features along one side of a tile."""
        return self.tile // self.patch

    @property
    def features(self) -> int:
        """Features of a tile."""
        return self.side**2

    @property
    def positions(self) -> int:
        """Positions of a tile inside the tower: its features, and the class before them."""
        return self.features + 1
