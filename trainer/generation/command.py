"""``trainer generate``: prompts continued by a trained model."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import torch

    from dataflow.tokenizer import Tokenizer
    from trainer.generation.asking import Asking
    from trainer.generation.decoder import Decoder
    from trainer.generation.prompts import Prompt
    from trainer.generation.sampling import Sampling


def add_commands(add: Callable[[str, Callable[[argparse.Namespace], int], str], Any]) -> None:
    """Add it to the room's parser; ``add(name, run, text)`` makes a command's."""
    sub = add("generate", run_generate, "continue prompts with a trained or exported model")
    sub.add_argument("folder", type=Path, metavar="DIR", help="a run's folder, or an exported one")
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("--prompt", nargs="+", action="extend", metavar="TEXT")
    which.add_argument(
        "--prompts", type=Path, metavar="FILE",
        help="a prompt a line, or JSONL with `prompt` and, where it shows some, `images`",
    )  # fmt: skip
    sub.add_argument(
        "--image", type=Path, nargs="+", action="extend", default=[], metavar="FILE",
        help="what the prompt shows, where <image> stands in it, else before it",
    )  # fmt: skip
    sub.add_argument(
        "--chat", action=argparse.BooleanOptionalAction,
        help="ask in the chat template and end with the answer (default: with images)",
    )  # fmt: skip
    sub.add_argument(
        "--tiling", help="of images (default: that of the run's stage, or the model's)"
    )
    sub.add_argument("--most", type=_count, default=128, metavar="N", help="new tokens of a text")
    sub.add_argument(
        "--temperature", type=_temperature, default=1.0, help="0: always the most probable token"
    )
    sub.add_argument(
        "--top-p", type=_share, default=1.0, metavar="P",
        help="draw from the fewest most probable tokens that hold this share",
    )  # fmt: skip
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--batch", type=_count, default=64, metavar="N", help="texts at once, at most")
    sub.add_argument("--step", type=int, help="of the checkpoint (default: the last)")
    sub.add_argument(
        "--device", type=known_device, help="such as cpu (default: a GPU where there is one)"
    )
    sub.add_argument("--precision", choices=("fp32", "bf16"), help="default: as stored")
    sub.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="its folder, where the model's has none"
    )


@dataclass
class Timing:
    """Tokens and seconds of reading prompts (with the first new token) and of the rest."""

    prefill_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_tokens: int = 0
    decode_seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For machines; rates are null where nothing was done."""
        return {
            name: {
                "tokens": tokens,
                "seconds": seconds,
                "tokens_per_second": tokens / seconds if tokens else None,
            }
            for name, tokens, seconds in self._parts()
        }

    def sentence(self) -> str:
        """For people."""
        return "; ".join(
            f"{name}: {tokens:,} tokens in {seconds:.2f} s"
            + (f", {tokens / seconds:,.0f} tokens/s" if tokens else "")
            for name, tokens, seconds in self._parts()
        )

    def _parts(self) -> tuple[tuple[str, int, float], ...]:
        return (
            ("prefill", self.prefill_tokens, self.prefill_seconds),
            ("decode", self.decode_tokens, self.decode_seconds),
        )


@dataclass
class _Text:
    """What was made of a prompt."""

    prompt: str
    tokens: list[int] = field(default_factory=list)
    images: tuple[str, ...] = ()
    text: str = ""
    ended: bool = False


