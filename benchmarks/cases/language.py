"""Language identification: fastText's quantised ``lid.176`` on the whole of each text."""

from __future__ import annotations

from benchmarks.cases.parquet_floor import FLOOR, floor_of
from benchmarks.harness import Options, Report, interleave, seconds
from benchmarks.inputs import web_texts
from quality.language import identify


def run(report: Report, options: Options) -> None:
    """Time ``quality.language.identify`` on web texts."""
    texts = web_texts(options).head(options.size(8_000_000, 300_000))
    identify(texts.array.slice(0, 5))
    megabytes = texts.bytes / 1e6
    report.add(f"input: {texts.label}", megabytes, "MB")
    taken = interleave(
        {"full text": lambda: seconds(lambda: identify(texts.array)), FLOOR: floor_of(texts)},
        options.repeats,
    )
    time = taken["full text"]
    report.add("full text", megabytes / time, "MB/s", peer=FLOOR, ratio=taken[FLOOR] / time)
    report.add("full text, documents", texts.count / time, "documents/s")
