"""Encoding: tiktoken against tokenizers, byte-level BPE from the same merges."""

from __future__ import annotations

from benchmarks.cases.parquet_floor import FLOOR, floor_of
from benchmarks.harness import Options, Report, interleave, seconds
from benchmarks.inputs import web_texts
from benchmarks.recipes import TOKENIZER
from dataflow.tokenizer import Tokenizer


def run(report: Report, options: Options) -> None:
    """Time both on web texts and check that they give the same ids."""
    texts = web_texts(options).head(options.size(8_000_000, 300_000))
    strings: list[str] = texts.array.to_pylist()
    tokenizer = Tokenizer.load(TOKENIZER)
    ours = tokenizer.encode_batch(strings)
    theirs = tokenizer.reference_encode(strings)
    different = sum(list(a) != list(b) for a, b in zip(ours, theirs, strict=True))
    megabytes = texts.bytes / 1e6
    tokens = sum(len(ids) for ids in ours)
    report.add(f"input: {texts.label}", megabytes, "MB")
    taken = interleave(
        {
            "tiktoken": lambda: seconds(lambda: tokenizer.encode_batch(strings)),
            "tokenizers": lambda: seconds(lambda: tokenizer.reference_encode(strings)),
            FLOOR: floor_of(texts),
        },
        options.repeats,
    )
    time = taken["tiktoken"]
    report.add(
        "tiktoken", megabytes / time, "MB/s", peer="tokenizers", ratio=taken["tokenizers"] / time
    )
    report.add("tiktoken", megabytes / time, "MB/s", peer=FLOOR, ratio=taken[FLOOR] / time)
    report.add("tokens", tokens / time, "tokens/s")
    report.add("bytes of text in a token", texts.bytes / tokens, "bytes")
    report.add("documents encoded differently by the two", different, "documents")
