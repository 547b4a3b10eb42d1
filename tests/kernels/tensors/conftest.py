"""Kernels on the GPU where there is one, else under Triton's interpreter on the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

HAS_GPU = torch.cuda.is_available()
if not HAS_GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # before any kernel is imported

    from tests.kernels.tensors import mended_interpreter

    mended_interpreter.mend()

torch.backends.cuda.matmul.allow_tf32 = False
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` need one."""
    if HAS_GPU:
        return
    skip = pytest.mark.skip(reason="needs a CUDA GPU: make test-gpu")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture
def device() -> torch.device:
    """Where the tensors of a test live."""
    return torch.device("cuda" if HAS_GPU else "cpu")


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Fill fresh memory with NaN, so that what a kernel does not write shows."""
    settings: Any = torch.utils.deterministic
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    settings.fill_uninitialized_memory = before
