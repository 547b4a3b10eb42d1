"""Which documents of some inputs are labelled, and what is said of each besides its scores."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
import pyarrow as pa
from blake3 import blake3

from quality.language import identify
from quality.reward.documents import held_out, read_documents
from quality.reward.labeler.errors import LabelingRefused
from quality.reward.labels import load_labels

_SAMPLE, _SPLIT = b"leyden.label-sample.1\0", b"leyden.label-split.1\0"
_IMAGE = "\ufffc"
"""Stands in a text where the document has an image."""


@dataclass(frozen=True, slots=True)
class About:
    """A document without its text: the fields of a label that tell where it is and what it is.

    ``empty``: its text has nothing but white space and marks of images.
    """

    content_id: bytes
    origin: str
    uri: str
    offset: int
    language: str | None
    characters: int
    split: Literal["train", "heldout"]
    empty: bool


@dataclass(frozen=True, slots=True)
class Document:
    """A document to label."""

    about: About
    text: str


class Documents:
    """Documents of runs and files of JSON lines, each content once, in the order of the inputs.

    Parameters
    ----------
    paths : as ``quality.reward.documents.read_documents`` takes them
    sample : how many to take; None: all
    seed : of the sample; which documents are in it depends on it and on their texts alone, and a
        larger sample holds a smaller one
    held_out_share : share of documents whose labels train nothing, by a hash of the text, besides
        those that a run holds out and those that the shipped labels do

    Raises
    ------
    DocumentsError
        If an input has no documents.
    LabelingRefused
        If there is none at all, or a number is out of range.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        sample: int | None = None,
        seed: int = 0,
        held_out_share: float = 0.2,
    ) -> None:
        if sample is not None and sample < 1:
            raise LabelingRefused(f"--sample: found {sample}, expected 1 or more")
        if not 0 <= held_out_share <= 1:
            raise LabelingRefused(f"--held-out: found {held_out_share}, expected a share, 0 to 1")
        self._paths = tuple(paths)
        self._share = held_out_share
        self._chosen = _choose(self._paths, sample, seed)
        if not self._chosen:
            raise LabelingRefused(
                f"{', '.join(map(str, self._paths))}: found no document, expected one or more"
            )
        shipped = {label.content_id for label in load_labels() if label.split == "heldout"}
        self._held_out = frozenset.union(frozenset(shipped), *map(held_out, self._paths))

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[Document]:
        """Read again; one batch of the inputs is held at a time."""
        given: set[bytes] = set()
        for path in self._paths:
            origin = _name_of(path)
            for table in read_documents(path):
                rows = []
                for row, name in enumerate(table["content_id"].to_pylist()):
                    if name in self._chosen and name not in given:
                        given.add(name)
                        rows.append(row)
                if rows:
                    yield from self._documents(table.take(rows), origin, path)

    def _documents(self, table: pa.Table, origin: str, path: Path) -> Iterator[Document]:
        languages, _ = identify(table["text"])
        for row, language in zip(table.to_pylist(), languages.to_pylist(), strict=True):
            text = row["text"]
            about = About(
                content_id=row["content_id"],
                origin=f"{origin}: {row['source']}" if row["source"] else origin,
                uri=row["uri"] or path.name,
                offset=row["offset"],
                language=None if language == "und" else language,
                characters=len(text),
                split="heldout" if self._is_held_out(row["content_id"]) else "train",
                empty=not text.replace(_IMAGE, "").strip(),
            )
            yield Document(about, text)

    def _is_held_out(self, name: bytes) -> bool:
        return name in self._held_out or _number(_SPLIT, name) < self._share * 2.0**64


def _choose(paths: Sequence[Path], sample: int | None, seed: int) -> frozenset[bytes]:
    """The content ids of least hash, or all."""
    names = (
        name
        for path in paths
        for table in read_documents(path)
        for name in table["content_id"].to_pylist()
    )
    if sample is None:
        return frozenset(names)
    domain = _SAMPLE + b"%d\0" % seed
    worst: list[tuple[int, bytes]] = []  # a heap whose first entry is the one to give up next
    held: set[bytes] = set()
    for name in names:
        if name in held:
            continue
        entry = (-_number(domain, name), name)
        if len(worst) < sample:
            heapq.heappush(worst, entry)
        elif entry > worst[0]:
            held.discard(heapq.heapreplace(worst, entry)[1])
        else:
            continue
        held.add(name)
    return frozenset(held)


def _number(domain: bytes, name: bytes) -> int:
    return int.from_bytes(blake3(domain + name).digest(length=8))


def _name_of(path: Path) -> str:
    """What people call an input: a run by its name, a file by its own; never a machine's path."""
    if not path.is_dir():
        return path.name
    return f"run {orjson.loads((path / 'journal' / 'run.json').read_bytes())['name']}"
