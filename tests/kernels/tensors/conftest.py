"""Kernels on the GPU where there is one, else under Triton's interpreter on the CPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

HAS_GPU = torch.cuda.is_available()
if not HAS_GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # before any kernel is imported
    from kernels.triton_support import INTERPRETED

    if not INTERPRETED:
        raise pytest.UsageError(
            "found kernels that were imported to be compiled, by tests of another room in this "
            "process; run rooms apart: python -m tests.rooms"
        )

    from tests.kernels.tensors import mended_interpreter

    mended_interpreter.mend()

torch.backends.cuda.matmul.allow_tf32 = False
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` need one. On one, what compiles for longest starts first.

    Those are the tests that draw many shapes: left to the end, they would run alone.
    """
    if HAS_GPU:
        items.sort(key=lambda item: not hasattr(getattr(item, "obj", None), "hypothesis"))
        return
    skip = pytest.mark.skip(reason="needs a CUDA GPU: make test-gpu")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture
def device() -> torch.device:
    """Where the tensors of a test live."""
    return torch.device("cuda" if HAS_GPU else "cpu")


@pytest.fixture(params=["triton", "plain"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both forms of every operator: the kernels, and the plain torch that runs without them."""
    if request.param == "plain":
        for name, module in list(sys.modules.items()):
            if name.startswith("kernels.") and hasattr(module, "runs_triton"):
                monkeypatch.setattr(module, "runs_triton", lambda _: False)
    return str(request.param)


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Fill fresh memory with NaN, so that what a kernel does not write shows.

    A test that took much memory of a GPU gives it back: other processes run tests beside it.
    """
    settings: Any = torch.utils.deterministic
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    settings.fill_uninitialized_memory = before
    if HAS_GPU and torch.cuda.memory_reserved() > 2**30:
        torch.cuda.empty_cache()
