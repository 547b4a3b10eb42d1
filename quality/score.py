"""All signals of some texts at once: what a build does in its steps, for a notebook or a shell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from kernels.text import scan
from quality.language import identify
from quality.reward.student import Student, load_student
from quality.signals import schema


def score(texts: Sequence[str] | pa.Array, student: Student | None = None) -> pa.Table:
    """Every signal that the scan, the language model and the student measure.

    Parameters
    ----------
    texts: n texts.
    student: None: the shipped one.

    Returns
    -------
    A table of n rows with the columns of ``schema("scan")``, then of ``schema("language")`` and
    ``schema("reward")``.
    """
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())
    array = pa.concat_arrays([array.cast(pa.large_string())])  # a fresh array begins at offset 0
    _, starts, data = array.buffers()
    offsets = np.frombuffer(starts, np.int64)[: len(array) + 1]
    text = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    found = scan(text, offsets, None).signals
    labels, scores = identify(array)
    rewards = (student or load_student()).score(array, found)
    declared = [*schema("scan"), *schema("language"), *schema("reward")]
    columns = {**found, "lang.label": labels, "lang.score": scores}
    columns |= {name: rewards[name] for name in rewards.column_names}
    return pa.table(
        [_column(columns[field.name], field.type) for field in declared], pa.schema(declared)
    )


def _column(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return values if isinstance(values, pa.ChunkedArray) else pa.array(values, kind)
