"""``kernels.text.scan``: every signal of every rule, with and without MinHash signatures."""

from __future__ import annotations

from pathlib import Path

from benchmarks.cases.parquet_floor import FLOOR, floor_of
from benchmarks.harness import Options, Peer, Report, interleave, seconds
from benchmarks.inputs import Texts, web_texts
from kernels.text import scan
from kernels.text.minhash import MinHashParams, minhash_params

SIGNALS, BOTH = "signals", "signals and signatures"
PEER_BYTES = 1_500_000
"""The peer needs seconds for what takes us milliseconds: it gets the first of the documents."""
DATATROVE = "datatrove 0.10.1"


def run(report: Report, options: Options) -> None:
    """Time the pass on all documents, then on the first ones beside datatrove."""
    texts = web_texts(options)
    params = minhash_params()
    _scan(texts.head(100_000), None)
    _scan(texts.head(100_000), params)
    megabytes = texts.bytes / 1e6
    report.add(f"input: {texts.label}", megabytes, "MB")
    taken = interleave(
        {
            SIGNALS: lambda: seconds(lambda: _scan(texts, None)),
            BOTH: lambda: seconds(lambda: _scan(texts, params)),
            FLOOR: floor_of(texts),
        },
        options.repeats,
    )
    floor = taken.pop(FLOOR)
    for name, time in taken.items():
        report.add(name, megabytes / time, "MB/s", peer=FLOOR, ratio=floor / time)
        report.add(f"{name}, documents", texts.count / time, "documents/s")
    _against_datatrove(report, options, texts, params)


def _scan(texts: Texts, params: MinHashParams | None) -> None:
    scan(texts.data, texts.offsets, params)


def _against_datatrove(
    report: Report, options: Options, texts: Texts, params: MinHashParams
) -> None:
    few = texts.head(options.size(PEER_BYTES, 60_000))
    turns = 20

    def ours() -> float:
        return sum(seconds(lambda: _scan(few, params)) for _ in range(turns)) / turns

    options.scratch.mkdir(parents=True, exist_ok=True)
    path: Path = few.write_jsonl(options.scratch / "scan-peer.jsonl")
    report.add("input of the comparison", few.bytes / 1e6, "MB")
    with Peer("datatrove_text") as peer:
        peer.ask(do="load", path=str(path))
        for words, label in (("own", "its own words"), ("whitespace", "whitespace words")):
            for mode in ("all", "chain"):
                peer.ask(do="judge", words=words, mode=mode, limit=3)

                def theirs(words: str = words, mode: str = mode) -> float:
                    return peer.seconds(do="judge", words=words, mode=mode)

                taken = interleave({"ours": ours, "theirs": theirs}, options.repeats)
                what = "every rule on every document" if mode == "all" else "dropped early"
                report.add(
                    f"rules and signatures, {label}, {what}",
                    few.bytes / 1e6 / taken["ours"],
                    "MB/s",
                    peer=f"{DATATROVE}, {label}, {what}",
                    ratio=taken["theirs"] / taken["ours"],
                )
