"""Writing a model as sharded safetensors, tensor by tensor, in any order."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from trainer.convert.errors import ConversionError
from trainer.convert.safetensor_files import NAMES, Stored, laid_out, write_all

INDEX = "model.safetensors.index.json"
Shape = tuple[int, ...]


class ShardWriter:
    """A folder of shards and an index, whose tensors are known beforehand and written one by one.

    Shards are filled in the order given: a shard takes the next tensor while it stays within
    ``max_shard_bytes``, a larger tensor is a shard of its own. Each tensor goes straight to its
    place, so that one tensor is held at a time, whatever the shard's size.

    Everything is written in a folder beside, named ``.<name>.partial``, which takes the name when
    :meth:`close` has found every tensor written: a folder that exists is complete. As a context
    manager it closes at the end, and removes what it wrote when the block raises.

    Raises ConversionError when the folder exists and is not empty, on keys that are unknown, given
    twice or missing at the end, on shapes and dtypes; OSError as the file system does.
    """

    def __init__(
        self,
        folder: Path,
        shapes: Mapping[str, Shape],
        dtype: torch.dtype,
        *,
        max_shard_bytes: int = 5 * 10**9,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        if dtype not in NAMES:
            raise ConversionError(
                f"{folder}: found {dtype}, expected one of {[str(each) for each in NAMES]}"
            )
        if max_shard_bytes < 1:
            raise ConversionError(f"found max_shard_bytes {max_shard_bytes}, expected 1 or more")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConversionError(
                f"{folder}: found files, expected a new folder; name another or remove this one"
            )
        self._folder, self._dtype, self._config = folder, dtype, config
        self._partial = folder.absolute().parent / f".{folder.absolute().name}.partial"
        self._shards = _fill(shapes, dtype, max_shard_bytes)
        self._place: dict[str, tuple[int, Stored]] = {}
        self._written: set[str] = set()
        self._start()

    def write(self, key: str, tensor: Tensor) -> None:
        """Write one tensor, from any device."""
        if key not in self._place:
            raise ConversionError(f"{self._folder}: found key {key}, which the model does not have")
        if key in self._written:
            raise ConversionError(f"{self._folder}: found key {key} twice, expected it once")
        shard, stored = self._place[key]
        if tuple(tensor.shape) != stored.shape or tensor.dtype != self._dtype:
            raise ConversionError(
                f"{self._folder}, {key}: found {tensor.dtype} {tuple(tensor.shape)}, expected "
                f"{self._dtype} {stored.shape}"
            )
        data = tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy()
        descriptor = os.open(self._file(shard), os.O_WRONLY)
        try:
            write_all(descriptor, data.data, stored.start)
        finally:
            os.close(descriptor)
        self._written.add(key)

    def close(self) -> None:
        """Write the index and the configuration, flush all and give the folder its name."""
        if missing := [key for key in self._place if key not in self._written]:
            raise ConversionError(
                f"{self._folder}: found no tensor for {len(missing)} keys, expected all "
                f"{len(self._place)}; missing: {', '.join(missing[:5])}"
            )
        total = sum(stored.end - stored.start for _, stored in self._place.values())
        index = {
            "metadata": {"total_size": total},
            "weight_map": {key: self._file(at).name for key, (at, _) in self._place.items()},
        }
        self._write_json(INDEX, index)
        if self._config is not None:
            self._write_json("config.json", self._config)
        for file in [*self._partial.iterdir(), self._partial]:
            _flush(file)
        self._folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        self._partial.replace(self._folder)
        _flush(self._folder.absolute().parent)

    def discard(self) -> None:
        """Remove what was written so far."""
        for file in self._partial.iterdir() if self._partial.exists() else ():
            file.unlink()
        if self._partial.exists():
            self._partial.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            # After a rename nothing is left under the partial name.
            self.discard()

    def _file(self, shard: int) -> Path:
        name = f"model-{shard + 1:05d}-of-{len(self._shards):05d}.safetensors"
        return self._partial / name

    def _start(self) -> None:
        """Write the shards' headers, and give each file its size."""
        self._partial.parent.mkdir(parents=True, exist_ok=True)
        self.discard()
        self._partial.mkdir()
        for shard, shapes in enumerate(self._shards):
            head, stored = laid_out({key: (self._dtype, shape) for key, shape in shapes.items()})
            for key, one in stored.items():
                self._place[key] = (shard, one)
            with self._file(shard).open("wb") as stream:
                stream.write(head)
                stream.truncate(max((one.end for one in stored.values()), default=len(head)))

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        (self._partial / name).write_text(text, encoding="utf-8")


def _fill(
    shapes: Mapping[str, Shape], dtype: torch.dtype, max_shard_bytes: int
) -> list[dict[str, Shape]]:
    shards: list[dict[str, Shape]] = [{}]
    filled = 0
    for key, shape in shapes.items():
        size = torch.Size(shape).numel() * dtype.itemsize
        if shards[-1] and filled + size > max_shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][key] = shape
        filled += size
    return shards


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
