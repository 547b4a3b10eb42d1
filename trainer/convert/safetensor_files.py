"""Safetensors files of known tensors: the header's form, and what of it is checked.

A file is 8 bytes, the little-endian length of the header; the header, a JSON object of
``key: {dtype, shape, data_offsets}`` and ``__metadata__``, padded with spaces to a multiple of 8;
then the tensors' bytes, each at its offsets, with nothing between (safetensors' README, "Format").
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.convert.errors import ConversionError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Floating types of weights by their names in headers."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: its dtype's name, its shape, its bytes ``[start, end)`` of the file.

    Headers count them from the end of the header, this does not.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def laid_out(
    tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
) -> tuple[bytes, dict[str, Stored]]:
    """The head of a file (length and header) of tensors in this order, and where each comes."""
    # transformers opens only files that say which framework their tensors are of.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for key, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[key] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, _stored(header, 8 + len(text))


def read_header(file: Path) -> dict[str, Stored]:
    """The tensors of a file, in their order there.

    Raises ConversionError, naming the file, when it is absent, cut short, longer than its header
    says, or no safetensors file.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            if 8 + length > size:
                raise ConversionError(
                    f"{file}: found {size} bytes, expected a safetensors header of {length} and "
                    "tensors; the file is cut short or not safetensors: fetch it again"
                )
            header = json.loads(stream.read(length))
        stored = _stored(header, 8 + length)
    except FileNotFoundError:
        raise ConversionError(
            f"{file}: found no such file, expected a shard that the index names: fetch it"
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ConversionError):
            raise
        raise ConversionError(
            f"{file}: found a header that does not read ({error}), expected safetensors"
        ) from error
    expected = max((one.end for one in stored.values()), default=8 + length)
    if size != expected:
        raise ConversionError(
            f"{file}: found {size} bytes, expected {expected} as its header says; the shard is "
            f"{'cut short' if size < expected else 'not what was written'}: fetch it again"
        )
    return stored


def read_tensor(file: Path, one: Stored) -> torch.Tensor:
    """One tensor, on the CPU, in memory of its own.

    Raises EOFError when the file has become shorter than its header said, OSError as reading does.
    """
    tensor = torch.empty(one.shape, dtype=DTYPES[one.dtype])
    data = memoryview(tensor.view(-1).view(torch.uint8).numpy().data)
    with file.open("rb", buffering=0) as stream:
        stream.seek(one.start)
        while len(data):
            # A call reads at most 2 GiB.
            if not (count := stream.readinto(data[: 1 << 30])):
                raise EOFError(f"found {len(data)} bytes fewer than expected")
            data = data[count:]
    return tensor


def _stored(header: Mapping[str, Any], head: int) -> dict[str, Stored]:
    """The tensors of a header, of a file whose first ``head`` bytes are no tensor's."""
    found = {}
    for key, one in header.items():
        if key != "__metadata__":
            (start, end), shape, dtype = one["data_offsets"], tuple(one["shape"]), one["dtype"]
            size = math.prod(shape) * DTYPES[dtype].itemsize if dtype in DTYPES else end - start
            if not 0 <= start <= end or end - start != size:
                raise ValueError(f"{key}: found bytes {start} to {end} for {dtype} {shape}")
            found[key] = Stored(dtype, shape, head + start, head + end)
    return found


def write_all(descriptor: int, data: memoryview | bytes, offset: int) -> None:
    """Write bytes at an offset of a file, all of them. Raises OSError as ``pwrite`` does."""
    view = memoryview(data)
    while len(view):
        # A call writes at most 2 GiB.
        written = os.pwrite(descriptor, view[: 1 << 30], offset)
        view, offset = view[written:], offset + written
