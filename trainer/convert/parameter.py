"""One parameter of a model: its Megatron-Core name, its released keys, its shape and its split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Form = Literal["same", "vocabulary", "grouped_qkv", "vision_qkv", "gate_up", "down"]
Split = Literal["none", "tensor_rows", "tensor_columns", "experts"]


@dataclass(frozen=True)
class Parameter:
    """One Megatron-Core parameter, whole.

    ``shape`` is without the vocabulary's padding rows. ``form`` says how it becomes the released
    tensors (:mod:`trainer.convert.layouts`), ``split`` over which ranks it is cut and where
    (:mod:`trainer.convert.ranks`). ``keys`` are the released keys with their shapes, in the order
    of the rows of the whole: of experts, each one's w1 and w3, or its w2.
    """

    name: str
    shape: tuple[int, ...]
    form: Form
    split: Split
    keys: Mapping[str, tuple[int, ...]]
