"""The small model of these tests as a folder: made in a moment, without a training run."""

from __future__ import annotations

from pathlib import Path

from dataflow.tokenizer import Tokenizer
from tests.trainer.evaluation.models import VOCABULARY
from trainer.convert.config import write_config
from trainer.convert.writer import ShardWriter
from trainer.generation.decoder import Decoder


def export_decoder(
    decoder: Decoder, tokenizer: Tokenizer, folder: Path, positions: int = 256
) -> Path:
    """Write the weights, ``config.json`` and ``tokenizer/``, in the released layout."""
    shapes = {key: tuple(one.shape) for key, one in decoder.weights.items()}
    config = write_config(
        decoder.recipe,
        "released",
        vocab_size=VOCABULARY,
        rope_base=decoder.rope_base,
        positions=positions,
        dtype="float32",
        bos_token_id=None,
        eos_token_id=tokenizer.eod,
    )
    with ShardWriter(folder, shapes, decoder.dtype, max_shard_bytes=1 << 30, config=config) as out:
        for key, tensor in decoder.weights.items():
            out.write(key, tensor)
    tokenizer.save(folder / "tokenizer")
    return folder
