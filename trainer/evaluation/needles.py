"""How a model answers questions over long texts: a table of lengths and depths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dataflow.tokenizer import Tokenizer
from trainer.evaluation.errors import EvaluationError
from trainer.evaluation.haystack import Haystack, invented
from trainer.evaluation.likelihood import BATCH_TOKENS, Continuation, Progress, follow, silent
from trainer.evaluation.long_tasks import DEPTHLESS, KINDS, WRONG, LongQuestion, long_question
from trainer.evaluation.statistics import Estimate, mean
from trainer.evaluation.texts import as_tokens
from trainer.generation.decoder import Decoder

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SAMPLES = 8
CHANCE = 1 / (WRONG + 1)
"""``chosen`` of a model that guesses."""


@dataclass(frozen=True)
class Cell:
    """The questions of a kind, a length and a depth.

    ``exact``: share of answers that greedy generation writes token by token, as the answer
    tokenizes by itself. ``chosen``: share of answers that are more probable than all wrong ones.
    ``share``: log of the answer's share among it and the wrong ones (0 is sure, −ln 4 a guess).
    ``depth`` is None for kinds that hide nothing at a place; ``tokens`` is the mean length of
    prompts.
    """

    kind: str
    length: int
    depth: float | None
    samples: int
    tokens: float
    exact: Estimate
    chosen: Estimate
    share: Estimate

    def as_json(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return {
            "kind": self.kind,
            "length": self.length,
            "depth": self.depth,
            "samples": self.samples,
            "tokens": self.tokens,
            **{name: getattr(self, name).as_json() for name in ("exact", "chosen", "share")},
        }


def needles(
    decoder: Decoder,
    tokenizer: Tokenizer,
    *,
    lengths: Sequence[int],
    depths: Sequence[float] = DEPTHS,
    kinds: Sequence[str] = tuple(KINDS),
    samples: int = SAMPLES,
    seed: int = 0,
    haystack: Haystack = invented,
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress = silent,
) -> list[Cell]:
    """Ask questions of each kind at each length and depth.

    Args:
        lengths: tokens of prompt and answer, at most.
        depths: from 0 to 1.
        kinds: of ``KINDS``.
        samples: questions of a cell.
        seed: of the questions; those of a cell do not depend on the other cells asked for.
        batch_tokens: read at once; longer prompts are read alone.
        progress: told of cells.

    Raises:
        EvaluationError: an unknown kind, a depth or number of samples out of range, or a length too
            small for a kind. All questions of the least length are made before any is read.
    """
    asked = partial(_asked, tokenizer, haystack, samples, seed)
    grid = _grid(lengths, depths, kinds)
    check_needles(
        tokenizer, lengths=lengths, depths=depths, kinds=kinds, samples=samples, seed=seed,
        haystack=haystack,
    )  # fmt: skip
    found = []
    for done, (kind, length, depth) in enumerate(grid, 1):
        questions = asked(kind, length, depth)
        scored = follow(
            decoder,
            [q.prompt for q in questions],
            [[as_tokens(tokenizer, text) for text in (q.answer, *q.wrong)] for q in questions],
            most=batch_tokens,
        )
        found.append(_cell(kind, length, depth, questions, scored))
        progress(done, len(grid))
    return found


def check_needles(
    tokenizer: Tokenizer,
    *,
    lengths: Sequence[int],
    depths: Sequence[float] = DEPTHS,
    kinds: Sequence[str] = tuple(KINDS),
    samples: int = SAMPLES,
    seed: int = 0,
    haystack: Haystack = invented,
) -> None:
    """Refuse what `needles` would, without a model; the questions of the least length are made.

    Raises:
        EvaluationError: as there.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise EvaluationError(f"found the kinds {unknown}, expected some of {', '.join(KINDS)}")
    outside = [depth for depth in depths if not 0 <= depth <= 1]
    if outside:
        raise EvaluationError(f"found the depths {outside}, expected numbers from 0 to 1")
    if samples < 1:
        raise EvaluationError(f"found {samples} samples, expected 1 or more")
    for place in _grid(lengths, depths, kinds):
        if place[1] == min(lengths):
            _asked(tokenizer, haystack, samples, seed, *place)


def _grid(
    lengths: Sequence[int], depths: Sequence[float], kinds: Sequence[str]
) -> list[tuple[str, int, float | None]]:
    """The kind, length and depth of each cell."""
    return [
        (kind, length, depth)
        for kind in kinds
        for length in lengths
        for depth in ((None,) if kind in DEPTHLESS else depths)
    ]


def _asked(
    tokenizer: Tokenizer,
    haystack: Haystack,
    samples: int,
    seed: int,
    kind: str,
    length: int,
    depth: float | None,
) -> list[LongQuestion]:
    """The questions of a cell."""
    return [
        long_question(
            kind, tokenizer, haystack,
            length=length, depth=depth or 0.0, seed=seed, sample=sample,
        )
        for sample in range(samples)
    ]  # fmt: skip


def _cell(
    kind: str,
    length: int,
    depth: float | None,
    questions: Sequence[LongQuestion],
    scored: Sequence[Sequence[Continuation]],
) -> Cell:
    totals = [[continuation.total for continuation in each] for each in scored]
    return Cell(
        kind,
        length,
        depth,
        len(questions),
        sum(len(q.prompt) for q in questions) / len(questions),
        mean([each[0].greedy for each in scored]),
        mean([right > max(wrong) for right, *wrong in totals]),
        mean([_log_share(each) for each in totals]),
    )


def _log_share(totals: Sequence[float]) -> float:
    """log softmax of log-probabilities at the first."""
    top = max(totals)
    return totals[0] - top - math.log(sum(math.exp(x - top) for x in totals))
