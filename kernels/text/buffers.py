"""Arrow string buffers on their way into compiled passes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

PADDING = 16
"""Zero bytes after a document in its buffer, so that a look ahead needs no test."""

MAX_DOCUMENT_BYTES = (1 << 31) - 1 - PADDING


def checked(
    data: NDArray[np.uint8], offsets: NDArray[np.integer]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the buffers as the passes take them: read-only, contiguous, int64 offsets.

    Raises ``ValueError`` for offsets that descend or leave the data, or a document of 2 GiB.
    """
    if data.dtype != np.uint8 or data.ndim != 1:
        raise ValueError(f"data: found {data.dtype}{list(data.shape)}, expected uint8[bytes]")
    if offsets.ndim != 1 or len(offsets) == 0:
        raise ValueError(f"offsets: found shape {list(offsets.shape)}, expected [documents + 1]")
    sizes = np.diff(offsets)
    if len(sizes) and (sizes.min() < 0 or offsets[0] < 0 or offsets[-1] > len(data)):
        raise ValueError(
            f"offsets: found {offsets[0]} .. {offsets[-1]}, "
            f"expected ascending byte offsets in 0 .. {len(data)}"
        )
    if len(sizes) and sizes.max() > MAX_DOCUMENT_BYTES:
        raise ValueError(
            f"document {int(sizes.argmax())}: found {sizes.max()} bytes, expected at most "
            f"{MAX_DOCUMENT_BYTES}; cut it before it is scanned"
        )
    data = np.ascontiguousarray(data).view()
    places: NDArray[np.int64] = np.ascontiguousarray(offsets, np.int64).view()
    # One type for the compiler, whether the buffers come from Arrow (read-only) or from NumPy.
    data.flags.writeable = False
    places.flags.writeable = False
    return data, places


@njit(inline="always")
def padded_copy(data, begin, end, text):  # type: ignore[no-untyped-def]
    """Copy ``data[begin:end]`` and zeros after it into ``text``, or a larger array if need be.

    Returns the array (uint8) and the document's bytes.
    """
    size = end - begin
    if text.shape[0] < size + PADDING:
        text = np.empty(size + PADDING, np.uint8)
    text[:size] = data[begin:end]
    text[size : size + PADDING] = 0
    return text, size


def buffers_of(strings: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the data and offsets of a pyarrow ``string`` or ``large_string`` array, not copied.

    Raises ``ValueError`` for another type or for nulls, whose bytes would be read as empty texts.
    """
    if not (pa.types.is_large_string(strings.type) or pa.types.is_string(strings.type)):
        raise ValueError(f"strings: found {strings.type}, expected string or large_string")
    if strings.null_count:
        raise ValueError(f"strings: found {strings.null_count} nulls, expected none")
    wide = pa.types.is_large_string(strings.type)
    _, places, data = strings.buffers()
    if len(strings) == 0 or places is None:
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    kind: type[np.integer] = np.int64 if wide else np.int32
    offsets = np.frombuffer(places, kind)[strings.offset : strings.offset + len(strings) + 1]
    bytes_ = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return bytes_, offsets.astype(np.int64)
