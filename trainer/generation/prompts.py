"""Prompts: from the command line, a file of lines or a JSONL file, to tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch

from dataflow.tokenizer import Tokenizer
from trainer.generation.errors import GenerationError

FIELD, IMAGES = "prompt", "images"


@dataclass(frozen=True)
class Prompt:
    """A text to read on, and the files of what it shows."""

    text: str
    images: tuple[Path, ...] = ()


def read_prompts(path: Path) -> list[Prompt]:
    r"""The prompts of a file: of ``.jsonl`` each line's ``prompt``, else each line as it stands.

    A line of JSON may name ``images``, a list of files; relative names are beside this one. Lines
    end in ``\n`` or ``\r\n``; the last one need not.

    Raises GenerationError naming the line that is no prompt, or the file that cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise GenerationError(f"{path}: found {error}, expected a file of prompts") from error
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise GenerationError(f"{path}: found no line, expected a prompt on each")
    is_json = path.suffix == ".jsonl"
    return [
        _read_line(line.removesuffix(b"\r"), f"{path}, line {number}", path.parent, is_json=is_json)
        for number, line in enumerate(lines, 1)
    ]


def _read_line(line: bytes, where: str, folder: Path, *, is_json: bool) -> Prompt:
    images: Any = ()
    try:
        if is_json:
            row = orjson.loads(line)
            found, images = row[FIELD], row.get(IMAGES) or ()
        else:
            found = line.decode()
    except (ValueError, KeyError, TypeError) as error:
        expected = f"an object with a text under {FIELD!r}" if is_json else "UTF-8"
        raise GenerationError(f"{where}: found {error!r}, expected {expected}") from error
    if not isinstance(found, str):
        raise GenerationError(f"{where}, {FIELD}: found {found!r}, expected a text")
    if not isinstance(images, (list, tuple)) or not all(isinstance(n, str) and n for n in images):
        raise GenerationError(f"{where}, {IMAGES}: found {images!r}, expected a list of files")
    return Prompt(found, tuple(folder / name for name in images))


def encode_prompts(
    tokenizer: Tokenizer, prompts: Sequence[str], first: int = 1
) -> list[torch.Tensor]:
    """The ids of each prompt, int64 ``[T]``, as a training document begins: with no special before
    it. ``first``: the number of the first one.

    Raises GenerationError for a prompt that is empty. Training never predicts a document's first
    token: documents are segments of their own, each read from an empty state, and the label of the
    end of document before it is ignored. What a model would say there is not learned.
    """
    found = []
    for number, prompt in enumerate(prompts, first):
        try:
            ids = tokenizer.encode(prompt)
        except UnicodeEncodeError as error:
            raise GenerationError(f"prompt {number}: found {error}, expected UTF-8") from error
        if not len(ids):
            raise GenerationError(
                f"prompt {number}: found no text, expected some: training never predicts a "
                "document's first token; give its first word"
            )
        found.append(torch.from_numpy(ids.astype(np.int64)))
    return found
