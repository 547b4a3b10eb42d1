"""``python -m benchmarks.generate web|documents``: write benchmark input into a folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.generate.documents import Shape, write_documents
from benchmarks.generate.pages import load_pages, synthetic_pages
from benchmarks.generate.web import Crawl, write_warcs


def main() -> None:
    """Parse the command line and generate."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    kinds = parser.add_subparsers(dest="kind", required=True)

    web = kinds.add_parser("web", help="WARC files of distinct pages")
    web.add_argument("--out", type=Path, required=True, help="folder for the WARC files")
    web.add_argument("--count", type=int, default=2000, help="pages (default %(default)s)")
    web.add_argument(
        "--pages",
        type=Path,
        action="append",
        help="folder of real pages to take as templates; may be repeated (else synthetic ones)",
    )
    web.add_argument("--seed", type=int, default=0)
    web.add_argument("--per-file", type=int, default=2000, help="pages in a WARC file")

    docs = kinds.add_parser("documents", help="generated documents with planted duplicates")
    docs.add_argument("--out", type=Path, required=True, help="folder for the parts")
    docs.add_argument("--count", type=int, default=100_000, help="documents (default %(default)s)")
    docs.add_argument("--format", choices=["jsonl", "jsonl.zst", "parquet"], default="jsonl.zst")
    docs.add_argument("--median-words", type=int, default=90)
    docs.add_argument("--seed", type=int, default=0)

    options = parser.parse_args()
    if options.kind == "web":
        pages = load_pages(options.pages) if options.pages else synthetic_pages(500, options.seed)
        crawl = Crawl(seed=options.seed, per_file=options.per_file)
        files = write_warcs(options.out, pages, options.count, crawl)
    else:
        shape = Shape(seed=options.seed, median_words=options.median_words)
        files = write_documents(options.out, options.count, shape, form=options.format)
    written = {"files": len(files), "bytes": sum(f.stat().st_size for f in files)}
    if options.json:
        print(json.dumps({"folder": str(options.out), "count": options.count, **written}))
    else:
        print(f"{options.count} in {written['files']} files, {written['bytes'] / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
