"""How much likelier a model finds captions with their images than with others, or with none.

The gain of an image-caption pair is

    (log p(caption | its image) - log p(caption | another's image)) / bytes of the caption

in nats: near 0 where the caption does not hang on what is seen, or the model sees nothing; below 0
where the other image would fit better. The other image is of another document (``other_images``).
With several others the second term is their mean: the gain hangs less on which they happen to be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from dataflow.tokenizer import Tokenizer
from trainer.data.pictures import Picture, images_of
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.likelihood import batches
from trainer.generation.chats import answer_ids, chat_ids, shown_ids
from trainer.generation.decoder import Decoder
from vl_data.decode import decode
from vl_data.mix.chat import plain
from vl_data.mix.turns import TAG
from vl_data.pixels import tile_bytes
from vl_data.refusals import ImageRefused
from vl_data.tiling import plan


@dataclass(frozen=True)
class ShownPair:
    """An image and its caption.

    Attributes:
        id: of the content (``vl_data.reward.pairs``).
        digest: of the image's bytes.
        pixels: of what it shows.
        caption: not empty.
    """

    id: bytes
    digest: bytes
    pixels: bytes
    caption: str


@dataclass(frozen=True)
class Gain:
    """In nats a byte; None where the pair does not fit, or no other document has an image."""

    other: float | None
    unseen: float | None


class Prompts:
    """What stands before a caption, as ids: ``<image>`` and a newline, as in training's documents
    of pairs; or a request in the chat template, of which the caption is the answer.

    Args:
        ask: the request; None for the document's form.
    """

    def __init__(self, tokenizer: Tokenizer, ask: str | None) -> None:
        self._tokenizer, self._ask = tokenizer, ask
        self._before = lru_cache(1 << 10)(self._made)

    def before(self, tokens: int) -> torch.Tensor:
        """int64 [T], with places for an image of so many tokens; 0: without one."""
        return self._before(tokens)

    def caption(self, caption: str) -> torch.Tensor:
        """int64 [t], with the id that ends it."""
        if self._ask is not None:
            return answer_ids(self._tokenizer, caption)
        ids = self._tokenizer.encode(plain(caption, pictured=True)).astype("int64")
        return torch.cat([torch.from_numpy(ids), torch.tensor([self._tokenizer.eod])])

    def _made(self, tokens: int) -> torch.Tensor:
        shown = [tokens] if tokens else []
        if self._ask is not None:
            return chat_ids(self._tokenizer, self._ask, shown, where="--ask")
        return shown_ids(self._tokenizer, f"{TAG}\n" if tokens else "\n", shown, where="a caption")


def caption_gains(
    decoder: Decoder,
    prompts: Prompts,
    pairs: Sequence[ShownPair],
    others: Sequence[Sequence[bytes]],
    pictures: Mapping[bytes, Picture],
    *,
    longest: int,
    batch_tokens: int,
) -> list[Gain]:
    """The gains of a block of pairs, in their order.

    What is read at once hangs on the block alone, so that its gains come out alike whenever it is
    computed on the same machine.

    Args:
        others: of each pair, the digests of the images that stand in for its own.
        pictures: all images of the pairs and of the others, by digest.
        longest: tokens of a caption with its image; a longer pair has no gains.
        batch_tokens: read at once; a longer pair is read alone.

    Raises:
        EvaluationError: the model sees nothing.
    """
    if decoder.vision is None:
        raise EvaluationError(
            f"found model {decoder.recipe.name} without a vision tower, expected one that is shown "
            "images"
        )
    captions = [prompts.caption(pair.caption) for pair in pairs]
    asked: list[tuple[int, str, Picture | None]] = []
    for number, (pair, given) in enumerate(zip(pairs, others, strict=True)):
        own, other = pictures[pair.digest], [pictures[digest] for digest in given]
        size = max(len(prompts.before(picture.plan.tokens)) for picture in (own, *other))
        if size + len(captions[number]) > longest:
            continue
        asked += [(number, "own", own), (number, "unseen", None)]
        asked += [(number, "other", picture) for picture in other]
    wholes = [
        torch.cat([prompts.before(0 if p is None else p.plan.tokens), captions[number]])
        for number, _, p in asked
    ]
    found: defaultdict[tuple[int, str], list[tuple[int, float]]] = defaultdict(list)
    for part in batches([len(whole) for whole in wholes], batch_tokens):
        shown = [p for p in (asked[i][2] for i in part) if p is not None]
        scores = decoder.score([wholes[i] for i in part], images_of(shown))
        for i, score in zip(part, scores, strict=True):
            number, condition, _ = asked[i]
            told = float(score[-len(captions[number]) :].double().sum())
            found[number, condition].append((i, told))

    def gain(number: int, condition: str) -> float | None:
        if (number, condition) not in found:
            return None
        # In the order in which they were asked, whatever batch each came in.
        told = [value for _, value in sorted(found[number, condition])]
        more = found[number, "own"][0][1] - sum(told) / len(told)
        return more / len(pairs[number].caption.encode())

    return [Gain(gain(n, "other"), gain(n, "unseen")) for n in range(len(pairs))]


def tiled(images: Mapping[bytes, bytes], tiling: str) -> dict[bytes, Picture]:
    """Images as a model is shown them, by digest.

    Raises:
        EvaluationError: one cannot be decoded.
    """
    return {digest: _picture(data, digest, tiling) for digest, data in images.items()}


def _picture(data: bytes, digest: bytes, tiling: str) -> Picture:
    try:
        rgb = decode(data)
    except ImageRefused as error:
        raise EvaluationError(
            f"image {digest.hex()}: {error.reason}, {error.detail}; expected one that decodes as "
            "it did when the run was built; `python -m dataflow verify RUN` checks it"
        ) from error
    laid = plan(rgb.shape[1], rgb.shape[0], tiling)
    return Picture(laid, tile_bytes(rgb, laid, tiling))
