"""Process groups of one rank, for tests that build a model in their own process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from trainer.megatron import start
from trainer.megatron.start import Layout


@pytest.fixture(scope="module")
def alone() -> Iterator[None]:
    torch.set_num_threads(1)
    start.start(Layout(), 1)
    yield
    start.stop()
