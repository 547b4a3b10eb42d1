"""``python -m trainer image-reward``: do captions agree with their images, by a model that sees?

It writes the file of scores that a recipe names under ``image_reward.scores``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from trainer.evaluation.errors import EvaluationError
from trainer.generation.command import known_device

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflow.tokenizer import Tokenizer
    from trainer.data.pictures import Picture
    from trainer.generation.decoder import Decoder
    from trainer.generation.loading import About

_DONE = 0


@dataclass(frozen=True)
class Found:
    """Of pairs: all, with a gain, without (too long, or no other image), scored now; and the mean
    gains in nats a byte, None without any."""

    pairs: int
    scored: int
    unscored: int
    now: int
    gain: float | None
    gain_unseen: float | None


def add_command(add: Callable[[str, Callable[[argparse.Namespace], int], str], Any]) -> None:
    """Add it to the room's parser; ``add(name, run, text)`` makes a command's."""
    sub = add("image-reward", run_image_reward, "score how captions agree with their images")
    sub.add_argument("folder", type=Path, metavar="DIR", help="a run's folder, or an exported one")
    sub.add_argument(
        "--corpus", required=True, metavar="RUN", help="the run whose images and captions they are"
    )
    sub.add_argument(
        "--out", type=Path, required=True, metavar="FILE",
        help="for the scores (Parquet); the same command again goes on",
    )  # fmt: skip
    sub.add_argument(
        "--ask", metavar="TEXT",
        help="have captions answer this, in the chat template (default: as documents of pairs)",
    )  # fmt: skip
    sub.add_argument(
        "--others", type=_count, default=4, metavar="N",
        help="other images that a caption is read with; more tell better, and take longer (4)",
    )  # fmt: skip
    sub.add_argument(
        "--longest", type=_count, metavar="TOKENS",
        help="of a caption with its image (default: what the model was trained for)",
    )  # fmt: skip
    sub.add_argument(
        "--batch-tokens", type=_count, default=1 << 14, metavar="N", help="read at once (16384)"
    )
    sub.add_argument("--step", type=int, help="of the checkpoint (default: the last)")
    sub.add_argument(
        "--device", type=known_device, help="such as cpu (default: a GPU where there is one)"
    )
    sub.add_argument("--precision", choices=("fp32", "bf16"), help="default: as stored")
    sub.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="its folder, where the model's has none"
    )
    sub.add_argument("--tiling", metavar="NAME", help="default: that of the model's training")


def run_image_reward(options: argparse.Namespace) -> int:
    """Score the pairs of a run.

    Raises
    ------
    EvaluationError
        If the model sees nothing, its tokenizer is missing or another one, the run has no images,
        or ``--out`` is another scorer's or run's.
    RunError, GenerationError, ConversionError, CheckpointBroken, TokenizerError
        If the run or the model cannot be used.
    """
    from dataflow.run import Run
    from dataflow.store import Store
    from trainer.convert.saved_run import DTYPES
    from trainer.evaluation.bar import bar
    from trainer.evaluation.caption_gains import Prompts, caption_gains, tiled
    from trainer.evaluation.gain_parts import GainParts
    from trainer.evaluation.other_images import other_bytes, others_of_run
    from trainer.evaluation.pair_blocks import blocks_of
    from trainer.generation.loading import open_decoder

    run = Run.load(Store(options.corpus))
    if not any("images" in partition.read.outputs for partition in run.partitions):
        raise EvaluationError(f"--corpus {options.corpus}: found no images, expected some")
    decoder, tokenizer, about = open_decoder(
        options.folder,
        step=options.step,
        device=options.device,
        dtype=None if options.precision is None else DTYPES[options.precision],
        tokenizer=options.tokenizer,
        tiling=options.tiling,
    )
    tokenizer, tiling = _seeing(options.folder, decoder, tokenizer, about)
    longest = options.longest or about.positions
    scorer = _scorer(options, decoder, tokenizer, about, longest)
    parts = GainParts(options.out, scorer, run.header["logical_root"])
    prompts = Prompts(tokenizer, options.ask)
    others = others_of_run(run)
    names, now = [], 0
    total = sum(len(block.pairs) for block in blocks_of(run))
    pool: dict[bytes, Picture] = {}
    with bar("image-reward", not options.json) as progress:
        done = 0
        for block in blocks_of(run):
            names.append(block.name)
            if not parts.finished and not parts.has(block.name):
                pool = pool or tiled(other_bytes(run, others), tiling)
                gains = caption_gains(
                    decoder, prompts, block.pairs,
                    [others.of(pair.pixels, options.others) for pair in block.pairs],
                    pool | tiled(block.images(run), tiling),
                    longest=longest, batch_tokens=options.batch_tokens,
                )  # fmt: skip
                parts.add(block.name, block.pairs, gains)
                now += len(block.pairs)
            done += len(block.pairs)
            progress(done, total)
    rows = _rows(options.out) if parts.finished else parts.join(names)
    _tell(options, scorer, _found(rows, now))
    return _DONE


def _seeing(
    folder: Path, decoder: Decoder, tokenizer: Tokenizer | None, about: About
) -> tuple[Tokenizer, str]:
    """The model's tokenizer and tiling, where the two can be shown images together."""
    if decoder.vision is None:
        raise EvaluationError(
            f"{folder}: found model {about.model} without a vision tower, expected one that is "
            "shown images, such as tiny-vl"
        )
    if tokenizer is None or tokenizer.vocab_size > about.vocab_size:
        found = "no tokenizer/" if tokenizer is None else f"one of {tokenizer.vocab_size:,} tokens"
        raise EvaluationError(
            f"{folder}: found {found}, expected the model's tokenizer (at most "
            f"{about.vocab_size:,} tokens); name its folder by --tokenizer"
        )
    special = tokenizer.specials.get("image")
    if special is None or special != decoder.vision.image_token:
        wanted = decoder.vision.image_token
        raise EvaluationError(
            f"{folder}: found tokenizer {tokenizer.hash}, whose special of role 'image' is "
            f"{special}, expected {wanted} as the model has it; name the tokenizer that it was "
            "trained with by --tokenizer"
        )
    return tokenizer, decoder.vision.tiling


