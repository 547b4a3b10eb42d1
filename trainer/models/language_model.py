"""The language model: Megatron-Core's GPT with packed sequences and a head of bounded memory."""

from __future__ import annotations

from typing import Literal

import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from megatron.core.utils import get_pg_rank, get_pg_size
from torch import Tensor

from kernels.cross_entropy import linear_cross_entropy
from trainer.models.config import ModelConfig, padded_vocab
from trainer.models.deviations import Deviations, xavier
from trainer.models.segments import whole_sequences
from trainer.vision.images import Images
from trainer.vision.merge import features_of, merge
from trainer.vision.projector import Projector
from trainer.vision.tower import VisionTower


class LanguageModel(GPTModel):  # type: ignore[misc]
    """Embedding, blocks, final norm and an untied head, or a pipeline stage's part of them.

    The rows of embedding and head are padded to a multiple of 64 for each tensor-parallel rank
    (``config.padded_vocab``); padding is never a target, and its logits are -inf or not made.

    Where the recipe has a ``vision`` block, the stage that embeds also has a vision tower and its
    projector, and puts what they make of images at the places of the image's id.

    Args:
        config: of the model.
        blocks: the layers of this pipeline stage, and the final norm.
        pre_process, post_process: whether this stage embeds, and whether it ends in the head.
        pg_collection: process groups.
    """

    def __init__(
        self,
        config: ModelConfig,
        blocks: TransformerBlockSubmodules,
        pre_process: bool,
        post_process: bool,
        pg_collection: ProcessGroupCollection,
    ) -> None:
        super().__init__(
            config,
            blocks,
            vocab_size=padded_vocab(config.vocab_size, config.tensor_model_parallel_size),
            max_sequence_length=config.sequence_tokens,
            pre_process=pre_process,
            post_process=post_process,
            position_embedding_type="none",
            share_embeddings_and_output_weights=False,
            pg_collection=pg_collection,
        )
        if post_process and config.recipe.fp32_head:
            self.output_layer.weight.data = self.output_layer.weight.data.float()
            self.output_layer.weight.keep_fp32 = True
        vision = config.recipe.vision
        if pre_process and vision is not None:
            self.vision_tower = VisionTower(config, pg_collection)
            self.projector = Projector(config, vision, pg_collection)

    def forward(
        self,
        tokens: Tensor,
        labels: Tensor | None = None,
        packed_seq_params: PackedSeqParams | None = None,
        reduction: Literal["none", "sum"] = "none",
        images: Images | None = None,
    ) -> Tensor:
        """What this stage makes of a micro-batch.

        Args:
            tokens: int64 ``[T]``, whole packed sequences end to end. A later pipeline stage reads
                no more than its length.
            labels: int64 ``[T]``, -100 where nothing is to be predicted.
            packed_seq_params: boundaries of segments (``segments.pack``); when None, each sequence
                is one segment.
            reduction: ``sum`` adds the losses up. The head's gradients are then made along with
                its loss, which spares the backward pass one product of T by V by h.
            images: what the sequences show, for the stage that embeds: as many features as there
                are places of the image's id. That id is never a label.

        Returns:
            With labels the cross-entropy of each token, fp32 ``[T]``, 0 where there is none, or
            their sum, fp32 ``[]``; without, the logits of this rank's part of the vocabulary,
            ``[T, V/tp]``. From a stage that does not end in the head its hidden states,
            ``[T, 1, h]`` (``[T/tp, 1, h]``).

        Raises:
            ValueError: for images of another tiling or count than the sequences have places for,
                and for images of a model without a tower.
        """
        if packed_seq_params is None:
            packed_seq_params = whole_sequences(
                tokens.numel(), self.config.sequence_tokens, tokens.device
            )
        embedded = None
        if self.pre_process:
            embedded = self.embedding(input_ids=tokens[None], position_ids=None)
            embedded = self._with_images(embedded, tokens, images)
        hidden: Tensor = self.decoder(
            hidden_states=embedded, attention_mask=None, packed_seq_params=packed_seq_params
        )
        if not self.post_process:
            return hidden
        return self._logits(hidden) if labels is None else self._losses(hidden, labels, reduction)

    def _with_images(self, embedded: Tensor, tokens: Tensor, images: Images | None) -> Tensor:
        vision = self.config.recipe.vision
        if vision is None:
            if images is not None:
                raise ValueError(
                    f"images: found {len(images.plans)} for model {self.config.recipe.name}, "
                    "expected none: its recipe has no vision block"
                )
            return embedded
        return merge(
            embedded,
            tokens,
            features_of(self.vision_tower, self.projector, images),
            image_token=vision.image_token,
            group=self.pg_collection.tp,
            sequence_parallel=self.config.sequence_parallel,
            places=None if images is None else images.places,
        )

    @property
    def head_rows(self) -> int:
        """Rows of this rank's head that are entries of the vocabulary, not padding."""
        rows: int = self.output_layer.weight.shape[0]
        first = int(get_pg_rank(self.pg_collection.tp)) * rows
        return min(rows, int(self.config.vocab_size) - first)

    def _logits(self, hidden: Tensor) -> Tensor:
        hidden = hidden.to(self.output_layer.weight.dtype)
        logits: Tensor = self.output_layer(hidden)[0].squeeze(1)
        if self.head_rows < logits.shape[1]:
            padding = torch.arange(logits.shape[1], device=logits.device) >= self.head_rows
            logits = logits.masked_fill(padding, -torch.inf)
        return logits

    def _losses(self, hidden: Tensor, labels: Tensor, reduction: Literal["none", "sum"]) -> Tensor:
        group = self.pg_collection.tp
        if self.config.sequence_parallel:
            # Backward adds what the ranks' parts of the vocabulary make of hidden's gradient.
            hidden = gather_from_sequence_parallel_region(hidden, group=group)
        if reduction == "sum" and hidden.device.type == "cpu":
            hidden, labels = _predicting(hidden, labels)
        weight, rows = self.output_layer.weight, self.head_rows
        if rows < weight.shape[0]:
            # The loss takes a rank's rows to begin at rank · rows: count labels from there.
            first, moved = (get_pg_rank(group) * n for n in (weight.shape[0], rows))
            other = torch.where(labels == -100, labels, 0 if moved else labels)
            labels = torch.where(labels >= first, labels - first + moved, other)
            weight = weight[:rows]
        return linear_cross_entropy(
            hidden.squeeze(1),
            weight,
            labels,
            reduction=reduction,
            group=group if get_pg_size(group) > 1 else None,
            reduce_hidden_grad=not self.config.sequence_parallel,
        )

    def deviations(self) -> Deviations:
        """Xavier for embedding and head; their padding rows are zero."""
        deviation = torch.zeros(self.vocab_size)
        deviation[: self.config.vocab_size] = xavier(
            self.config.recipe.hidden, self.config.vocab_size
        )
        found: Deviations = {}
        if self.pre_process:
            found["embedding.word_embeddings.weight"] = deviation
        if self.post_process:
            found["output_layer.weight"] = deviation
        return found


def _predicting(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens that have a label, where fewer than half have one, as in dialogues about images:
    a head of many rows is most of a small model's work. Not on a GPU, which would be waited for.
    """
    rows = (labels != -100).nonzero().squeeze(1)
    if 2 * len(rows) > len(labels):
        return hidden, labels
    if not len(rows):
        rows = rows.new_zeros(1)
    return hidden.index_select(0, rows), labels.index_select(0, rows)
