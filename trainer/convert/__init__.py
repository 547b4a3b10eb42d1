"""Weights to and from the released MiniMax-Text-01 layout and transformers' ``minimax``.

    export_model, import_model        models that run, on every rank (trainer.convert.models)
    export_weights, read_weights      named tensors (trainer.convert.weights)
    read_config, write_config         recipes and config.json (trainer.convert.config)

The parts: ``names`` (the tables), ``layouts`` (what moves in a tensor), ``ranks`` and ``gather``
(parallel layouts), ``writer`` and ``reader`` (sharded safetensors).
"""

from trainer.convert.config import read_config, write_config
from trainer.convert.errors import ConversionError
from trainer.convert.models import export_model, import_model
from trainer.convert.reader import Checkpoint
from trainer.convert.weights import export_weights, read_weights

__all__ = [
    "Checkpoint",
    "ConversionError",
    "export_model",
    "export_weights",
    "import_model",
    "read_config",
    "read_weights",
    "write_config",
]