def run_generate(options: argparse.Namespace) -> int:
    """Write the texts to standard output, and the rates to standard error or into the JSON.

    Raises GenerationError, ConversionError, CheckpointBroken and TokenizerError.
    """
    import torch

    from trainer.convert.saved_run import DTYPES
    from trainer.generation.asking import Asking
    from trainer.generation.errors import GenerationError
    from trainer.generation.loading import open_decoder
    from trainer.generation.sampling import Sampling

    prompts = _prompts(options)
    decoder, tokenizer, about = open_decoder(
        options.folder,
        step=options.step,
        device=options.device,
        dtype=None if options.precision is None else DTYPES[options.precision],
        tokenizer=options.tokenizer,
        tiling=options.tiling,
    )
    if tokenizer is None:
        raise GenerationError(
            f"{options.folder}: found no tokenizer/, expected the model's tokenizer; name its "
            "folder by --tokenizer"
        )
    asking = Asking.of(decoder, tokenizer, prompts, chat=options.chat)
    sampling = Sampling(options.temperature, options.top_p, options.seed)
    texts = [_Text(prompt.text, images=tuple(map(str, prompt.images))) for prompt in prompts]
    timing = Timing()
    # What is loaded and compiled at first use is not the model's speed.
    memory, logits = decoder.prefill([torch.tensor([tokenizer.eod])])
    decoder.step(memory, logits.argmax(-1))
    stream = len(prompts) == 1 and not options.json and sys.stdout.isatty()
    if stream:
        _write(asking.shown_before(0))
    for row, piece in _continued(
        decoder, tokenizer, asking, texts, timing,
        sampling=sampling, most=options.most, batch=options.batch,
        ends=frozenset(about.ends) | asking.ends,
    ):  # fmt: skip
        texts[row].text += piece
        if stream:
            _write(piece)
    if options.json:
        _write_json(texts, timing, about.as_json())
        return 0
    for number, one in enumerate(texts, 1):
        if len(texts) > 1:
            _write(f"{'' if number == 1 else chr(10)}== {number}\n")
        _write("\n" if stream else f"{asking.shown_before(number - 1)}{one.text}\n")
    sys.stderr.write(timing.sentence() + "\n")
    return 0


def _prompts(options: argparse.Namespace) -> list[Prompt]:
    """Those of the command line or of its file."""
    from trainer.generation.errors import GenerationError
    from trainer.generation.prompts import Prompt, read_prompts

    images = tuple(options.image)
    if images and (options.prompts is not None or len(options.prompt) > 1):
        count = "a file of prompts" if options.prompt is None else f"{len(options.prompt)} prompts"
        raise GenerationError(
            f"--image: found {count}, expected one --prompt; name the images of several prompts "
            "in a JSONL file, as `images` of each line"
        )
    if options.prompts is not None:
        return read_prompts(options.prompts)
    return [Prompt(text, images) for text in options.prompt]


def _continued(
    decoder: Decoder,
    tokenizer: Tokenizer,
    asking: Asking,
    texts: Sequence[_Text],
    timing: Timing,
    *,
    sampling: Sampling,
    most: int,
    batch: int,
    ends: frozenset[int],
) -> Iterator[tuple[int, str]]:
    """Whole characters of each prompt's text as they come; tokens and times are noted."""
    from trainer.generation.sampling import continue_prompts
    from trainer.generation.text import TextStream

    for first in range(0, len(asking.ids), batch):
        rows = asking.ids[first : first + batch]
        streams = [TextStream(tokenizer) for _ in rows]
        since = time.perf_counter()
        found = continue_prompts(
            decoder, rows, most=most, stop=ends, sampling=sampling, first_row=first,
            images=asking.images(range(first, first + len(rows))),
        )  # fmt: skip
        for position, drawn in enumerate(found):
            # Tokens are on the CPU here: whatever made them is done.
            seconds = time.perf_counter() - since
            if position:
                timing.decode_tokens += len(drawn)
                timing.decode_seconds += seconds
            else:
                timing.prefill_tokens += sum(len(row) for row in rows)
                timing.prefill_seconds += seconds
            for row, token in drawn:
                one = texts[first + row]
                one.tokens.append(token)
                one.ended = token in ends
                if not one.ended:
                    yield first + row, streams[row].push(token)
            since = time.perf_counter()
        for row, stream in enumerate(streams):
            yield first + row, stream.end()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _write_json(texts: Sequence[_Text], timing: Timing, about: dict[str, Any]) -> None:
    made = [
        {
            "prompt": one.prompt,
            "images": one.images,
            "text": one.text,
            "tokens": one.tokens,
            "ended": one.ended,
        }
        for one in texts
    ]
    _write(
        orjson.dumps({"ok": True, "model": about, "texts": made, **timing.as_json()}).decode()
        + "\n"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1")
    return int(text)


def known_device(text: str) -> torch.device:
    """A device that this machine has; raises argparse.ArgumentTypeError."""
    import torch

    try:
        device = torch.device(text)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the second: torch was built without CUDA
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a device: {error}") from None
    return device


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number") from None


def _temperature(text: str) -> float:
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 0 or more")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected above 0 and up to 1")
    return value
