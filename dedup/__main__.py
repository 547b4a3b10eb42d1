"""``python -m dedup``: the S-curve of a banding, two files compared, one file deduplicated.

Exit codes: 0 done, 1 the job failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from dedup.files import UsageError, check_target, read_texts, write_rows
from dedup.signatures import (
    MinHashParams,
    band_keys,
    candidate_probability,
    estimate,
    half_point,
    minhash_params,
    signatures,
)
from dedup.verify import exact_threshold

DONE, FAILED, WRONG_USAGE = 0, 1, 2


def _print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def _scurve(options: argparse.Namespace) -> int:
    bands, rows = options.bands, options.rows
    points = [
        {"jaccard": percent / 100, "candidate": candidate_probability(percent / 100, bands, rows)}
        for percent in range(40, 101, 5)
    ]
    half = half_point(bands, rows)
    if options.json:
        _print_json({"bands": bands, "rows": rows, "half_point": half, "points": points})
        return DONE
    print(f"{bands} bands of {rows} rows: two documents become candidates with probability")
    for point in points:
        bar = "#" * round(40 * point["candidate"])
        print(f"  J = {point['jaccard']:.2f}   {point['candidate']:.4f}  {bar}")
    print(f"The curve is steepest near J = {half:.3f}, (1/bands)^(1/rows).")
    return DONE


def _pair(options: argparse.Namespace) -> int:
    from dedup.shingles import ShingleSets
    from kernels.text import word_hashes

    params = _params(options)
    raw = [_read_bytes(path) for path in (options.left, options.right)]
    offsets = np.cumsum([0, *(len(data) for data in raw)], dtype=np.int64)
    words, places = word_hashes(np.frombuffer(b"".join(raw), np.uint8), offsets)
    sets = ShingleSets.from_words(np.arange(2, dtype=np.uint32), words, places, params.ngram)
    overlap, union = sets.overlap(0, 1)
    sizes = [len(sets.get(rank)) for rank in (0, 1)]
    similarity = Fraction(overlap, union) if union else Fraction(0)
    signature, present = signatures(words, places, params)
    keys = band_keys(signature, params)
    both = bool(present.all())
    shared = np.flatnonzero(keys[0] == keys[1]).tolist() if both else []
    answer = {
        "words": np.diff(places).tolist(),
        "shingles": sizes,
        "shared_shingles": overlap,
        "jaccard": float(similarity),
        "estimate": float(estimate(signature[0], signature[1])) if both else None,
        "bands_shared": shared,
        "candidate_probability": candidate_probability(
            float(similarity), params.bands, params.rows
        ),
        "threshold": str(options.threshold),
        "near_duplicates": bool(shared) and similarity >= options.threshold,
    }
    if options.json:
        _print_json(answer)
        return DONE
    for path, first, last, size in zip(
        (options.left, options.right), places, places[1:], sizes, strict=False
    ):
        print(f"{path}: {last - first} words, {size} distinct {params.ngram}-word shingles")
    print(f"Jaccard   {float(similarity):.4f} ({overlap} of {union} shingles shared)")
    if both:
        print(f"MinHash   {answer['estimate']:.4f} estimated by {signature.shape[1]} permutations")
        print(
            f"bands     {len(shared)} of {params.bands} shared; at this similarity at least one is"
            f" with probability {answer['candidate_probability']:.4f}"
        )
    else:
        print(f"MinHash   none: a file has fewer than {params.ngram} words")
    verdict = "near duplicates" if answer["near_duplicates"] else "kept apart"
    print(f"verdict   {verdict} at threshold {options.threshold}")
    return DONE


def _run(options: argparse.Namespace) -> int:
    from dedup.texts import text_duplicates

    source = Path(options.file)
    texts = read_texts(source, options.text)
    if options.out:
        check_target(source, Path(options.out))
    found = text_duplicates(
        texts,
        options.threshold,
        _params(options),
        memory_bytes=options.memory_mib << 20,
        threads=options.threads,
    )
    kept = np.setdiff1d(np.arange(found.rows), found.removed)
    if options.out:
        write_rows(source, Path(options.out), kept)
    exact = int(np.count_nonzero(found.exact))
    removed = [
        {
            "row": int(found.removed[i]),
            "survivor": int(found.survivor[i]),
            "jaccard": int(found.jaccard_num[i]) / int(found.jaccard_den[i]),
            "exact": bool(found.exact[i]),
        }
        for i in range(len(found.removed))
    ]
    if options.json:
        _print_json(
            {
                "rows": found.rows,
                "kept": len(kept),
                "exact_duplicates": exact,
                "near_duplicates": len(removed) - exact,
                "without_signature": found.without_signature,
                "threshold": str(options.threshold),
                "search": asdict(found.stats),
                "removed": removed,
            }
        )
        return DONE
    for row in removed[: options.show]:
        how = "equal to" if row["exact"] else f"J = {row['jaccard']:.4f} with"
        print(f"row {row['row']}: {how} row {row['survivor']}")
    if len(removed) > options.show:
        print(f"... and {len(removed) - options.show} more (--show N, --json)")
    print(
        f"{found.rows} rows: {len(kept)} kept, {exact} exact and {len(removed) - exact} near"
        f" duplicates removed at threshold {options.threshold};"
        f" {found.without_signature} too short for a signature"
    )
    return DONE


def _read_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _params(options: argparse.Namespace) -> MinHashParams:
    return minhash_params(options.ngram, options.bands, options.rows, options.seed)


def _threshold(text: str) -> Fraction:
    try:
        return exact_threshold(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected an integer of at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected an integer in 0 .. 2^32 - 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dedup",
        description="Exact and near-duplicate removal: MinHash bands propose, exact word-n-gram"
        " Jaccard similarity decides.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    banding = argparse.ArgumentParser(add_help=False)
    banding.add_argument("--bands", type=_positive, default=14, help="bands (default %(default)s)")
    banding.add_argument(
        "--rows", type=_positive, default=8, help="signature values a band (default %(default)s)"
    )
    banding.add_argument("--json", action="store_true", help="print JSON for machines")
    hashing = argparse.ArgumentParser(add_help=False)
    hashing.add_argument(
        "--ngram", type=_positive, default=5, help="words a shingle (default %(default)s)"
    )
    hashing.add_argument(
        "--seed", type=_seed, default=1, help="seed of the permutations (default %(default)s)"
    )
    hashing.add_argument(
        "--threshold",
        type=_threshold,
        default=Fraction(4, 5),
        help="least Jaccard similarity of near duplicates, 0.8 or 4/5 (default %(default)s)",
    )

    scurve = commands.add_parser(
        "scurve", parents=[banding], help="how likely similar documents share a band"
    )
    scurve.set_defaults(act=_scurve)

    pair = commands.add_parser(
        "pair", parents=[banding, hashing], help="compare two text files in every way"
    )
    pair.add_argument("left", metavar="FILE1", help="UTF-8 text")
    pair.add_argument("right", metavar="FILE2", help="UTF-8 text")
    pair.set_defaults(act=_pair)

    run = commands.add_parser(
        "run",
        parents=[banding, hashing],
        help="find the duplicates in one file; earlier rows survive",
    )
    run.add_argument("file", metavar="FILE", help=".jsonl or .parquet")
    run.add_argument("--text", default="text", help="column of the text (default %(default)s)")
    run.add_argument("--out", metavar="KEPT", help="write the kept rows here, in the same format")
    run.add_argument("--show", type=_positive, default=20, help="removed rows to print")
    run.add_argument("--threads", type=_positive, default=1, help="threads that compare sets")
    run.add_argument("--memory-mib", type=_positive, default=128, help="memory to sort in")
    run.set_defaults(act=_run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.act(options))
    except UsageError as error:
        print(f"python -m dedup {options.command}: {error}", file=sys.stderr)
        return WRONG_USAGE
    except (ValueError, OSError) as error:
        print(f"python -m dedup {options.command}: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
