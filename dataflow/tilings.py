"""What the index says of images: their places, and how many features they have by named tiling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.lists import flat_list, list_of
from vl_data.tiling import token_counts

TILINGS = ("released28", "released36", "fixed336", "tiny56", "fixed56")
"""The tilings of `vl_data.tiling` whose token counts the index keeps."""
TILINGS_2 = TILINGS[:4]
"""Those of index version 2."""


def _placed_images(tilings: tuple[str, ...]) -> pa.DataType:
    image = pa.struct(
        [
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("offset", pa.int64(), nullable=False),
            *(pa.field(f"tokens_{tiling}", pa.int32(), nullable=False) for tiling in tilings),
        ]
    )
    return pa.list_(pa.field("element", image, nullable=False))


PLACED_IMAGES = _placed_images(TILINGS)
"""The images of a document in a content shard: their size as shown in pixels, where their original
bytes lie (absolute in the tar), and how many features they have for a model, by tiling."""
PLACED_IMAGES_2 = _placed_images(TILINGS_2)
"""Those of index version 2."""


def with_token_counts(placed: Any) -> pa.ListArray:
    """Lists of placed images as the index has them (``PLACED_IMAGES``).

    Parameters
    ----------
    placed : list column of structs with ``width``, ``height``, ``bytes`` and ``offset``; counts
        that it may have already are made anew
    """
    return _counted(placed, keep=())


def with_later_counts(placed: Any) -> pa.ListArray:
    """``PLACED_IMAGES`` of an earlier version's, whose counts are taken as they are."""
    return _counted(placed, keep=TILINGS_2)


def _counted(placed: Any, keep: tuple[str, ...]) -> pa.ListArray:
    found, offsets = flat_list(placed)
    columns = [found.field(name) for name in ("width", "height", "bytes", "offset")]
    widths, heights = (np.asarray(column) for column in columns[:2])
    for tiling in TILINGS:
        if tiling in keep:
            columns.append(found.field(f"tokens_{tiling}"))
        else:
            columns.append(pa.array(token_counts(widths, heights, tiling), pa.int32()))
    image = PLACED_IMAGES.value_type
    images = pa.StructArray.from_arrays(columns, fields=list(image))
    return list_of(images, offsets, PLACED_IMAGES)
