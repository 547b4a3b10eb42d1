"""What a verdict on a kernel depends on besides its source: GPU, driver, compilers."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import subprocess
from pathlib import Path

import torch

try:
    import triton
except ImportError:  # no wheel for this platform
    triton = None


@functools.cache
def environment(device: torch.device) -> dict[str, str]:
    """Names and versions of all that turns a kernel's source into results on ``device``."""
    found = {"torch": torch.__version__, "triton": triton.__version__ if triton else "none"}
    if device.type != "cuda":
        return {
            "gpu": device.type,
            "capability": "none",
            "driver": "none",
            "ptxas": "none",
            **found,
        }
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "gpu": torch.cuda.get_device_name(device),
        "capability": f"{major}.{minor}",
        "driver": driver_version(),
        "ptxas": ptxas_version(major),
        **found,
    }


@functools.cache
def driver_version() -> str:
    """The driver's version from NVML, such as 580.159.04; without NVML the CUDA it speaks."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        nvml = None
    text = ctypes.create_string_buffer(96)
    if nvml is None or nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, len(text)):
        return f"CUDA {torch._C._cuda_getDriverVersion()}"  # type: ignore[attr-defined]
    return text.value.decode()


@functools.cache
def ptxas_version(major: int) -> str:
    """Version and options of the assembler that Triton runs for compute capability ``major``."""
    tools = triton.knobs.nvidia
    tool = tools.ptxas_blackwell if major >= 10 else tools.ptxas
    said = subprocess.run([tool.path, "--version"], check=True, capture_output=True, text=True)
    version = re.search(r"V\d[\d.]*", said.stdout)
    options = [
        getattr(tools, "ptxas_options", None) or "",  # not in every Triton
        "unoptimised" if tools.disable_ptxas_opt else "",
    ]
    return " ".join([version[0] if version else tool.version, *filter(None, options)])


@functools.cache
def sources_digest(files: tuple[str, ...]) -> str:
    """Digest of the contents of ``files``, in the order given."""
    digest = hashlib.sha256()
    for file in files:
        content = Path(file).read_bytes()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()[:16]
