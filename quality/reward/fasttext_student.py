"""A student by fastText: one classifier a score and one of categories (Joulin et al. 2016).

Trained by the ``fasttext`` package with one thread, so that the same labels give the same model;
of a text only the beginning is read, as by the linear student, lower-cased, in one line. A score is
the expected value over the probabilities of 0 to 5. Its last bits depend on the processor.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
from blake3 import blake3
from numpy.typing import NDArray

from kernels.text.gram_sums import PREFIX_BYTES
from quality.reward.labels import SCORES, Label
from quality.reward.student.model import GRID_BITS, StudentError
from quality.signals import schema

FORMAT = 1
SETTINGS: Mapping[str, Any] = {"lr": 0.25, "epoch": 50, "wordNgrams": 1, "dim": 32}
"""Of ``fasttext.train_supervised``: of ten choices of rate, epochs, dimensions, word and character
n-grams the best on a quarter of the training labels."""

_PREFIX = "__label__"


@dataclass(frozen=True)
class FastTextStudent:
    """Classifiers by ``SCORES`` and ``category``; ``version``: of their files."""

    classifiers: Mapping[str, Any]
    version: str

    def score(self, texts: pa.Array | pa.ChunkedArray) -> pa.Table:
        """Scores of n texts, a table of the signals of ``reward``."""
        lines = [line_of(text) for text in texts.to_pylist()]
        columns: list[pa.Array] = []
        for name in SCORES:
            values = (
                expected(*self.classifiers[name].predict(lines, k=-1)) if lines else np.empty(0)
            )
            grid = np.rint(values * (1 << GRID_BITS)) / (1 << GRID_BITS)
            columns.append(pa.array(grid.astype(np.float32)))
        found = self.classifiers["category"].predict(lines)[0] if lines else []
        columns.append(pa.array([best[0].removeprefix(_PREFIX) for best in found], pa.string()))
        return pa.table(columns, schema=schema("reward"))


def fit_fasttext(labels: Sequence[Label], texts: Sequence[str], folder: Path) -> FastTextStudent:
    """Train the classifiers and write them to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line_of(text) for text in texts]
    with tempfile.TemporaryDirectory() as scratch:
        first, rows = Path(scratch) / "first.vec", Path(scratch) / "rows.txt"
        _write_first_vectors(first, lines)
        for name in (*SCORES, "category"):
            said = zip(labels, lines, strict=True)
            rows.write_text(
                "".join(f"{_PREFIX}{getattr(label, name)} {line}\n" for label, line in said),
                "utf-8",
            )
            made = fasttext.train_supervised(
                str(rows), pretrainedVectors=str(first), thread=1, seed=1, verbose=0, **SETTINGS
            )
            made.save_model(str(folder / f"{name}.bin"))
    (folder / "student.json").write_text(
        json.dumps({"format": FORMAT, "kind": "fasttext", "settings": dict(SETTINGS)}), "utf-8"
    )
    return load_fasttext(folder)


def _write_first_vectors(path: Path, lines: Sequence[str]) -> None:
    """First vectors of all words, uniform in ±1/dim as fastText's own.

    fastText 0.9.3 draws vectors for a tenth of its words a thread (``DenseMatrix::uniform`` cuts
    the matrix into ten blocks whatever the threads). With one, which alone trains the same model
    each time, nine tenths would be whatever the memory held: zeros, or numbers that end in
    "Encountered NaN". Words with vectors of their own keep those.
    """
    words = sorted({word for line in lines for word in line.split(" ")} | {"</s>"} - {""})
    size = SETTINGS["dim"]
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{len(words)} {size}\n")
        random = np.random.default_rng(1)
        for start in range(0, len(words), 10_000):
            some = words[start : start + 10_000]
            vectors = random.uniform(-1 / size, 1 / size, (len(some), size)).round(5).tolist()
            for word, vector in zip(some, vectors, strict=True):
                file.write(f"{word} {' '.join(map(str, vector))}\n")


def load_fasttext(folder: Path) -> FastTextStudent:
    """Open a folder that ``fit_fasttext`` wrote.

    Raises
    ------
    StudentError
        If it is none, or of another format.
    """
    try:
        header = json.loads((folder / "student.json").read_text("utf-8"))
        if (header.get("kind"), header.get("format")) != ("fasttext", FORMAT):
            raise StudentError(
                f"{folder}: found a student of kind {header.get('kind')!r}, format "
                f"{header.get('format')!r}, expected fasttext, {FORMAT}; distil it again"
            )
        digest = blake3()
        classifiers = {}
        for name in (*SCORES, "category"):
            path = folder / f"{name}.bin"
            digest.update(path.read_bytes())
            classifiers[name] = fasttext.load_model(str(path))
    except (OSError, json.JSONDecodeError) as error:
        raise StudentError(
            f"{folder}: found no fastText student ({error}), expected a folder of "
            "`python -m quality distill --kind fasttext`"
        ) from error
    return FastTextStudent(classifiers, digest.hexdigest(length=16))


def line_of(text: str) -> str:
    """What fastText reads of a text: one line of the beginning, in lower case.

    A word of the text that fastText would take for a label, or for the end of the line, is none.
    """
    beginning = text.encode()[:PREFIX_BYTES].decode(errors="ignore").lower()
    words = (word for word in beginning.replace("\0", " ").split() if word != "</s>")
    return " ".join(word.lstrip("_") if word.startswith(_PREFIX) else word for word in words)


def expected(labels: Sequence[Sequence[str]], shares: Sequence[Any]) -> NDArray[np.float64]:
    """The expected score of each text: labels of all classes and their probabilities."""
    values = [
        sum(
            int(label.removeprefix(_PREFIX)) * float(share)
            for label, share in zip(*row, strict=True)
        )
        / max(float(np.sum(row[1])), 1e-9)
        for row in zip(labels, shares, strict=True)
    ]
    return np.array(values, np.float64)
