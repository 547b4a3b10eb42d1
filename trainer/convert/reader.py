"""Reading a model's sharded safetensors, tensor by tensor, after checking all of them by header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from trainer.convert.errors import ConversionError
from trainer.convert.names import is_derived
from trainer.convert.safetensor_files import DTYPES, Stored, read_header, read_tensor
from trainer.convert.writer import INDEX

SINGLE = "model.safetensors"
SHOWN = 5
"""Keys that an error lists."""


class Checkpoint:
    """The tensors of a folder, read one at a time.

    Opening reads the index and every shard's header, and no tensor. Keys of buffers that
    transformers derives again (``slope_rate`` …) are left out.

    Raises ConversionError naming the file and the key: no index, a shard that is absent or cut
    short, a key that its shard does not have or the index does not name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source, files = _weight_map(folder)
        """The file that lists the keys."""
        self._files: dict[str, Path] = {}
        self._stored: dict[str, Stored] = {}
        for name in sorted(set(files.values())):
            file = folder / name
            header = read_header(file)
            listed = {key for key, place in files.items() if place == name}
            if listed != set(header):
                more, fewer = set(header) - listed, listed - set(header)
                raise ConversionError(
                    f"{file}: {_differences(fewer, more)}, expected the keys that {self.source} "
                    "says are here"
                )
            for key in sorted(header):
                if not is_derived(key):
                    self._files[key], self._stored[key] = file, header[key]

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Hold the keys, shapes and dtypes against those of a model.

        Raises ConversionError listing what is missing, unknown or of another shape, and the file.
        """
        missing, unknown = (
            expected.keys() - self._files.keys(),
            self._files.keys() - expected.keys(),
        )
        if missing or unknown:
            raise ConversionError(
                f"{self.source}: {_differences(missing, unknown)}, expected the {len(expected)} "
                "keys of the model"
            )
        for key, shape in expected.items():
            stored = self._stored[key]
            if stored.shape != shape or stored.dtype not in DTYPES:
                raise ConversionError(
                    f"{self._files[key]}, {key}: found {stored.dtype} {list(stored.shape)}, "
                    f"expected {list(shape)} of {', '.join(DTYPES)}"
                )

    def read(self, key: str) -> Tensor:
        """The tensor of a key, on the CPU, in the dtype of the file."""
        file = self._files[key]
        try:
            return read_tensor(file, self._stored[key])
        except (EOFError, OSError) as error:
            raise ConversionError(
                f"{file}, {key}: found a tensor that does not read ({error}); fetch the shard again"
            ) from error

    def shape(self, key: str) -> tuple[int, ...] | None:
        """The shape of the tensor of a key; None where there is none."""
        stored = self._stored.get(key)
        return None if stored is None else stored.shape

    def keys(self) -> list[str]:
        """All keys, sorted, without the derived ones."""
        return sorted(self._files)


def _weight_map(folder: Path) -> tuple[Path, dict[str, str]]:
    """The file that lists a folder's keys, and the shard of each."""
    index, single = folder / INDEX, folder / SINGLE
    if index.exists():
        try:
            files = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            if not all(
                isinstance(name, str) and Path(name).name == name for name in files.values()
            ):
                raise ValueError("names of files of this folder are expected")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConversionError(
                f"{index}: found no weight_map of keys and files ({error!r}), expected an index"
            ) from error
        return index, files
    if single.exists():
        return single, dict.fromkeys(read_header(single), SINGLE)
    raise ConversionError(
        f"{folder}: found neither {INDEX} nor {SINGLE}, expected a model's weights"
    )


def _differences(missing: set[str], unknown: set[str]) -> str:
    parts = [
        f"found {len(keys)} {what}: {', '.join(sorted(keys)[:SHOWN])}"
        + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
        for keys, what in ((missing, "keys missing"), (unknown, "unknown keys"))
        if keys
    ]
    return "; ".join(parts)
