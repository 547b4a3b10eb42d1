"""Conversations that are longer than their source's ``fit`` allows: cut after an answer.

Tokens are counted as the shards will have them: the very tokenizer, one id for each special of the
chat template, and an image's features in the place of its mark.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import Cut, Fit, Picture
from vl_data.mix.chat import plain
from vl_data.mix.fitting import fit_turns, running_tokens
from vl_data.mix.turns import Turn
from vl_data.tiling import plan

if TYPE_CHECKING:
    from dataflow.tokenizer import Tokenizer

OVER_LENGTH = "over-length"
"""Why a conversation, or the end of one, is not read."""
_END = 1
"""Tokens of the end of a document."""


class Fitting(NamedTuple):
    """The beginning of a conversation that fits: how many of its turns and images, what is cut."""

    turns: Sequence[Turn]
    images: Sequence[Picture]
    cut: Cut | None


def fitted(turns: Sequence[Turn], images: Sequence[Picture], fit: Fit | None) -> Fitting:
    """All of a conversation that has at most ``fit.tokens`` tokens; of a longer one the longest
    beginning that has, and ends with an answer.

    Raises
    ------
    Refusal
        ``over-length`` where not even the first answer fits.
    """
    if fit is None:
        return Fitting(turns, images, None)
    tokenizer = _tokenizer(fit.tokenizer)
    features = [plan(i.facts.width, i.facts.height, fit.tiling).tokens for i in images]

    def count(text: str) -> int:
        return len(tokenizer.encode(plain(text, pictured=bool(images))))

    whole = running_tokens(turns, count, features)[-1] + _END
    if whole <= fit.tokens:
        return Fitting(turns, images, None)
    found = fit_turns(turns, fit.tokens - _END, count, features)
    told = f"found {whole} tokens in {len(turns)} turns, expected at most {fit.tokens}"
    if not found.turns:
        raise Refusal(OVER_LENGTH, f"{told}; the first answer is beyond them")
    kept, shown = len(found.turns), found.images
    left = len(images) - shown
    told += f"; cut after turn {kept - 1}"
    told += f", with {left} image{'s' * (left > 1)}" if left else ""
    return Fitting(found.turns, images[:shown], Cut(f"turn-{kept}", OVER_LENGTH, told))


@functools.lru_cache(maxsize=1)
def _tokenizer(path: str) -> Tokenizer:
    from dataflow.tokenizer import Tokenizer, use  # for those who ask for it

    return Tokenizer.load(path) if Path(path).is_dir() else use(path)
