"""The launches of the gated norm, for the compile check of all kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kernels.norms.configurations import variant

if TYPE_CHECKING:
    from kernels.artefacts import Configuration


def configurations() -> Iterator[Configuration]:
    """The gated norm over one rank's heads, and over the heads of a tensor-parallel group."""
    yield from variant("norm-gate", gain=True, gate=True)
    yield from variant("norm-gate-ranks", gain=True, gate=True, across_ranks=True)
