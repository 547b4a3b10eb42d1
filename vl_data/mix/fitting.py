"""Conversations longer than a sample may be: cut after an answer, or left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vl_data.mix.refusals import SampleRefused
from vl_data.mix.turns import TAG, Turn


class Fitted(NamedTuple):
    """The turns that fit.

    Attributes
    ----------
    turns : tuple of Turn
        A beginning of the conversation that ends with an answer; none: not even the first fits.
    images : int
        How many of the images, from the first on, belong to them.
    tokens : int
        Of the turns with their specials and images.
    """

    turns: tuple[Turn, ...]
    images: int
    tokens: int


def running_tokens(
    turns: Sequence[Turn], count: Callable[[str], int], image_tokens: Sequence[int] = ()
) -> list[int]:
    """How many tokens a conversation has up to the end of each turn; as `fit_turns` counts."""
    totals: list[int] = []
    tokens = images = 0
    for turn in turns:
        pieces = turn.text.strip().split(TAG)
        tokens += 2 + sum(count(piece) for piece in pieces if piece)
        tokens += sum(image_tokens[images : images + len(pieces) - 1])
        images += len(pieces) - 1
        totals.append(tokens)
    return totals


def fit_turns(
    turns: Sequence[Turn],
    budget: int,
    count: Callable[[str], int],
    image_tokens: Sequence[int] = (),
) -> Fitted:
    """The longest beginning that ends with an answer and takes at most ``budget`` tokens.

    Parameters
    ----------
    budget : int
        Tokens, those of specials and images among them.
    count : callable
        How many tokens a text takes. Asked for what stands between specials and marks, as the
        tokenizer encodes it.
    image_tokens : sequence of int
        Of each image, in order.

    Raises
    ------
    SampleRefused
        ``marks-differ`` where there are more or fewer `TAG` than images.
    """
    tags = sum(turn.text.count(TAG) for turn in turns)
    if tags != len(image_tokens):
        raise SampleRefused(
            "marks-differ",
            f"found {tags} marks in the text, expected {len(image_tokens)}, one an image",
        )
    fitted = Fitted((), 0, 0)
    images = 0
    for number, tokens in enumerate(running_tokens(turns, count, image_tokens)):
        if tokens > budget:
            break
        images += turns[number].text.count(TAG)
        if turns[number].role == "assistant":
            fitted = Fitted(tuple(turns[: number + 1]), images, tokens)
    return fitted
