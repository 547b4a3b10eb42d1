"""A student of any kind, by its file: linear, fastText or cascade."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from quality.reward.student import load_student


class AnyStudent(Protocol):
    """What scores texts: a table of the signals of ``reward``, row by row."""

    @property
    def version(self) -> str: ...
    def score(self, texts: pa.Array) -> pa.Table: ...


def open_student(path: Path | None, device: str = "cpu") -> tuple[str, AnyStudent]:
    """A student and its kind; None: the linear one that is shipped.

    ``device`` is that of a cascade's network; the others have nothing that runs on one.

    Raises
    ------
    StudentError
        If there is none, or of another version.
    """
    if path is not None and path.is_dir():
        from quality.reward.fasttext_student import load_fasttext

        return "fasttext", load_fasttext(path)
    if path is not None and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            cascade = "cascade.json" in file.namelist()
        if cascade:
            from quality.reward.cascade.scoring import load_cascade

            return "cascade", load_cascade(path).to(device)
    return "linear", load_student(path)
