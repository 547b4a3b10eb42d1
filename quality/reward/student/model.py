"""The linear student's numbers, and the file that holds them.

The score of a document, of each output (the three scores, then the categories), is a sum of whole
numbers in units of 2^-16 point:

    intercept + Σ words + Σ 4-grams + Σ over signals of the number of the bin that a value lies in

Words and 4-grams are weighted sums of ``kernels.text.gram_sums``, brought to points by one
multiplier an output. A signal's bins are cut at edges; a value equal to an edge lies above it.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from quality.reward.labels import CATEGORIES, SCORES
from quality.signals import schema

FORMAT = 1
POINT_BITS = 16
"""Sums are in units of 2^-16 point."""
SCALE_BITS = 32
"""A gram sum times its multiplier, over 2^32, is in those units."""
GRID_BITS = 6
"""Scores are multiples of 1/64."""
OUTPUTS = (*SCORES, *CATEGORIES)
LARGEST_BYTES = 5_000_000


class StudentError(ValueError):
    """A file is no student of this version; says what was found and what was expected."""


@dataclass(frozen=True)
class StudentModel:
    """The arrays of a student.

    word_weights : int8[2^b, outputs]; gram_weights : int8[2^c, scores], for the scores alone
    word_scales : int64[outputs]; gram_scales : int64[scores]
    signals : names of scan signals, each with its part of ``edges`` float64[all edges], from
        ``edge_places`` int64[signals + 1] on, ascending
    bins : int32[all edges + signals, outputs], the numbers of a signal's bins, one more than edges
    intercepts : int64[outputs]
    about : where it comes from: rubric, labels, how it was fitted; reaches no score
    """

    word_weights: NDArray[np.int8]
    word_scales: NDArray[np.int64]
    gram_weights: NDArray[np.int8]
    gram_scales: NDArray[np.int64]
    signals: tuple[str, ...]
    edges: NDArray[np.float64]
    edge_places: NDArray[np.int64]
    bins: NDArray[np.int32]
    intercepts: NDArray[np.int64]
    about: dict[str, object]


_ARRAYS = tuple(
    field.name for field in fields(StudentModel) if field.name not in ("signals", "about")
)


def write_model(model: StudentModel) -> bytes:
    """The file of a model: a zip of ``.npy`` arrays and ``student.json``, the same for the same."""
    buffer = io.BytesIO()
    header = {
        "format": FORMAT,
        "outputs": OUTPUTS,
        "signals": model.signals,
        "about": model.about,
    }
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        text = json.dumps(header, indent=1, sort_keys=True, ensure_ascii=False)
        file.writestr(fixed_entry("student.json"), text)
        for name in _ARRAYS:
            array = io.BytesIO()
            np.lib.format.write_array(array, getattr(model, name), version=(1, 0))
            file.writestr(fixed_entry(f"{name}.npy"), array.getvalue())
    return buffer.getvalue()


def fixed_entry(name: str) -> zipfile.ZipInfo:
    """A member of a zip with a date that is always the same: no clock reaches the file."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def read_model(path: Path) -> tuple[StudentModel, str]:
    """A model and its version: the BLAKE3 of the file, 32 hex digits.

    Raises
    ------
    StudentError
        If there is none, it is damaged, or of another format, rubric or set of signals.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StudentError(f"{path}: found no readable file ({error.strerror})") from error
    return parse_model(data, str(path))


def parse_model(data: bytes, path: str) -> tuple[StudentModel, str]:
    """``read_model`` of a file's bytes; ``path`` is what errors call it."""
    again = "distil it again: `python -m quality distill`"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            header = json.loads(file.read("student.json"))
            if header.get("format") != FORMAT:
                raise StudentError(
                    f"{path}: found a student of format {header.get('format')!r}, expected "
                    f"{FORMAT}; {again}"
                )
            arrays = {
                name: np.lib.format.read_array(
                    io.BytesIO(file.read(f"{name}.npy")), allow_pickle=False
                )
                for name in _ARRAYS
            }
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        if isinstance(error, StudentError):
            raise
        raise StudentError(
            f"{path}: found no student, or a damaged one ({error}), expected a file of "
            "`python -m quality distill`"
        ) from error
    if tuple(header["outputs"]) != OUTPUTS:
        raise StudentError(
            f"{path}: found other scores and categories than this version's; {again}"
        )
    unknown = set(header["signals"]) - set(schema("scan").names)
    if unknown:
        raise StudentError(
            f"{path}: found signals that this version does not measure: "
            f"{', '.join(sorted(unknown))}; {again}"
        )
    model = StudentModel(**arrays, signals=tuple(header["signals"]), about=header["about"])
    _check(model, path)
    return model, blake3(data).hexdigest(length=16)


def _check(model: StudentModel, path: str) -> None:
    """Refuse arrays that do not fit each other, or could leave an integer."""
    outputs, scores = len(OUTPUTS), len(SCORES)
    edges, signals = len(model.edges), len(model.signals)
    wanted = {
        "word_weights": ("int8", (len(model.word_weights), outputs)),
        "gram_weights": ("int8", (len(model.gram_weights), scores)),
        "word_scales": ("int64", (outputs,)),
        "gram_scales": ("int64", (scores,)),
        "edges": ("float64", (edges,)),
        "edge_places": ("int64", (signals + 1,)),
        "bins": ("int32", (edges + signals, outputs)),
        "intercepts": ("int64", (outputs,)),
    }
    for name, (kind, shape) in wanted.items():
        array = getattr(model, name)
        if array.dtype.name != kind or array.shape != shape:
            raise StudentError(
                f"{path}: {name}: found {array.dtype}{list(array.shape)}, "
                f"expected {kind}{list(shape)}"
            )
    for name in ("word_scales", "gram_scales"):
        if (np.abs(getattr(model, name)) >= 1 << 28).any():
            raise StudentError(f"{path}: {name}: found a multiplier of 2^28 or more")
    if (np.abs(model.intercepts) >= 1 << 40).any():
        raise StudentError(f"{path}: intercepts: found one of 2^40 or more")
    places = model.edge_places
    if places[0] != 0 or places[-1] != edges or (np.diff(places) < 0).any():
        raise StudentError(f"{path}: edge_places: found places that are not those of the edges")
