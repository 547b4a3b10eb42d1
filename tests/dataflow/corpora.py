"""Small inputs with known duplicates and known faults, for tests of the whole build."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

WORDS = (
    "river stone letter garden window winter copper engine market valley harbour candle bridge "
    "forest mirror planet silver thunder village whisper number station morning kitchen library "
    "ocean pencil ribbon saddle temple umbrella violin weather yellow anchor basket circle dragon "
    "elephant furnace glacier harvest island jacket kettle ladder meadow needle orchard pillow "
    "quarrel rabbit shadow tunnel velvet walnut blanket curtain diamond feather guitar hammer "
    "insect jungle kingdom lantern marble napkin orange parade quiver rocket spider thunder"
).split()


def sentence_text(generator: np.random.Generator, sentences: int) -> str:
    """English-looking sentences of random words."""
    lines = []
    for _ in range(sentences):
        words = [str(w) for w in generator.choice(WORDS, generator.integers(6, 15))]
        lines.append(" ".join(["The", *words, "and", "have", "that"]) + ".")
    return "\n".join(lines)


def write_corpus(folder: Path, documents: int = 120, seed: int = 0) -> None:
    """``a.jsonl`` and ``b.jsonl.gz`` of distinct texts, exact copies, near copies, and bad lines,
    and a folder ``notes`` of plain text files."""
    generator = np.random.default_rng(seed)
    texts = [sentence_text(generator, int(generator.integers(8, 30))) for _ in range(documents)]
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, text in enumerate(texts):
        lines.append(json.dumps({"text": text, "id": f"d{number}", "license": "CC0-1.0"}))
        if number % 10 == 0:
            lines.append(json.dumps({"text": text, "id": f"copy{number}"}))
        if number % 7 == 0:
            near = text + " One more sentence at the end."
            lines.append(json.dumps({"text": near, "id": f"near{number}"}))
        if number % 40 == 5:
            lines.append('{"text": 12}')
            lines.append("not json at all")
    half = len(lines) // 2
    (folder / "a.jsonl").write_text("\n".join(lines[:half]) + "\n")
    with gzip.open(folder / "b.jsonl.gz", "wt") as out:
        out.write("\n".join(lines[half:]) + "\n")
    notes = folder / "notes"
    notes.mkdir(exist_ok=True)
    for number in range(12):
        text = sentence_text(generator, 12)
        if number % 3 == 0:
            text = text.replace(".", ".\0\x07", 1)
        (notes / f"note{number:02d}.txt").write_text(text)
    (notes / "copy.txt").write_text(texts[3])
    (notes / "empty.txt").write_text("")


def write_recipe(
    folder: Path,
    *,
    partition_bytes: str = "16KiB",
    words: int = 20,
    held_out: float = 0.05,
    bad: float = 0.2,
    vocabulary: int = 512,
) -> Path:
    """A recipe over ``write_corpus``'s files in the same folder."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"""\
name: small
seed: 3
sources:
  - name: rows
    paths: [a.jsonl, b.jsonl.gz]
    fields: {{id: id, license: license}}
    rules: prose
    max_bad_fraction: {bad}
  - name: notes
    paths: [notes/]
    priority: 1
    rules: prose
    max_bad_fraction: {bad}
rules:
  prose:
    - {{signal: text.words, min: {words}}}
    - {{name: en, signal: lang.label, in: [en]}}
    - {{signal: gopher.dup_line_frac, max: 0.3}}
clean: [control]
split: {{held_out: {held_out}}}
tokenizer: {{train: {{vocab_size: {vocabulary}}}}}
pack: {{shard_bytes: 64KiB, sample_bytes: 8KiB}}
build: {{partition_bytes: {partition_bytes}}}
"""
    )
    return recipe
