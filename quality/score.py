"""All signals of some texts at once: what a build does in its steps, for a notebook or a shell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from kernels.text import scan
from quality.language import identify
from quality.signals import schema


def score(texts: Sequence[str] | pa.Array) -> pa.Table:
    """Every signal that the scan and the language model measure.

    Parameters
    ----------
    texts: n texts.

    Returns
    -------
    A table of n rows with the columns of ``schema("scan")``, then of ``schema("language")``.
    """
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())
    array = pa.concat_arrays([array.cast(pa.large_string())])  # a fresh array begins at offset 0
    _, starts, data = array.buffers()
    offsets = np.frombuffer(starts, np.int64)[: len(array) + 1]
    text = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    found = scan(text, offsets, None).signals
    labels, scores = identify(array)
    declared = [*schema("scan"), *schema("language")]
    columns = {**found, "lang.label": labels, "lang.score": scores}
    return pa.table(
        [pa.array(columns[field.name], field.type) for field in declared], pa.schema(declared)
    )
