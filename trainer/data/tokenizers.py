"""The tokenizer of a corpus, out of the run that holds it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dataflow.run import Run
from dataflow.tokenizer import Tokenizer
from dataflow.tokenizer.tokenizer import ARTEFACT_FILE, TOKENIZER_FILE
from trainer.data.errors import DataError


def tokenizer_of(run: Run) -> Tokenizer:
    """The tokenizer that made a run's token shards.

    Raises
    ------
    DataError
        If the run does not hold it.
    TokenizerError
        If it was changed.
    """
    outputs = run.tokenizer.outputs
    with tempfile.TemporaryDirectory() as folder:
        for role, name in (("tokenizer", TOKENIZER_FILE), ("card", ARTEFACT_FILE)):
            if role not in outputs or run.store.size(outputs[role].path) is None:
                raise DataError(
                    f"{run.store.uri}: found no {name} of its tokenizer "
                    f"{run.tokenizer.stats['hash']}, expected it under tokenizer/; copy the run "
                    "again, or name the tokenizer's folder"
                )
            Path(folder, name).write_bytes(run.store.read(outputs[role].path))
        tokenizer = Tokenizer.load(folder)
    tokenizer.require(run.tokenizer.stats["hash"], run.store.uri, run.store.uri)
    return tokenizer
