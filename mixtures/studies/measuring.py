"""The items that a study's runs are measured by: made once, the same for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from mixtures.studies.asking import ask
from mixtures.studies.corpora import Corpus
from mixtures.studies.executing import write
from mixtures.studies.keys import file_key, run_key
from mixtures.studies.recipe import BenchmarkOf, HeldOutOf, ItemsOf

GENERATED = "generated"


def make_items(
    asked: ItemsOf, held_out: HeldOutOf, corpus: Corpus, folder: Path
) -> tuple[tuple[str, Path], ...]:
    """The files of items by name, without those that the corpus' train documents hold.

    Generated items come from the sources that the study counts. A file is made again only where
    what it was made of has changed; ``NAME.json`` beside it says what was checked and left out.

    Raises
    ------
    StudyError
        If items cannot be made: too little held-out text, a benchmark's file with a bad row.
    """
    found = []
    if asked.generated:
        making = ["generate", "--count", str(asked.generated), "--seed", str(asked.seed)]
        if sources := asked.sources or held_out.sources:
            making += ["--sources", ",".join(sources)]
        elif held_out.except_sources:
            making += ["--except-sources", ",".join(held_out.except_sources)]
        found.append(_made(GENERATED, [*making, "--corpus", corpus.uri], None, corpus, folder))
    for one in asked.benchmarks:
        found.append(_of_benchmark(one, corpus, folder))
    return tuple(found)


def _of_benchmark(one: BenchmarkOf, corpus: Corpus, folder: Path) -> tuple[str, Path]:
    making = ["read", one.path, "--format", one.format]
    if one.limit is not None:
        making += ["--limit", str(one.limit)]
    return _made(one.name or one.format, making, Path(one.path), corpus, folder)


def _made(
    name: str, making: list[str], source: Path | None, corpus: Corpus, folder: Path
) -> tuple[str, Path]:
    path, about = folder / f"{name}.jsonl", folder / f"{name}.json"
    digest = None if source is None or not source.is_file() else file_key(source)
    key = run_key([making, corpus.root, digest])
    if path.is_file() and about.is_file() and orjson.loads(about.read_bytes())["key"] == key:
        return name, path
    folder.mkdir(parents=True, exist_ok=True)
    drawn = folder / f"{name}.all.jsonl"
    made = ask("mixtures", ("items", *making, "--out", str(drawn)), f"items {name}")
    checked = ask(
        "mixtures",
        ("items", "check", str(drawn), "--corpus", corpus.uri, "--drop", str(path)),
        f"items {name}: looking for them in the train documents",
    )
    write(about, {"key": key, "made": made, "checked": checked})
    drawn.unlink()
    return name, path


def told_of_items(items: tuple[tuple[str, Path], ...]) -> dict[str, Any]:
    """How many items each file has, for ``study.json``."""
    return {name: sum(1 for _ in path.open("rb")) for name, path in items}
