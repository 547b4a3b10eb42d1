"""The items that a study's runs are measured by: made once, the same for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from mixtures.studies.asking import ask
from mixtures.studies.corpora import Corpus
from mixtures.studies.keys import file_key, run_key
from mixtures.studies.recipe import BenchmarkOf, HeldOutOf, ItemsOf
from mixtures.studies.store import write

GENERATED = "generated"


def make_items(
    asked: ItemsOf, held_out: HeldOutOf, corpora: Sequence[Corpus], folder: Path
) -> tuple[tuple[str, Path], ...]:
    """The files of items by name, without those that train documents of any arm's corpus hold.

    Generated items come from the first corpus, the study's own, and there from the sources that the
    study counts. A file is made again only where
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
        making += ["--corpus", corpora[0].uri]
        found.append(_made(GENERATED, making, None, corpora, folder))
    for one in asked.benchmarks:
        found.append(_of_benchmark(one, corpora, folder))
    return tuple(found)


def _of_benchmark(one: BenchmarkOf, corpora: Sequence[Corpus], folder: Path) -> tuple[str, Path]:
    making = ["read", one.path, "--format", one.format]
    if one.limit is not None:
        making += ["--limit", str(one.limit)]
    return _made(one.name or one.format, making, Path(one.path), corpora, folder)


def _made(
    name: str, making: list[str], source: Path | None, corpora: Sequence[Corpus], folder: Path
) -> tuple[str, Path]:
    path, about = folder / f"{name}.jsonl", folder / f"{name}.json"
    digest = None if source is None or not source.is_file() else file_key(source)
    texts = {corpus.root: corpus for corpus in corpora}
    key = run_key([making, list(texts), digest])
    if path.is_file() and about.is_file() and orjson.loads(about.read_bytes())["key"] == key:
        return name, path
    folder.mkdir(parents=True, exist_ok=True)
    drawn = folder / f"{name}.all.jsonl"
    made = ask("mixtures", ("items", *making, "--out", str(drawn)), f"items {name}")
    checked, total = [], _count(drawn)
    for corpus in texts.values():
        rest = folder / f"{name}.rest.jsonl"
        checked.append(
            ask(
                "mixtures",
                ("items", "check", str(drawn), "--corpus", corpus.uri, "--drop", str(rest)),
                f"items {name}: looking for them in the train documents of {corpus.uri}",
            )
        )
        rest.replace(drawn)
    drawn.replace(path)
    left_out = total - _count(path)
    write(about, {"key": key, "made": made, "checked": checked, "left_out": left_out})
    return name, path


def told_of_items(items: tuple[tuple[str, Path], ...]) -> dict[str, dict[str, int]]:
    """How many items each file has, and how many were left out because documents that an arm may
    train on hold them, for ``study.json``."""
    about = {name: orjson.loads(path.with_suffix(".json").read_bytes()) for name, path in items}
    return {
        "counts": {name: _count(path) for name, path in items},
        "left_out": {name: found["left_out"] for name, found in about.items()},
    }


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
