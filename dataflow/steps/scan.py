"""``scan``: every signal of every rule, and the MinHash band keys, in one compiled pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.steps.columns import text_buffers
from dataflow.tasks import Step, StepContext
from kernels.text import minhash_params, scan
from quality.signals import SIGNALS

SCHEMA = pa.schema(
    [
        pa.field(signal.name, signal.type, nullable=False)
        for signal in SIGNALS.values()
        if signal.producer == "scan"
    ],
    metadata={"leyden.table": "signals/scan", "leyden.version": "1"},
)


def run(context: StepContext) -> dict[str, Any]:
    """Write ``signals/scan`` row-aligned with the documents, and the band keys for ``buckets``.

    Band keys are temporary: one flag byte a document (has a signature), padded to 8 bytes, then
    ``uint64[bands, n]``, so that one band is one contiguous read.
    """
    near = context.params["near"]
    params = minhash_params(**near) if near else None
    keys: list[np.ndarray] = []
    flags: list[np.ndarray] = []
    text_bytes = 0
    with context.create_table("signals", "signals/scan", SCHEMA, kind="signals") as sink:
        for table in context.read_groups(context.input("documents"), "documents", ["text"]):
            data, offsets = text_buffers(table["text"])
            result = scan(data, offsets, params)
            sink.write(pa.table([result.signals[n] for n in SCHEMA.names], names=SCHEMA.names))
            text_bytes += int(offsets[-1] - offsets[0])
            if params is not None:
                keys.append(result.band_keys)
                flags.append(result.has_signature)
        rows = sink.rows
    if params is not None:
        path = context.path("work/scan", "bands")
        with context.create("bands", path, kind="work", temporary=True) as out:
            flag = np.concatenate(flags).astype(np.uint8) if flags else np.zeros(0, np.uint8)
            out.write(np.pad(flag, (0, -rows % 8)))
            for band in range(params.bands):
                for part in keys:
                    out.write(np.ascontiguousarray(part[:, band], dtype="<u8"))
    return {"rows": rows, "text_bytes": text_bytes}


STEP = Step("scan", run)
