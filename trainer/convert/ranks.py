"""Which part of a parameter a rank holds: cut on import, joined on export.

Tensor parallelism cuts rows or columns into equal runs of neighbours: q|k|v of lightning layers lie
head after head, q…q k v of softmax layers group after group, so runs hold whole heads and groups.
(With fewer groups than ranks Megatron-Core cuts inside a group, and the runs are the same.) Expert
parallelism cuts the experts into equal runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.convert.errors import ConversionError
from trainer.convert.parameter import Parameter

_DIMENSION = {"tensor_rows": 0, "tensor_columns": 1, "experts": 0}


@dataclass(frozen=True)
class Place:
    """A rank's place among those of tensor (tp) and expert (ep) parallelism; pipeline stages
    differ in the layers they hold, not in how those are cut."""

    tp_rank: int = 0
    tp: int = 1
    ep_rank: int = 0
    ep: int = 1

    def part_of(self, parameter: Parameter) -> tuple[int, int]:
        """Which part of a parameter this rank holds, of how many."""
        if parameter.split == "experts":
            return self.ep_rank, self.ep
        return (0, 1) if parameter.split == "none" else (self.tp_rank, self.tp)


def part_shape(parameter: Parameter, parts: int, vocab_rows: int) -> tuple[int, ...]:
    """The shape of each of equal parts; ``vocab_rows`` are those of the padded vocabulary.

    Raises ConversionError when the parameter does not divide.
    """
    shape = list(parameter.shape)
    if parameter.form == "vocabulary":
        shape[0] = vocab_rows
    if parts > 1:
        dimension = _DIMENSION[parameter.split]
        if shape[dimension] % parts:
            raise ConversionError(
                f"{parameter.name}: found {shape[dimension]} in dimension {dimension}, expected a "
                f"multiple of {parts} ranks"
            )
        shape[dimension] //= parts
    return tuple(shape)


def cut(parameter: Parameter, whole: Tensor, part: int, parts: int) -> Tensor:
    """One of equal parts of a whole (padded) parameter: a view."""
    if parts == 1:
        return whole
    part_shape(parameter, parts, len(whole))
    return whole.chunk(parts, _DIMENSION[parameter.split])[part]


def join(parameter: Parameter, pieces: Sequence[Tensor]) -> Tensor:
    """The whole from all its parts, in order."""
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), _DIMENSION[parameter.split])


def expert_range(parameter: Parameter, place: Place) -> range:
    """The experts that a rank holds."""
    part, parts = place.part_of(parameter)
    count = part_shape(parameter, parts, 0)[0]
    return range(part * count, (part + 1) * count)
