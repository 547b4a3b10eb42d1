"""Prompts ready to be read: their ids, and what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch

from dataflow.tokenizer import Tokenizer
from trainer.data.pictures import Picture, images_of
from trainer.generation.chats import ANSWERED, chat_ids, shown_ids
from trainer.generation.decoder import Decoder
from trainer.generation.errors import GenerationError
from trainer.generation.pictures import read_picture, tokens_of
from trainer.generation.prompts import Prompt, encode_prompts
from trainer.vision.images import Images


@dataclass(frozen=True)
class Asking:
    """Some prompts of one call.

    Attributes:
        prompts: as they were given.
        ids: of each, int64 ``[T]``, places of images included.
        pictures: of each, in their order.
        chats: which of them are asked in the chat template.
        ends: ids after which an answer of theirs ends.
    """

    prompts: tuple[Prompt, ...]
    ids: tuple[torch.Tensor, ...]
    pictures: tuple[tuple[Picture, ...], ...]
    chats: tuple[bool, ...]
    ends: frozenset[int]

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        tokenizer: Tokenizer,
        prompts: Sequence[Prompt],
        *,
        chat: bool | None = None,
    ) -> Self:
        """Encode prompts; ``chat``: in the chat template, by default those with images.

        Raises:
            GenerationError: a prompt without text, with other marks than images, with an image
                that cannot be read, or with any where the model has no vision tower.
        """
        ids, pictures, chats = [], [], []
        for number, prompt in enumerate(prompts, 1):
            where = f"prompt {number}"
            seen = tuple(_seen(decoder, prompt, where))
            as_chat = bool(seen) if chat is None else chat
            if as_chat:
                ids.append(chat_ids(tokenizer, prompt.text, tokens_of(seen), where=where))
            elif seen:
                ids.append(shown_ids(tokenizer, prompt.text, tokens_of(seen), where=where))
            else:
                ids.append(encode_prompts(tokenizer, [prompt.text], first=number)[0])
            pictures.append(seen)
            chats.append(as_chat)
        ends = frozenset([tokenizer.specials[ANSWERED]]) if any(chats) else frozenset[int]()
        return cls(tuple(prompts), tuple(ids), tuple(pictures), tuple(chats), ends)

    def images(self, rows: Sequence[int]) -> Images | None:
        """What some prompts show."""
        return images_of([picture for row in rows for picture in self.pictures[row]])

    def shown_before(self, row: int) -> str:
        """What a person is shown before the text: of an answer, its question on lines above."""
        prompt = self.prompts[row].text
        return f"{prompt}\n" if self.chats[row] else prompt


def _seen(decoder: Decoder, prompt: Prompt, where: str) -> list[Picture]:
    if not prompt.images:
        return []
    if decoder.vision is None:
        raise GenerationError(
            f"{where}: found {len(prompt.images)} images for model {decoder.recipe.name} without a "
            "vision tower, expected none; a model that sees has a vision block, such as tiny-vl"
        )
    if decoder.vision.image_token is None:
        raise GenerationError(
            f"{where}: found a tokenizer without a special of role 'image', expected the one that "
            "the model was trained with"
        )
    return [read_picture(path, decoder.vision.tiling, where) for path in prompt.images]
