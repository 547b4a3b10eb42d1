"""The metrics of a run out of what ``python -m trainer evaluate --json`` answered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mixtures.studies.recipe import HeldOutOf

ITEM_METRICS = ("log_acc_norm2", "acc", "acc_norm")


def bits_per_byte(loss: Mapping[str, Any], held_out: HeldOutOf) -> dict[str, float]:
    """Bits per byte by source, and of "all" over the sources that count.

    A source's bytes follow from its loss in nats a token, its tokens and its bits per byte; "all"
    is bits over bytes, as the trainer has it over every source. A source with no held-out text
    that was read is absent.

    Raises
    ------
    ValueError
        If none of the sources that count has any.
    """
    found: dict[str, float] = {}
    bits = size = 0.0
    for group in loss["sources"]:
        if group["bits_per_byte"] is None:
            continue
        value = found[group["name"]] = group["bits_per_byte"]["value"]
        if held_out.counts(group["name"]):
            mine = group["loss"]["value"] * group["tokens"] / math.log(2)
            bits += mine
            size += mine / value
    if not size:
        raise ValueError(
            f"found held-out text of {', '.join(found) or 'no source'}, expected some of the "
            "sources that metrics.held_out counts; name others, or raise its tokens"
        )
    return {"all": bits / size, **found}


def item_metrics(choices: Mapping[str, Any]) -> tuple[dict[str, float], list[float]]:
    """Means of a file of items, and each item's log_acc_norm2.

    ``choices`` is the answer of one file, or a mapping of one name to it.
    """
    if "acc" not in choices:
        (choices,) = choices.values()
    values = {name: choices[name] for name in ITEM_METRICS}
    means = {n: float(v["value"] if isinstance(v, Mapping) else v) for n, v in values.items()}
    samples = choices["samples"]
    if isinstance(samples, Mapping):
        samples = samples["log_acc_norm2"]
    return means, [float(value) for value in samples]
