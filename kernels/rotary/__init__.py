"""Rotary position embedding of queries and keys, over a part of the head."""

from kernels.rotary.api import positions_of, rotary
from kernels.rotary.configurations import configurations

__all__ = ["configurations", "positions_of", "rotary"]