def _scorer(
    options: argparse.Namespace, decoder: Decoder, tokenizer: Tokenizer, about: About, longest: int
) -> str:
    """All that a gain hangs on, but for the run: a name of it that is compared."""
    from trainer.evaluation.other_images import POOL
    from trainer.generation.seeing_digest import seeing_digest

    told = {
        "model": about.model,
        "weights": seeing_digest(decoder),
        "tokenizer": tokenizer.hash,
        "tiling": about.tiling,
        "ask": options.ask,
        "others": options.others,
        "pool": POOL,
        "longest": longest,
    }
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()


def _rows(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path)


def _found(rows: pa.Table, now: int) -> Found:
    import pyarrow.compute as pc

    scored = rows.num_rows - rows["gain"].null_count
    return Found(
        rows.num_rows, scored, rows.num_rows - scored, now,
        pc.mean(rows["gain"]).as_py(), pc.mean(rows["gain_unseen"]).as_py(),
    )  # fmt: skip


def _tell(options: argparse.Namespace, scorer: str, found: Found) -> None:
    if options.json:
        told = {"ok": True, "scorer": orjson.loads(scorer), **asdict(found)}
        sys.stdout.write(orjson.dumps(told).decode() + "\n")
        return
    mean = "" if found.gain is None else f", mean gain {found.gain:+.4f} nats a byte"
    sys.stdout.write(
        f"{found.pairs:,} pairs: {found.scored:,} scored{mean}, {found.unscored:,} not (too long, "
        f"or no other image); {found.now:,} of them now; in {options.out}\n"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1")
    return int(text)
