"""RMSNorm and its relatives, forward and backward fused."""

from kernels.norms.api import add_rms_norm, rms_norm, srms_norm
from kernels.norms.configurations import configurations
from kernels.norms.module import RMSNorm

__all__ = ["RMSNorm", "add_rms_norm", "configurations", "rms_norm", "srms_norm"]
