"""Items out of JSON lines.

To caption: ``image`` and, where the source has one, ``caption``. To tag: ``instruction``,
``answer`` and, where it speaks of images, ``image`` (one or a list). An image is a path, relative
to the file's folder, or a base64 data URI. ``id`` is optional and names the item to people.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

from vl_data.labels.errors import LabelError
from vl_data.labels.items import Captionable, Pair, Picture

_KNOWN_CAPTION = {"id", "image", "caption"}
_KNOWN_PAIR = {"id", "image", "instruction", "answer"}


def read_captionables(path: Path) -> list[Captionable]:
    """Images to caption; raises LabelError by the line that is wrong."""
    found = []
    for where, row, name in _rows(path, _KNOWN_CAPTION):
        caption = row.get("caption")
        if caption is not None and not isinstance(caption, str):
            raise LabelError(f"{where}: caption: found {caption!r}, expected text or null")
        picture = _picture(where, path.parent, row.get("image"))
        found.append(Captionable(name, picture, caption))
    return found


def read_pairs(path: Path) -> list[Pair]:
    """Instruction pairs to tag; raises LabelError by the line that is wrong."""
    found = []
    for where, row, name in _rows(path, _KNOWN_PAIR):
        for field in ("instruction", "answer"):
            if not isinstance(row.get(field), str) or not row[field].strip():
                raise LabelError(f"{where}: {field}: found {row.get(field)!r}, expected text")
        images = row.get("image")
        listed = images if isinstance(images, list) else [] if images is None else [images]
        pictures = tuple(_picture(where, path.parent, image) for image in listed)
        found.append(Pair(name, row["instruction"], row["answer"], pictures))
    return found


def _rows(path: Path, known: set[str]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Place, row and id of each line that holds something; the same id twice must mean the same."""
    seen: dict[str, tuple[int, bytes]] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise LabelError(f"{where}: found {error}, expected a JSON object") from error
            if not isinstance(row, dict):
                raise LabelError(f"{where}: found {type(row).__name__}, expected a JSON object")
            if unknown := sorted(row.keys() - known):
                raise LabelError(
                    f"{where}: found field {unknown[0]}, expected {', '.join(sorted(known))}"
                )
            name = row.get("id", f"line {number}")
            if not isinstance(name, str):
                raise LabelError(f"{where}: id: found {name!r}, expected text")
            said = orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
            first, before = seen.setdefault(name, (number, said))
            if before != said:
                raise LabelError(
                    f"{where}: id: found {name!r}, which line {first} gives to another item;"
                    " expected a different id, or none"
                )
            yield where, row, name


def _picture(where: str, folder: Path, image: Any) -> Picture:
    if not isinstance(image, str) or not image:
        raise LabelError(f"{where}: image: found {image!r}, expected a path or a data URI")
    if image.startswith("data:"):
        head, comma, body = image.partition(",")
        try:
            if not comma or not head.endswith(";base64"):
                raise binascii.Error("no base64")
            data = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise LabelError(
                f"{where}: image: found {image[:40]!r}…, expected data:TYPE;base64,DATA"
            ) from error
        return Picture(blake3(data).digest(), lambda: data)
    path = folder / image
    try:
        digest = blake3(path.read_bytes()).digest()
    except OSError as error:
        raise LabelError(
            f"{where}: image: found {image} ({error.strerror}), expected a file that can be read,"
            " relative to the folder of the list"
        ) from error
    return Picture(digest, path.read_bytes)
