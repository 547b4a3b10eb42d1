"""What several files of these tests share."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow.tokenizer import Tokenizer, train
from tests.dataflow.corpora import sentence_text


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small one, trained on the spot."""
    generator = np.random.default_rng(3)
    texts = [sentence_text(generator, 40) for _ in range(10)]
    return train(texts, 600, tmp_path_factory.mktemp("tokenizer"))
