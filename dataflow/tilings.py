"""How many features the images of an index have for a model, by named tiling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dataflow.lists import flat_list, list_of
from dataflow.tables import INDEX, PLACED_IMAGE, TILINGS
from vl_data.tiling import token_counts

_PLACE = ("width", "height", "bytes", "offset")


def with_token_counts(placed: Any) -> pa.ListArray:
    """Lists of placed images as the index has them (``PLACED_IMAGE``).

    Parameters
    ----------
    placed : list column of structs with ``width``, ``height``, ``bytes`` and ``offset``; counts
        that it may have already are made anew
    """
    found, offsets = flat_list(placed)
    columns = [found.field(name) for name in _PLACE]
    widths, heights = (np.asarray(column) for column in columns[:2])
    columns += [pa.array(token_counts(widths, heights, tiling), pa.int32()) for tiling in TILINGS]
    images = pa.StructArray.from_arrays(columns, fields=list(PLACED_IMAGE))
    return list_of(images, offsets, INDEX.schema.field("images").type)
