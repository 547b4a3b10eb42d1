"""Documents for pictures of text: a file of JSON lines with ``id`` and ``text``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from vl_data.synthesis.errors import SynthesisError


def read_documents(path: Path) -> Iterator[tuple[str, str]]:
    """The (id, text) of each line; a line without ``id`` is known by its text.

    Raises
    ------
    SynthesisError
        Naming file and line, if one is no JSON object with a text.
    """
    try:
        lines = path.open("rb")
    except OSError as error:
        raise SynthesisError(
            f"{path}: {error.strerror}; expected a file of JSON lines with `id` and `text`"
        ) from error
    with lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise SynthesisError(
                    f"{path}, line {number}: {error}; expected a JSON object with `id` and `text`"
                ) from error
            text = row.get("text") if isinstance(row, dict) else None
            if not isinstance(text, str):
                raise SynthesisError(
                    f"{path}, line {number}, field `text`: found {type(text).__name__}, expected "
                    "a string; give each line an object with `id` and `text`"
                )
            yield str(row.get("id", text)), text
