"""datatrove 0.10.1 from WARC files to tokens, in one process: the stages of its FineWeb example.

Extractor, rules, MinHash parameters and tokenizer are those of the build it is compared with; its
reader, word tokenizer (spaCy), writers and deduplication (no verification) are its own. It does not
identify languages: its filter downloads a model. Prints one JSON object when done.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from datatrove.executor import (  # type: ignore[import-not-found,unused-ignore]
    LocalPipelineExecutor,
)
from datatrove.pipeline.dedup import (  # type: ignore[import-not-found,unused-ignore]
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import (  # type: ignore[import-not-found,unused-ignore]
    MinhashConfig,
)
from datatrove.pipeline.extractors.base import (  # type: ignore[import-not-found,unused-ignore]
    BaseExtractor,
)
from datatrove.pipeline.filters import (  # type: ignore[import-not-found,unused-ignore]
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.readers import (  # type: ignore[import-not-found,unused-ignore]
    JsonlReader,
    WarcReader,
)
from datatrove.pipeline.tokens import (  # type: ignore[import-not-found,unused-ignore]
    DocumentTokenizer,
)
from datatrove.pipeline.writers import JsonlWriter  # type: ignore[import-not-found,unused-ignore]
from datatrove.utils.logging import logger  # type: ignore[import-not-found,unused-ignore]

BANDS, ROWS = 14, 8


class Resiliparse(BaseExtractor):  # type: ignore[misc,unused-ignore]
    """Main content by resiliparse, in the sandbox that datatrove gives its extractors."""

    name = "resiliparse"

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)

    def extract(self, text: str) -> str:
        from resiliparse.extract.html2text import extract_plain_text

        return str(
            extract_plain_text(
                text, main_content=True, alt_texts=False, comments=False, links=False
            )
        )


def run_stages(warcs: Path, out: Path, tokenizer: str, timeout: float) -> dict[str, Any]:
    """Run every stage; returns the seconds of their blocks and the documents kept."""
    config = MinhashConfig(n_grams=5, num_buckets=BANDS, hashes_per_bucket=ROWS)
    filtered, final = str(out / "filtered"), str(out / "final")
    signatures, buckets, removed = (str(out / name) for name in ("sigs", "buckets", "removed"))
    stages: list[tuple[int, list[Any]]] = [
        (
            1,
            [
                WarcReader(str(warcs), glob_pattern="*.warc.gz"),
                Resiliparse(timeout),
                GopherRepetitionFilter(),
                GopherQualityFilter(),
                C4QualityFilter(filter_no_terminal_punct=False),
                FineWebQualityFilter(),
                JsonlWriter(filtered),
            ],
        ),
        (1, [JsonlReader(filtered), MinhashDedupSignature(signatures, config=config)]),
        (BANDS, [MinhashDedupBuckets(signatures, buckets, config=config)]),
        (1, [MinhashDedupCluster(buckets, removed, config=config)]),
        (1, [JsonlReader(filtered), MinhashDedupFilter(removed), JsonlWriter(final)]),
        (1, [JsonlReader(final), DocumentTokenizer(str(out / "tokens"), tokenizer)]),
    ]
    stats: list[Any] = []
    for number, (tasks, pipeline) in enumerate(stages):
        executor = LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=1, logging_dir=str(out / "logs" / str(number))
        )
        stats.append(executor.run())
    return {
        "stages": [
            {block.name: float(block.time_stats.total) for block in stage.stats} for stage in stats
        ],
        "kept": sum(_lines(file) for file in Path(final).glob("*.jsonl.gz")),
    }


def _lines(file: Path) -> int:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return sum(1 for _ in lines)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warcs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True, help="a tokenizer.json")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for one page")
    options = parser.parse_args()
    logger.remove()
    counts = run_stages(options.warcs, options.out, options.tokenizer, options.timeout)
    json.dump(counts, sys.stdout)


if __name__ == "__main__":
    main()
