"""Train the network on what the linear student gets wrong, and calibrate what it says.

The linear scores that a network learns to correct are those of students that have not seen the
document (cross-validation): on its own labels a student errs too little. How much of a correction
is believed is one number a score, between 0 and 1: the slope of the errors on corrections by
networks that have not seen the document either, as far as chance does not explain it. Where a
network has learnt nothing it is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from quality.reward.cascade.network import PADDING, Network, Shape

F64 = NDArray[np.float64]

FOLDS = 3
EPOCHS = 8
BATCH = 32
RATE = 1e-3
DECAY = 0.05
WORD_DROPOUT = 0.1
_SEED = 7


@dataclass(frozen=True)
class Trained:
    """A network, and how far its corrections are believed, float64[scores]."""

    network: Network
    trust: F64


def train(
    words: NDArray[np.int64],
    scores: F64,
    labels: F64,
    folds: NDArray[np.int64],
    shape: Shape | None = None,
    watch: Callable[[str], None] = lambda _: None,
    epochs: int | None = None,
) -> Trained:
    """Train on n documents.

    Parameters
    ----------
    words : int64[n, LENGTH]
    scores, labels : float64[n, scores]; ``scores`` by students that have not seen the document
    folds : int64[n], any whole numbers; those of a remainder by ``FOLDS`` are a fold
    """
    shape, epochs = shape or Shape(), epochs or EPOCHS
    errors = labels - scores
    corrections = np.zeros_like(errors)
    for fold in range(FOLDS):
        watch(f"training the network of fold {fold + 1} of {FOLDS}")
        mine = folds % FOLDS == fold
        inside, outside = np.flatnonzero(~mine), np.flatnonzero(mine)
        network = _fitted(words[inside], scores[inside], errors[inside], shape, epochs)
        corrections[outside] = corrections_of(network, words[outside], scores[outside])
    watch("training the network")
    network = _fitted(words, scores, errors, shape, epochs)
    return Trained(network, _trust(corrections, errors))


def corrections_of(network: Network, words: NDArray[np.int64], scores: F64, batch: int = 64) -> F64:
    """Corrections in points, float64[n, scores], without regard to trust."""
    device = next(network.parameters()).device
    found = []
    network.eval()
    with torch.inference_mode():
        for at in range(0, len(words), batch):
            some = torch.from_numpy(words[at : at + batch]).to(device)
            given = torch.from_numpy(scores[at : at + batch].astype(np.float32)).to(device)
            found.append(network(some, given, _used(some)).double().cpu().numpy())
    return np.concatenate(found) if found else np.zeros((0, scores.shape[1]))


def _fitted(
    words: NDArray[np.int64], scores: F64, errors: F64, shape: Shape, epochs: int
) -> Network:
    # All chance comes from one generator of its own: the same labels give the same network on one
    # machine, whatever ran before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        network = Network(shape)
        network.train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
        batches = -(-len(words) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * batches)
        tokens = torch.from_numpy(words)
        given = torch.from_numpy(scores.astype(np.float32))
        wanted = torch.from_numpy(errors.astype(np.float32))
        for _ in range(epochs):
            for some in torch.split(torch.randperm(len(words)), BATCH):
                mine = tokens[some]
                used = _used(mine)
                mine = mine.masked_fill(torch.rand(mine.shape) < WORD_DROPOUT, PADDING)
                found = network(mine, given[some], used)
                loss = torch.nn.functional.mse_loss(found, wanted[some])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
    return network


def _used(words: torch.Tensor) -> int:
    """Places that some document of a batch fills: those behind them need no work."""
    return max(int((words != PADDING).sum(dim=1).max()), 1)


def _trust(corrections: F64, errors: F64) -> F64:
    """The slope of errors on corrections, each about its mean, less 1.645 of its standard errors
    (what it exceeds with 95 % confidence), within 0 and 1."""
    x, y = corrections - corrections.mean(axis=0), errors - errors.mean(axis=0)
    size = (x**2).sum(axis=0)
    slope = np.divide((x * y).sum(axis=0), size, out=np.zeros_like(size), where=size > 0)
    left = ((y - slope * x) ** 2).sum(axis=0) / max(len(x) - 2, 1)
    error = np.sqrt(np.divide(left, size, out=np.zeros_like(size), where=size > 0))
    return np.asarray(np.clip(slope - 1.645 * error, 0, 1))
