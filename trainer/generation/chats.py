"""Prompts that show images or speak in the chat template, as ids: what training's documents begin
with.

An image stands where ``<image>`` does, else before the text, a line of its own, as LLaVA's
conversations have it. In the sequence it takes as many places as it has features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dataflow.shards.errors import ShardError
from dataflow.shards.marked import encode_marked
from dataflow.tokenizer import Tokenizer
from trainer.data.pictures import expand
from trainer.generation.errors import GenerationError
from vl_data.images import MARK
from vl_data.mix.chat import asked_of, plain
from vl_data.mix.turns import TAG, Turn

ANSWERED = "turn_end"
"""The special that ends an answer."""


def chat_ids(
    tokenizer: Tokenizer, text: str, tokens: Sequence[int] = (), *, where: str
) -> torch.Tensor:
    """A question in the template, up to where the answer begins: int64 ``[T]``.

    Args:
        text: of one turn; ``<image>`` stands for an image, in front of it where there is none.
        tokens: places of each image.
        where: what to begin an error with.

    Raises:
        GenerationError: no text; more or fewer marks than images; a tokenizer that lacks a special
            of the template.
    """
    if not text.strip():
        raise GenerationError(f"{where}: found no text, expected some")
    asked = asked_of([Turn("user", _marked(text, len(tokens), where))], len(tokens))
    return _ids(tokenizer, asked, tokens, chat=True, where=where)


def shown_ids(
    tokenizer: Tokenizer, text: str, tokens: Sequence[int], *, where: str
) -> torch.Tensor:
    """A text with images as it stands, to be read on, such as the beginning of a description.

    Otherwise as :func:`chat_ids`; the text may be empty where there is an image.
    """
    marked = plain(_marked(text, len(tokens), where), pictured=True).replace(TAG, MARK)
    return _ids(tokenizer, marked, tokens, chat=False, where=where)


def answer_ids(tokenizer: Tokenizer, answer: str) -> torch.Tensor:
    """An answer and the end of its turn, int64 ``[t]``, as it follows :func:`chat_ids`."""
    ids = tokenizer.encode(plain(answer, pictured=False)).astype(np.int64)
    return torch.from_numpy(np.append(ids, tokenizer.specials[ANSWERED]))


def _marked(text: str, images: int, where: str) -> str:
    """The text with a mark an image."""
    marks = text.count(TAG)
    if marks == images:
        return text
    if not marks:
        return f"{TAG * images}\n{text}"
    raise GenerationError(
        f"{where}: found {marks} times {TAG} and {images} images, expected as many; leave "
        f"{TAG} out to have the images before the text, or name the images by --image or `images`"
    )


def _ids(
    tokenizer: Tokenizer, text: str, tokens: Sequence[int], *, chat: bool, where: str
) -> torch.Tensor:
    try:
        data = text.encode()
        loss = (0, len(data)) if chat else ()  # what has spans is a chat
        ids, _ = encode_marked(text, tokenizer, pictured=bool(tokens), loss=loss, where=where)
    except (UnicodeEncodeError, ShardError) as error:
        raise GenerationError(f"{where}: {error}") from error
    if tokens:
        ids = expand(ids, None, tokens, tokenizer.specials["image"]).ids
    return torch.from_numpy(ids.astype(np.int64))
