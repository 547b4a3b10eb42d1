"""Log-probabilities of continuations: each prefix is read once, whatever follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from trainer.generation.decoder import Decoder, Memory

BATCH_TOKENS = 1 << 14
"""Tokens that are read, or held as keys and values, at once; one longer text is read alone."""

Progress = Callable[[int, int], None]
"""Told how many of how many are done."""


def silent(_done: int, _total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Continuation:
    """``log_probabilities``: of each token. ``greedy``: each was the most probable one, so that
    greedy generation writes exactly these."""

    log_probabilities: tuple[float, ...]
    greedy: bool

    @property
    def total(self) -> float:
        """The log-probability of the whole, in nats."""
        return sum(self.log_probabilities)


def batches(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Numbers of texts of like sizes, longest first; largest × count is at most ``most``.

    A larger one is alone. Memory is bounded by the product, because rows of keys are padded.
    """
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    batch: list[int] = []
    for i in order:
        if batch and sizes[batch[0]] * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@torch.no_grad()
def follow(
    decoder: Decoder,
    prefixes: Sequence[torch.Tensor],
    continuations: Sequence[Sequence[torch.Tensor]],
    *,
    most: int = BATCH_TOKENS,
    progress: Progress = silent,
) -> list[list[Continuation]]:
    """Score several continuations of each prefix.

    A prefix is read once; its state, keys and values are copied for every continuation, whose
    tokens are then read one a step. Logits exist only where a continuation is, so a prefix may be
    as long as the model reads.

    Args:
        prefixes: int64 ``[T]`` each, none empty.
        continuations: for each prefix, int64 ``[t]`` each, none empty.
        most: tokens at once; a longer prefix is read alone, and continued one row at a time.
        progress: told of prefixes.

    Raises:
        ValueError: a prefix or a continuation without tokens.
    """
    if any(len(c) == 0 for mine in continuations for c in mine):
        raise ValueError("found a continuation without tokens, expected one or more")
    found: list[list[Continuation]] = [[] for _ in prefixes]
    done = 0
    for batch in batches([len(p) for p in prefixes], most):
        memory, logits = decoder.prefill([prefixes[i] for i in batch])
        mine = [continuations[i] for i in batch]
        width = max(1, most // len(prefixes[batch[0]]))
        scored = continue_memory(decoder, memory, logits, mine, width=width)
        for i, each in zip(batch, scored, strict=True):
            found[i] = each
        done += len(batch)
        progress(done, len(prefixes))
    return found


def continue_memory(
    decoder: Decoder,
    memory: Memory,
    logits: torch.Tensor,
    continuations: Sequence[Sequence[torch.Tensor]],
    *,
    width: int,
) -> list[list[Continuation]]:
    """Score several continuations of each row that was read.

    Args:
        memory, logits: as prefill gives them; they stay as they are.
        continuations: for each row, int64 ``[t]`` each, none empty.
        width: rows that are read on at once, each with its own copy of the memory.
    """
    found: list[list[Continuation]] = [[] for _ in continuations]
    rows = [(row, c) for row, mine in enumerate(continuations) for c in mine]
    for start in range(0, len(rows), width):
        part = rows[start : start + width]
        owners = torch.tensor([row for row, _ in part], device=decoder.device)
        scored = _steps(decoder, _copy(memory, owners), logits[owners], [c for _, c in part])
        for (row, _), score in zip(part, scored, strict=True):
            found[row].append(score)
    return found


def _copy(memory: Memory, rows: torch.Tensor) -> Memory:
    """What some rows have read, each as often as it is named."""
    return Memory(
        memory.lengths[rows],
        {layer: kept[rows] for layer, kept in memory.states.items()},
        {layer: kept[rows] for layer, kept in memory.keys.items()},
        {layer: kept[rows] for layer, kept in memory.values.items()},
    )


def _steps(
    decoder: Decoder, memory: Memory, logits: torch.Tensor, rows: Sequence[torch.Tensor]
) -> list[Continuation]:
    """Read ``rows``, a token of each a step; rows that have ended read their last token again."""
    longest = max(len(row) for row in rows)
    padded = torch.stack([torch.cat([r, r[-1:].expand(longest - len(r))]) for r in rows])
    padded = padded.to(decoder.device)
    scores, best = [], []
    for n in range(longest):
        tokens = padded[:, n]
        scores.append(logits.float().log_softmax(-1).gather(1, tokens[:, None])[:, 0])
        best.append(logits.argmax(-1) == tokens)
        if n + 1 < longest:
            logits = decoder.step(memory, tokens)
    by_row = torch.stack(scores, 1).double().tolist()
    greedy = torch.stack(best, 1).tolist()
    return [
        Continuation(tuple(by_row[i][: len(row)]), all(greedy[i][: len(row)]))
        for i, row in enumerate(rows)
    ]
