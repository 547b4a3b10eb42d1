"""``trainer export`` and ``trainer import``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import orjson
import torch

from trainer.convert.config import Layout
from trainer.convert.errors import ConversionError
from trainer.convert.weights import MAX_SHARD_BYTES

DTYPES = ("float32", "bfloat16", "float16")


def add_commands(add: Callable[[str, Callable[[argparse.Namespace], int], str], Any]) -> None:
    """Add both to the room's parser; ``add(name, run, text)`` makes a command's."""
    sub = add("export", run_export, "write a run's model for transformers or as released")
    sub.add_argument("folder", type=Path, metavar="RUN", help="what `trainer run` wrote")
    sub.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    sub.add_argument(
        "--layout", required=True, choices=get_args(Layout),
        help="transformers: its `minimax`; released: MiniMax-Text-01's own, read by vLLM too",
    )  # fmt: skip
    sub.add_argument("--step", type=int, help="of the checkpoint (default: the last)")
    sub.add_argument("--dtype", choices=DTYPES, help="of all weights (default: the run's)")
    sub.add_argument("--max-shard-bytes", type=int, metavar="N", default=MAX_SHARD_BYTES)
    _tokenizer(sub)
    sub = add("import", run_import, "make a run's folder of an exported model, to train on from")
    sub.add_argument("folder", type=Path, metavar="DIR", help="config.json and safetensors")
    sub.add_argument("--out", required=True, type=Path, metavar="RUN", help="a new folder")
    sub.add_argument(
        "--model",
        help="the recipe to train on with: a name or a file (default: as config.json says)",
    )
    which = sub.add_mutually_exclusive_group()
    _tokenizer(which)
    which.add_argument("--corpus", metavar="RUN", help="take this corpus's tokenizer")


def _tokenizer(sub: Any) -> None:
    sub.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="its folder, where the model's has none"
    )


def run_export(options: argparse.Namespace) -> int:
    """Write a run's model; raises ConversionError, CheckpointBroken and TokenizerError."""
    from trainer.convert.from_run import export_run
    from trainer.convert.saved_run import open_run

    run = open_run(options.folder, step=options.step, tokenizer=options.tokenizer)
    dtype = run.dtype if options.dtype is None else getattr(torch, options.dtype)
    export_run(
        run, options.out,
        layout=options.layout, dtype=dtype, max_shard_bytes=options.max_shard_bytes,
    )  # fmt: skip
    told = {
        "out": str(options.out),
        "step": run.step,
        "layout": options.layout,
        "dtype": str(dtype).removeprefix("torch."),
        "tokenizer": None if run.tokenizer is None else run.tokenizer.hash,
    }
    _tell(options, told, f"{run.recipe.name} of step {run.step} is in {options.out}")
    return 0


def run_import(options: argparse.Namespace) -> int:
    """Make a run's folder; raises ConversionError, SaveFailed, TokenizerError, RecipeError and,
    for a corpus, RunError and DataError."""
    from trainer.convert.exported import open_exported
    from trainer.convert.to_run import import_run
    from trainer.stages.loading import load_model

    given = options.tokenizer
    exported = open_exported(options.folder, tokenizer=given)
    tokenizer = exported.tokenizer
    if options.corpus is not None:
        from trainer.data.corpus import Corpus
        from trainer.data.tokenizers import tokenizer_of

        corpus = Corpus.open(options.corpus)
        tokenizer = tokenizer_of(corpus.run)
        corpus.close()
    if tokenizer is None:
        raise ConversionError(
            f"{options.folder}: found no tokenizer/, expected the model's tokenizer; name its "
            "folder by --tokenizer, or a corpus that has it by --corpus"
        )
    model = None if options.model is None else load_model(options.model)
    import_run(exported, options.out, tokenizer=tokenizer, model=model)
    recipe = options.model or str(options.out / f"{exported.recipe.name}.yaml")
    told = {"out": str(options.out), "model": recipe, "tokenizer": tokenizer.hash}
    text = f"train on by: python -m trainer run --model {recipe} --start-from {options.out} …"
    _tell(options, told, text)
    return 0


def _tell(options: argparse.Namespace, found: dict[str, Any], text: str) -> None:
    line = orjson.dumps({"ok": True, **found}).decode() if options.json else text
    sys.stdout.write(line + "\n")
