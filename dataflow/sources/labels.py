"""Captions that a model wrote for the images of a source (``python -m vl_data caption``)."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path

import blake3
import pyarrow as pa

from dataflow.sources.filesystems import stamp
from dataflow.sources.spec import Captions, Picture, SourceError
from vl_data.labels.errors import LabelError
from vl_data.labels.lookup import CaptionLabels
from vl_data.labels.tables import CAPTIONS, read_labels

_HELD = 4
"""Tables that a worker keeps in memory."""


def digest_of(path: str) -> str:
    """BLAKE3 of a file, 64 hex digits; empty where it cannot be read, which `problem` tells."""
    try:
        return _digest_of(path, stamp(Path(path).stat()))
    except OSError:
        return ""


@functools.lru_cache(maxsize=64)
def _digest_of(path: str, _stamp: str) -> str:
    digest = blake3.blake3()
    digest.update_mmap(path)
    return digest.hexdigest()


def problem(captions: Captions) -> tuple[str, str] | None:
    """What was found and what was expected, where the table is not one of captions."""
    expected = "a table that `python -m vl_data caption` wrote"
    try:
        labels = CaptionLabels(read_labels(Path(captions.path), CAPTIONS))
    except OSError as error:
        return f"{captions.path}: {error.strerror or error}", expected
    except pa.ArrowInvalid as error:
        return f"{captions.path}: no Parquet file ({error})", expected
    except LabelError as error:
        found, _, wanted = str(error).partition(", expected ")
        return found, wanted or expected
    if not len(labels):
        return f"{captions.path}: a table without rows", expected
    return None


def refined_of(captions: Captions, images: Sequence[Picture], own: str | None) -> str | None:
    """What the table says of the one image of a pair; None where it says nothing, and of pairs of
    several images.

    Raises
    ------
    SourceError
        If the table is not the one that the build was planned with.
    """
    if len(images) != 1:
        return None
    found = _labels(captions.path, captions.digest).find(images[0].facts.digest, own)
    if found is None:
        return None
    return (found.description if captions.use == "description" else found.caption) or None


@functools.lru_cache(maxsize=_HELD)
def _labels(path: str, digest: str) -> CaptionLabels:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}, expected the captions of the plan") from None
    if blake3.blake3(data).hexdigest() != digest:
        raise SourceError(f"{path}: changed since the build was planned; run the build again")
    return CaptionLabels(read_labels(io.BytesIO(data), CAPTIONS))
