"""RMSNorm x sigmoid gate, forward and backward fused, over one rank's heads or all ranks'."""

from kernels.norm_gate.api import norm_gate
from kernels.norm_gate.configurations import configurations

__all__ = ["configurations", "norm_gate"]
