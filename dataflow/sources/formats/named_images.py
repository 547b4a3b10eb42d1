"""The images that a row names or holds: bytes, a struct of bytes and path, or a relative path."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from dataflow.sources.formats.beside import Beside
from dataflow.sources.formats.pairs import Found
from dataflow.sources.refusal import Refusal
from dataflow.sources.spec import SourceSpec


def images_of(value: Any, beside: Beside, spec: SourceSpec) -> list[Found]:
    """The images that a column's value stands for, in order.

    Parameters
    ----------
    value: bytes; a mapping with ``bytes`` and ``path`` (as Hugging Face's datasets write them); a
        path relative to the file; a ``data:`` URI; or a list of these.

    Raises
    ------
    Refusal
        ``image-missing``, ``image-empty`` or ``image-too-large``, naming the image;
        ``record-too-large`` where all together have over ``max_record_bytes``.
    """
    limit = spec.limits.max_record_bytes
    found: list[Found] = []
    held = 0
    for number, part in enumerate(value if isinstance(value, (list, tuple)) else [value]):
        image = _one(part, number, beside, spec.images.max_bytes)
        held += len(image.data)
        if held > limit:
            raise Refusal("record-too-large", f"images of over {limit} bytes")
        found.append(image)
    return found


def _one(value: Any, number: int, beside: Beside, limit: int) -> Found:
    ref = f"image{number}"
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        if isinstance(path, str) and path:
            ref = path.rsplit("/", 1)[-1]  # the writer's machine may be in front
        if data is None and isinstance(path, str) and path:
            return _one(path, number, beside, limit)
        value = data
    if isinstance(value, bytes):
        if not value:
            raise Refusal("image-empty", f"{ref}: found 0 bytes")
        return Found(value, ref)
    if isinstance(value, str) and value.startswith("data:"):
        return Found(inline(value), ref)
    if isinstance(value, str) and value:
        if "://" in value:
            raise Refusal("image-missing", f"{value[:500]}: nothing is fetched from the web")
        name = beside.name_of(value.removeprefix("./"))
        return Found(beside.read(name, limit), name)
    kind = "nothing" if value is None else type(value).__name__
    raise Refusal("image-missing", f"{ref}: found {kind}, expected bytes or a path")


def inline(uri: str) -> bytes:
    """The bytes of a ``data:`` URI (RFC 2397) in base64 or percent escapes.

    Raises
    ------
    Refusal
        ``image-corrupt``.
    """
    head, comma, data = uri.partition(",")
    if not comma:
        raise Refusal("image-corrupt", "a data: URI without a comma")
    plain = unquote_to_bytes(data)
    if not head.rstrip().lower().endswith(";base64"):
        return plain
    try:
        cleaned = b"".join(plain.split())
        return base64.b64decode(cleaned + b"=" * (-len(cleaned) % 4), validate=True)
    except binascii.Error as error:
        raise Refusal("image-corrupt", f"a data: URI: {error}") from None
