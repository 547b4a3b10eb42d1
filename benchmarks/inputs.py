"""The inputs that benchmarks share, generated once into the scratch folder and then reused."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import benchmarks.generate
from benchmarks.generate.documents import Shape, documents, write_documents
from benchmarks.generate.pages import Page, load_pages, synthetic_pages
from benchmarks.generate.web import Crawl, web_pages, write_warcs
from benchmarks.harness import Options

WEB_PAGES, QUICK_WEB_PAGES = 3000, 60
PAGES_PER_FILE = 500


@dataclass(frozen=True)
class Texts:
    """Documents as Arrow has them: ``data`` uint8[bytes], ``offsets`` int64[n + 1]."""

    array: pa.Array
    label: str

    @functools.cached_property
    def data(self) -> npt.NDArray[np.uint8]:
        buffer = self.array.buffers()[2]
        return np.frombuffer(buffer, np.uint8)[: int(self.offsets[-1])]

    @functools.cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        return np.frombuffer(self.array.buffers()[1], np.int64)[: len(self.array) + 1]

    @property
    def count(self) -> int:
        return len(self.array)

    @property
    def bytes(self) -> int:
        return int(self.offsets[-1])

    def head(self, size: int) -> Texts:
        """The first documents, of at most ``size`` bytes together (one at least)."""
        count = max(1, int(np.searchsorted(self.offsets, size, side="right")) - 1)
        chunk = pa.concat_arrays([self.array.slice(0, count)])
        return Texts(pa.array(chunk.to_pylist(), pa.large_string()), self.label)

    def write_jsonl(self, path: Path) -> Path:
        """One JSON object with ``text`` a line."""
        with path.open("w", encoding="utf-8") as sink:
            for text in self.array.to_pylist():
                sink.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        return path


def templates(options: Options) -> tuple[list[Page], str]:
    """The pages that web input is made of, and what to call them."""
    if options.pages:
        pages = load_pages(options.pages)
        return pages, f"made of {len(pages)} real pages"
    return synthetic_pages(300, options.seed), "made of synthetic pages"


def warcs(options: Options) -> tuple[Path, str]:
    """A folder of WARC files of web-shaped pages, and a description."""
    count = options.size(WEB_PAGES, QUICK_WEB_PAGES)
    pages, origin = templates(options)
    crawl = Crawl(seed=options.seed, per_file=min(PAGES_PER_FILE, max(1, count // 4)))
    key = {"pages": _digest(pages), "count": count, **asdict(crawl)}
    folder = _cached(
        options, "web", key, lambda out: write_warcs(out / "warc", pages, count, crawl)
    )
    return folder / "warc", f"{count} web pages, {origin}"


def web_texts(options: Options, pages_wanted: int = WEB_PAGES) -> Texts:
    """The main content of the web pages, as resiliparse extracts it; every language, all sizes."""
    count = options.size(pages_wanted, QUICK_WEB_PAGES)
    pages, origin = templates(options)
    crawl = Crawl(seed=options.seed)
    key = {"pages": _digest(pages), "count": count, **asdict(crawl)}

    def make(out: Path) -> None:
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.encoding import detect_encoding

        texts = []
        for page in web_pages(pages, count, crawl):
            html = page.html.decode(detect_encoding(page.html) or "utf-8", "replace")
            text = extract_plain_text(
                html, main_content=True, alt_texts=False, comments=False, links=False
            )
            texts.append(text)
        table = pa.table({"text": pa.array([t for t in texts if t], pa.large_string())})
        pq.write_table(table, out / "texts.parquet", compression="zstd")

    folder = _cached(options, "texts", key, make)
    column = pq.read_table(folder / "texts.parquet")["text"].combine_chunks()
    array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return Texts(array.cast(pa.large_string()), f"main content of {count} web pages, {origin}")


def generated_texts(options: Options, count: int) -> Texts:
    """Generated documents with planted copies, in memory."""
    texts = [d.text for d in documents(count, Shape(seed=options.seed))]
    return Texts(pa.array(texts, pa.large_string()), f"{count} generated documents")


def generated_files(
    options: Options, count: int, form: Literal["jsonl", "jsonl.zst"] = "jsonl.zst"
) -> Path:
    """A folder of JSONL parts of generated documents; only plain ones can be cut for partitions."""
    shape = Shape(seed=options.seed)
    key = {"count": count, "form": form, **asdict(shape)}
    per_file = max(1000, min(20_000, count // 4))
    folder = _cached(
        options,
        "documents",
        key,
        lambda out: write_documents(out / "parts", count, shape, form=form, per_file=per_file),
    )
    return folder / "parts"


def _digest(pages: list[Page]) -> str:
    digest = hashlib.sha256()
    for page in pages:
        digest.update(page.name.encode() + b"\0" + page.html)
    return digest.hexdigest()


@functools.cache
def _generator_code() -> str:
    digest = hashlib.sha256()
    for file in sorted(Path(benchmarks.generate.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _cached(
    options: Options, name: str, key: dict[str, Any], make: Callable[[Path], object]
) -> Path:
    """The folder of an input: made when it is missing, whole or not at all."""
    encoded = json.dumps([key, _generator_code()], sort_keys=True)
    folder = (
        options.scratch / "inputs" / f"{name}-{hashlib.sha256(encoded.encode()).hexdigest()[:16]}"
    )
    if folder.exists():
        return folder
    growing = folder.with_name(folder.name + ".growing")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(parents=True)
    make(growing)
    growing.rename(folder)
    return folder
