"""What the evaluations' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dataflow.tokenizer import Tokenizer
from tests.trainer.evaluation.models import small_decoder, small_tokenizer
from trainer.generation.decoder import Decoder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    return small_decoder()
