"""A document out of the shards of a run: its text and images, its ids, and which of them it learns.

Text and images are read from the content shard, ids and spans from the token shard beside it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vl_data.preview.draw import Drawn
from vl_data.runs.errors import RunRefused
from vl_data.runs.folder import RunFolder


@dataclass(frozen=True)
class Stored:
    """An image as stored: its bytes, and the size that the index says it has as shown."""

    data: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Sample:
    """A document.

    Attributes
    ----------
    text: UTF-8, one U+FFFC an image.
    ids: integers [n], ``eod`` the last.
    learns: bool [n], which of them carry loss.
    """

    doc_id: bytes
    source: str
    split: str
    license: str
    uri: str
    shard: str
    member: str
    text: bytes
    images: tuple[Stored, ...]
    ids: NDArray[Any]
    learns: NDArray[np.bool_]


def read_samples(run: RunFolder, drawn: list[Drawn]) -> list[Sample]:
    """The documents, in their order; a shard's two tars are gone through once each.

    Raises
    ------
    RunRefused
        If a shard does not hold what the index says.
    """
    found: dict[bytes, Sample] = {}
    for shard in dict.fromkeys(one.shard for one in drawn):
        rows = [one.row for one in drawn if one.shard == shard]
        keys = {row["member"] for row in rows}
        told = _members(run, shard.content, {f"{key}.json" for key in keys})
        arrays = _members(
            run, shard.tokens, {f"{k}.{n}.npy" for k in keys for n in ("ids", "offsets", "spans")}
        )
        with run.open(shard.content) as content:
            for row in rows:
                sample = _sample(run, row, content, shard.name, told, arrays)
                found[sample.doc_id] = sample
    return [found[one.row["doc_id"]] for one in drawn]


def _sample(
    run: RunFolder,
    row: Mapping[str, Any],
    content: Any,
    shard: str,
    told: Mapping[str, bytes],
    arrays: Mapping[str, bytes],
) -> Sample:
    key = row["member"]
    where = f"{run.uri}: shard {shard}, sample {key}"
    try:
        documents = orjson.loads(told[f"{key}.json"])["documents"]
        place = documents["id"].index(row["doc_id"].hex())
        ids, offsets, spans = (
            np.load(io.BytesIO(arrays[f"{key}.{name}.npy"])) for name in ("ids", "offsets", "spans")
        )
        mine = ids[offsets[place] : offsets[place + 1]]
        uri = documents["uri"][place]
    except (KeyError, ValueError, IndexError, EOFError) as error:
        raise RunRefused(
            f"{where}: found {error!r} where the index has document {row['doc_id'].hex()}; "
            f"`python -m dataflow verify {run.uri}` says what is damaged"
        ) from None
    rows = spans[spans[:, 0] == place]
    learns = np.full(len(mine), not len(rows))
    for _, start, end in rows.tolist():
        learns[start:end] = True
    images = tuple(
        Stored(_range(content, image["offset"], image["bytes"], where), image["width"],
               image["height"])
        for image in row.get("images") or ()
    )  # fmt: skip
    return Sample(
        row["doc_id"], row["source"], row["split"], row["license"], uri or "", shard, key,
        _range(content, row["text_offset"], row["text_bytes"], where), images, mine, learns,
    )  # fmt: skip


def _range(content: Any, offset: int, size: int, where: str) -> bytes:
    content.seek(offset)
    data: bytes = content.read(size)
    if len(data) != size:
        raise RunRefused(f"{where}: found {len(data)} bytes at {offset}, expected {size}")
    return data


def _members(run: RunFolder, path: str, names: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with run.open(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.name in names and (file := tar.extractfile(member)) is not None:
                    found[member.name] = file.read()
                    if len(found) == len(names):
                        break
    except FileNotFoundError:
        raise RunRefused(f"{run.uri}: found no {path}, expected it as the journal says") from None
    except tarfile.TarError as error:
        raise RunRefused(
            f"{run.uri}/{path}: found a damaged tar ({error}); "
            f"`python -m dataflow verify {run.uri}` says what else is"
        ) from None
    return found
