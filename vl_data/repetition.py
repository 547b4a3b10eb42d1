"""The test for repetition between images and captions: who goes with how many of the other.

An image with many captions (an icon, a banner, a stock photo) and a caption with many images (a
template, the name of a site) teach a model that the two have nothing to do with each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vl_data.signals import schema

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]


@dataclass(frozen=True)
class Pairs:
    """All images of a run, each with the caption it has: arrays of one length, in any order.

    Attributes
    ----------
    document: int64, row of the document in 0 .. documents - 1.
    image: uint32, cluster of the image (``vl_data.clusters``).
    caption: uint64 of ``vl_data.captions.caption_keys``; 0 for none.
    template: uint64 of ``vl_data.captions.template_keys``; 0 for none.
    """

    document: I64
    image: U32
    caption: U64
    template: U64

    def __post_init__(self) -> None:
        lengths = {len(self.document), len(self.image), len(self.caption), len(self.template)}
        if len(lengths) > 1:
            raise ValueError(f"pairs: found arrays of lengths {sorted(lengths)}, expected one")


def distinct_partners(
    left: NDArray[np.unsignedinteger | np.int64], right: NDArray[np.unsignedinteger | np.int64]
) -> NDArray[np.int32]:
    """For each of n pairs, how many distinct values of ``right`` its value of ``left`` has.

    ``int32[n]``; a ``right`` of 0 is none and is not counted. Holds some 40 bytes a pair.
    """
    _, left_number = np.unique(left, return_inverse=True)
    values, right_number = np.unique(right, return_inverse=True)
    pairs = np.unique(left_number.astype(np.int64) * max(1, len(values)) + right_number)
    if len(values) and values[0] == 0:
        pairs = pairs[pairs % len(values) != 0]
    counts = np.bincount(pairs // max(1, len(values)), minlength=len(left))
    partners: NDArray[np.int32] = counts[left_number].astype(np.int32)
    return partners


def repetition_signals(documents: int, pairs: Pairs) -> pa.Table:
    """The columns of ``schema("repetition")`` for each of ``documents`` rows.

    A document has the highest count of its images and captions, or null where it has none.
    """
    captioned, templated = pairs.caption != 0, pairs.template != 0
    measured = {
        "image.captions": (captioned, distinct_partners(pairs.image, pairs.caption)),
        # Rows count from 0, which would be none.
        "image.documents": (
            np.ones(len(pairs.image), np.bool_),
            distinct_partners(pairs.image, pairs.document + 1),
        ),
        "caption.images": (
            captioned,
            distinct_partners(pairs.caption, pairs.image.astype(np.int64) + 1),
        ),
        "caption.template_images": (
            templated,
            distinct_partners(pairs.template, pairs.image.astype(np.int64) + 1),
        ),
    }
    wanted = schema("repetition")
    assert list(measured) == wanted.names
    columns = []
    for counted, counts in measured.values():
        most = np.zeros(documents, np.int32)
        np.maximum.at(most, pairs.document[counted], counts[counted])
        columns.append(pa.array(most, pa.int32(), mask=most == 0))
    return pa.Table.from_arrays(columns, schema=wanted)
