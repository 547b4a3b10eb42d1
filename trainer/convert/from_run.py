"""A run's checkpoint as an exported folder with its tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from trainer.convert.config import Layout
from trainer.convert.errors import ConversionError
from trainer.convert.models import export_model
from trainer.convert.saved_run import SavedRun, loaded
from trainer.convert.tokenizers import TOKENIZER
from trainer.convert.weights import MAX_SHARD_BYTES


def export_run(
    run: SavedRun,
    out: Path,
    *,
    layout: Layout,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write a run's model, ``config.json`` and ``tokenizer/`` (where the run's is known).

    ``config.json`` has the length and the rotary base of the run's stage, and the end of document
    as the end of text.

    Args:
        run: which checkpoint.
        out: new or empty; it appears when it is complete.
        layout, dtype, max_shard_bytes: as :func:`trainer.convert.export_weights` takes them.

    Raises ConversionError when the layout cannot say the model, or ``out`` has files; OSError as
    the file system does.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConversionError(
            f"{out}: found files, expected a new folder; name another or remove this one"
        )
    # What a crash left of an export to the same place is made again.
    beside = out.absolute().parent / f".{out.absolute().name}.export"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with loaded(run) as model:
            export_model(
                model,
                run.recipe,
                beside,
                layout=layout,
                vocab_size=run.vocab_size,
                rope_base=run.stage.rope_base,
                positions=run.stage.length,
                dtype=dtype,
                max_shard_bytes=max_shard_bytes,
                eos_token_id=None if run.tokenizer is None else run.tokenizer.eod,
            )
        if run.tokenizer is not None:
            run.tokenizer.save(beside / TOKENIZER)
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
