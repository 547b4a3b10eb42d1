"""Near-duplicate removal: MinHash-LSH proposes, exact Jaccard similarity decides."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.cases.parquet_floor import FLOOR, floor_of
from benchmarks.generate.documents import Shape, documents
from benchmarks.harness import Options, Report, interleave, seconds
from benchmarks.inputs import Texts, generated_texts
from dedup import ShingleSets, band_keys, minhash_params, near_duplicates, signatures
from kernels.text import word_hashes

DOCUMENTS, QUICK_DOCUMENTS = 100_000, 2_000
THRESHOLD = 0.8


def run(report: Report, options: Options) -> None:
    """Time the search with the signatures at hand, and from the text."""
    count = options.size(DOCUMENTS, QUICK_DOCUMENTS)
    texts = generated_texts(options, count)
    megabytes = texts.bytes / 1e6
    report.add(f"input: {texts.label}", megabytes, "MB")
    scratch = options.scratch / "dedup"
    _search(generated_texts(options, 1000), scratch)
    times: dict[str, list[float]] = {"from text": [], "search alone": []}
    removed: npt.NDArray[np.uint32] = np.empty(0, np.uint32)

    def both() -> float:
        nonlocal removed
        removed, total, search = _search(texts, scratch)
        times["from text"].append(total)
        times["search alone"].append(search)
        return total

    taken = interleave({"ours": both, FLOOR: floor_of(texts)}, options.repeats)
    for name, found in times.items():
        time = float(np.median(found))
        report.add(name, megabytes / time, "MB/s", peer=FLOOR, ratio=taken[FLOOR] / time)
        report.add(f"{name}, documents", count / time, "documents/s")
    _against_truth(report, options, count, removed)


def _search(texts: Texts, scratch: Path) -> tuple[npt.NDArray[np.uint32], float, float]:
    """Ranks removed, seconds from the text on, and seconds of the search with band keys at hand."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    params = minhash_params()
    found: list[npt.NDArray[np.uint32]] = []
    keys: list[npt.NDArray[np.uint64]] = []
    signed: list[npt.NDArray[np.bool_]] = []
    words: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]] = []
    ranks = np.arange(texts.count, dtype=np.uint32)

    def sign() -> None:
        words.append(word_hashes(texts.data, texts.offsets))
        signature, present = signatures(*words[0], params)
        keys.append(band_keys(signature, params))
        signed.append(present)

    def shingle(candidates: npt.NDArray[np.uint32]) -> ShingleSets:
        hashes, offsets = words[0]
        pieces = [hashes[offsets[c] : offsets[c + 1]] for c in candidates.tolist()]
        ends = np.cumsum([0, *(len(p) for p in pieces)], dtype=np.int64)
        joined = np.concatenate([np.empty(0, np.uint64), *pieces])
        return ShingleSets.from_words(candidates, joined, ends, params.ngram)

    def search() -> None:
        result = near_duplicates(
            lambda band: [(np.ascontiguousarray(keys[0][signed[0], band]), ranks[signed[0]])],
            params.bands,
            texts.count,
            shingle,
            THRESHOLD,
            scratch,
        )
        found.append(result.removed)

    signing, searching = seconds(sign), seconds(search)
    return found[0], signing + searching, searching


def _against_truth(
    report: Report, options: Options, count: int, removed: npt.NDArray[np.uint32]
) -> None:
    planted = np.array(
        [d.kind != "base" for d in documents(count, Shape(seed=options.seed))], np.bool_
    )
    hit = int(planted[removed].sum())
    report.add("planted copies removed", hit / max(1, int(planted.sum())), "fraction")
    report.add("removed that are planted copies", hit / max(1, len(removed)), "fraction")
