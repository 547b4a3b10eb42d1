"""The signals of documents with images, from the columns of their table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from quality.language import identify
from vl_data.captions import is_boilerplate, is_file_name, normalised, word_counts
from vl_data.signals import schema

I64 = NDArray[np.int64]


def image_signals(documents: pa.Table) -> pa.Table:
    """The columns of ``schema("images")``, row-aligned with ``documents``.

    Parameters
    ----------
    documents: n rows with ``text`` (string) and ``images`` (list of ``vl_data.images.IMAGE``;
        empty or null for a text).
    """
    parents, images, count = flat_images(documents)
    n = len(count)
    width, height = (
        images.field(side).to_numpy(zero_copy_only=False) for side in ("width", "height")
    )
    shorter, longer = np.minimum(width, height), np.maximum(width, height)
    with_images = count > 0
    captions = told_captions(images)
    # The words of texts are only counted where they are asked for.
    words = np.zeros(n, np.int64)
    some = np.flatnonzero(with_images)
    words[some] = word_counts(documents.column("text").combine_chunks().take(pa.array(some)))
    measured = {
        "image.count": (count, None),
        "image.min_side": (_lowest(n, parents, shorter), ~with_images),
        "image.max_side": (_highest(n, parents, longer), ~with_images),
        "image.max_aspect": (_highest(n, parents, longer / shorter), ~with_images),
        "image.max_frames": (_highest(n, parents, _values(images, "frames")), ~with_images),
        "image.blank_frac": _share(count, parents, _values(images, "blank")),
        "image.repeated_frac": _share(count, parents, _repeated(parents, images.field("pixels"))),
        "image.caption_frac": _share(
            count, parents, captions.is_valid().to_numpy(zero_copy_only=False)
        ),
        "image.words_per_image": (words / np.maximum(count, 1), ~with_images),
    }
    return _table("images", measured)


def caption_signals(documents: pa.Table) -> pa.Table:
    """The columns of ``schema("captions")``, row-aligned with ``documents``.

    Takes ``documents`` as ``image_signals`` does; all columns are null for a row without captions.
    The language is that of the captions one below the other (`quality.language`).
    """
    parents, captions, count = captions_of(documents)
    n = len(count)
    plain = normalised(captions)
    words = word_counts(captions)
    without = count == 0
    joined = pc.binary_join(
        pa.LargeListArray.from_arrays(
            np.concatenate([[0], np.cumsum(count)]), captions.cast(pa.large_string())
        ),
        pa.scalar("\n", pa.large_string()),
    )
    labels, scores = identify(joined.filter(pa.array(~without)))
    rows = np.full(n, -1, np.int64)
    rows[~without] = np.arange(n - without.sum())
    place = pa.array(rows, mask=without)
    measured = {
        "caption.words": (_lowest(n, parents, words), without),
        "caption.max_words": (_highest(n, parents, words), without),
        "caption.chars": (
            _lowest(n, parents, pc.utf8_length(plain).to_numpy(zero_copy_only=False)),
            without,
        ),
        "caption.is_file_name": _share(count, parents, _flags(is_file_name(plain))),
        "caption.boilerplate": _share(count, parents, _flags(is_boilerplate(plain))),
        "caption.lang": labels.take(place),
        "caption.lang_score": scores.take(place),
    }
    return _table("captions", measured)


def captions_of(documents: pa.Table) -> tuple[I64, pa.Array, I64]:
    """The captions of all images that have one: (row int64[c], caption string[c], int64[n] a row).

    An image's caption is its ``caption``, else its ``alt``; one of white space alone is none.
    """
    parents, images, _ = flat_images(documents)
    captions = told_captions(images)
    there = captions.is_valid()
    rows = parents[there.to_numpy(zero_copy_only=False)]
    count = np.bincount(rows, minlength=documents.num_rows).astype(np.int64)
    return rows, captions.filter(there), count


def told_captions(images: pa.StructArray) -> pa.Array:
    """One text or null an image, without white space around."""
    given = []
    for field in ("caption", "alt"):
        text = pc.utf8_trim_whitespace(images.field(field))
        given.append(pc.if_else(pc.equal(text, ""), None, text))
    return pc.coalesce(*given)


def flat_images(documents: pa.Table) -> tuple[I64, pa.StructArray, I64]:
    """(row of each image int64[m], images, images of each row int64[n])."""
    column = documents.column("images").combine_chunks()
    parents: I64 = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64)
    count = np.bincount(parents, minlength=documents.num_rows).astype(np.int64)
    return parents, pc.list_flatten(column), count


def _values(images: pa.StructArray, field: str) -> NDArray[Any]:
    values: NDArray[Any] = images.field(field).to_numpy(zero_copy_only=False)
    return values


def _flags(column: pa.Array) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_] = column.to_numpy(zero_copy_only=False)
    return flags


def _highest(n: int, parents: I64, values: NDArray[Any]) -> NDArray[np.float64]:
    most = np.zeros(n)
    np.maximum.at(most, parents, values)
    return most


def _lowest(n: int, parents: I64, values: NDArray[Any]) -> NDArray[np.float64]:
    least = np.full(n, np.inf)
    np.minimum.at(least, parents, values)
    return np.where(np.isfinite(least), least, 0)


def _share(
    count: I64, parents: I64, flags: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    found = np.bincount(parents, weights=flags.astype(np.float64), minlength=len(count))
    return found / np.maximum(count, 1), count == 0


def _repeated(parents: I64, pixels: pa.Array) -> NDArray[np.bool_]:
    """Images that their own document has shown before."""
    numbers = pc.dictionary_encode(pixels).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    repeated = np.ones(len(parents), np.bool_)
    if len(parents):
        _, first = np.unique(parents * (int(numbers.max()) + 1) + numbers, return_index=True)
        repeated[first] = False
    return repeated


def _table(producer: Any, measured: dict[str, Any]) -> pa.Table:
    wanted = schema(producer)
    assert list(measured) == wanted.names
    columns = [
        column.cast(field.type)
        if isinstance(column, pa.Array | pa.ChunkedArray)
        else pa.array(column[0].astype(field.type.to_pandas_dtype()), mask=column[1])
        for column, field in zip(measured.values(), wanted, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=wanted)
