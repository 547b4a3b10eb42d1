"""Rewards by a cascade whose network reads every document, on a CUDA GPU.

Documents are of 1,000 tokens each. What the CPU does for them (the scan, the linear student, the
words that the network reads) is a part of the time, on one core.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from benchmarks.cases.reward import cascade_over
from benchmarks.harness import Options, Report, interleave, seconds
from benchmarks.inputs import web_texts
from benchmarks.recipes import TOKENIZER
from dataflow.tokenizer import Tokenizer
from quality.reward.labels import SCORES
from quality.reward.student import load_student
from quality.reward.student.model import POINT_BITS

TOKENS = 1000
PAGES = 4000


def run(report: Report, options: Options) -> None:
    """Time the linear student alone and the cascade on one GPU.

    Raises
    ------
    RuntimeError
        Without a CUDA GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("reward_gpu: found no CUDA GPU, expected one; `reward` times a CPU")
    texts = of_tokens(web_texts(options, PAGES).array, options.size(20_000, 200))
    student = load_student()
    scores = student.points(texts)[:, : len(SCORES)] / float(1 << POINT_BITS)
    sides = {
        "linear student": lambda: seconds(lambda: student.score(texts)),
        "cascade": cascade_over(texts, scores, 1.0, "cuda"),
    }
    report.add(f"GPU: {torch.cuda.get_device_name()}", 1, "GPUs")
    report.add(f"input: documents of {TOKENS:,} tokens", len(texts), "documents")
    taken = interleave(sides, options.repeats)
    for name, time in taken.items():
        report.add(name, 3600 * len(texts) / time, "documents/h")
    report.add(
        "cascade, of the linear student alone", taken["linear student"] / taken["cascade"], "times"
    )


def of_tokens(texts: pa.Array, count: int) -> pa.Array:
    """``count`` documents of ``TOKENS`` tokens: texts one after the other, cut, and again from the
    first where there is too little."""
    tokenizer = Tokenizer.load(TOKENIZER)
    ids = np.concatenate([np.asarray(one) for one in tokenizer.encode_batch(texts.to_pylist())])
    ids = np.resize(ids, count * TOKENS).reshape(count, TOKENS)
    made = [tokenizer.decode(row).decode("utf-8", "replace") for row in ids]
    return pa.array(made, pa.large_string())
