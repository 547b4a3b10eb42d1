"""``energon``: what megatron-energon asks for beside a shard set, so that it loads it as it is.

``NAME.tar.idx`` beside each tar, and ``.nv-meta/``. Nothing of Leyden reads them.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from dataflow.shards.energon import energon_files, find_samples
from dataflow.tasks import Step, StepContext


def run(context: StepContext) -> dict[str, Any]:
    """Write the files of one set (``content`` or ``tokens``)."""
    shards = []
    folder = None
    splits = context.params["splits"]
    for record, split in zip(context.inputs("shards"), splits, strict=True):
        path = record.outputs["shard"].path
        folder = PurePosixPath(path).parent
        with context.store.stream(path) as stream:
            shards.append(find_samples(stream, record.name, split))
    if folder is None:
        return {"samples": 0}
    for name, data in energon_files(shards).items():
        with context.create(name, str(folder / name), kind="energon") as sink:
            sink.write(data)
    return {"samples": sum(len(shard.offsets) - 1 for shard in shards)}


STEP = Step("energon", run)
