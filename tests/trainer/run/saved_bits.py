"""The bits of what a run has saved: all that its next step would begin with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from trainer.megatron import checkpoints


def saved_bits(folder: Path, step: int) -> dict[str, bytes]:
    """Every tensor of a checkpoint by its name: weights, float32 parameters, both moments."""
    reader = FileSystemReader(checkpoints.path_of(folder, step))
    tensors = {
        name: torch.empty(about.size, dtype=about.properties.dtype)
        for name, about in reader.read_metadata().state_dict_metadata.items()
        if isinstance(about, TensorStorageMetadata)
    }
    load(dict(tensors), storage_reader=reader, no_dist=True)
    return {
        name: tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        for name, tensor in tensors.items()
    }
