"""The projector: features of a tower as embeddings of a language model, in a sequence's order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.module import MegatronModule
from torch import Tensor, nn

from trainer.models.config import ModelConfig
from trainer.models.deviations import Deviations, xavier
from trainer.vision.images import order_of
from trainer.vision.mlp import Mlp
from trainer.vision.pixels import upload
from trainer.vision.recipe import VisionRecipe
from vl_data.tiling import Plan


class Projector(MegatronModule):  # type: ignore[misc]
    """``W₂ gelu(W₁ x + b₁) + b₂`` of each feature, and a learned newline after each row of a grid.

    Both layers are as wide as the language model (arXiv:2310.03744; MiniMax-01, arXiv:2501.08313,
    section 6.2). Features that show nothing but padding are dropped before they are projected.

    Args:
        config: of the model, whose recipe has a ``vision`` block.
        vision: that block.
        pg_collection: process groups, of which ``tp`` is used.
    """

    def __init__(
        self, config: ModelConfig, vision: VisionRecipe, pg_collection: ProcessGroupCollection
    ) -> None:
        super().__init__(config)
        self.side, self.tp_group = vision.side, pg_collection.tp
        before, h = vision.hidden, config.recipe.hidden
        deviations = xavier(before, h), xavier(h, h)
        self.mlp = Mlp(config, self.tp_group, (before, h, h), deviations, "gelu")
        self.newline = nn.Parameter(torch.empty(h, dtype=config.params_dtype))

    def forward(self, features: Tensor, plans: Sequence[Plan]) -> Tensor:
        """Features of all tiles ``[n, side², before]`` to what the sequences take, ``[F, h]``."""
        order = order_of(plans, self.side)
        kept, places = (upload(x, features.device) for x in (order.kept, order.places))
        # The linear layers want three dimensions.
        projected = self.mlp(features.flatten(0, 1).index_select(0, kept)[None])[0]
        shape = order.tokens, projected.shape[1]
        packed = projected.new_zeros(shape).index_copy(0, places, projected)
        newline = torch.ones(order.tokens, 1, dtype=torch.bool, device=places.device)
        newline.index_fill_(0, places, False)
        # Chosen, not copied to their places: the newline is part of the graph without any row too,
        # and its gradient is a sum in a fixed order.
        return torch.where(newline, self.newline, packed)

    def deviations(self) -> Deviations:
        """The inverse root of the width, as LLaVA-NeXT draws it."""
        return {"newline": self.config.recipe.hidden**-0.5}
