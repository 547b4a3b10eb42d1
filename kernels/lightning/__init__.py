"""Lightning attention: linear attention with a fixed decay per head."""

from kernels.lightning import reference
from kernels.lightning.api import lightning_attention
from kernels.lightning.checks import check_boundaries
from kernels.lightning.decode import lightning_decode
from kernels.lightning.fused import lightning_attention_qkv

__all__ = [
    "check_boundaries",
    "lightning_attention",
    "lightning_attention_qkv",
    "lightning_decode",
    "reference",
]
