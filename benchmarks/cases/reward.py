"""Rewards: the linear student alone, behind the scan, and a cascade.

The cascade's network has random weights: what it computes costs the same whatever it has learnt.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.cases.parquet_floor import FLOOR, floor_of
from benchmarks.harness import Options, Report, interleave, seconds
from benchmarks.inputs import web_texts
from kernels.text import buffers_of, scan
from quality.reward.labels import SCORES
from quality.reward.student import load_student
from quality.reward.student.model import POINT_BITS

MIDDLE = 0.2
"""The share of documents that the cascade's network reads too, as ``distill`` has it by default."""


def run(report: Report, options: Options) -> None:
    """Time the shipped student and a cascade on web texts."""
    texts = web_texts(options).head(options.size(16_000_000, 300_000))
    megabytes = texts.bytes / 1e6
    student = load_student()
    signals = scan(*buffers_of(texts.array), None).signals
    scores = student.points(texts.array, signals)[:, : len(SCORES)] / float(1 << POINT_BITS)
    sides = {
        "student, signals at hand": lambda: seconds(lambda: student.score(texts.array, signals)),
        "scan and student": lambda: seconds(lambda: student.score(texts.array)),
        "scan, student and network": cascade_over(texts.array, scores, MIDDLE),
        FLOOR: floor_of(texts),
    }
    report.add(f"input: {texts.label}", megabytes, "MB")
    taken = interleave(sides, options.repeats)
    for name in list(sides)[:-1]:
        time = taken[name]
        report.add(name, megabytes / time, "MB/s", peer=FLOOR, ratio=taken[FLOOR] / time)


def cascade_over(
    texts: pa.Array, scores: NDArray[np.float64], middle: float, device: str = "cpu"
) -> Callable[[], float]:
    """A timer of a cascade whose network reads the ``middle`` share of texts, on a device.

    Parameters
    ----------
    texts : n strings
    scores : float64[n, scores], by the linear student
    """
    import torch

    from quality.reward.cascade.network import Network, Shape
    from quality.reward.cascade.scoring import Middle, load_cascade, write_cascade

    torch.set_num_threads(1)
    network = Network(Shape())
    torch.nn.init.normal_(network.head.weight, std=0.1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cascade.zip"
        student = load_student()
        trust = np.ones(len(SCORES))
        path.write_bytes(write_cascade(student, network, trust, Middle.of(scores, middle)))
        cascade = load_cascade(path).to(device)
    cascade.score(texts.slice(0, 50))
    return lambda: seconds(lambda: cascade.score(texts))
