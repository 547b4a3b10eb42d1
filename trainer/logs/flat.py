"""Records as flat names and numbers, which is what TensorBoard and wandb draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

import numpy as np


def flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a record by their path: ``grad_norms/layer 3``; what is no number is left out.

    Lists, such as the load of each expert, have an entry's position as its name.
    """
    for key, value in record.items():
        name = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if isinstance(value, Mapping):
            yield from flat(value, name)
        elif isinstance(value, (list, tuple)):
            yield from flat({str(i): item for i, item in enumerate(value)}, name)
        elif isinstance(value, Real) and not isinstance(value, bool):
            yield name, float(value)
