"""Prompt types drawn with balanced probability (MiniMax-01, section 6.1).

By weights, for whoever draws samples one by one; or a whole draw at once, in which types that have
too few samples give all they have and the others share what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from vl_data.mix.odds import below, word


def draw_type(types: Sequence[str], content_id: bytes, seed: int = 0) -> str:
    """One of the prompt types a sample can be asked in, each as likely."""
    return sorted(types)[below("prompt-type", seed, content_id, len(types))]


def balanced_weights(types: Sequence[str]) -> npt.NDArray[np.float64]:
    """Probabilities of samples, float64 [n], that sum to 1 and give every type the same."""
    counts = Counter(types)
    return np.array([1 / (len(counts) * counts[name]) for name in types], dtype=np.float64)


def quotas(available: Mapping[str, int], count: int) -> dict[str, int]:
    """How many of each type: as even as what is available allows.

    Where the count cannot be divided, those with more to give get one more.

    Raises
    ------
    ValueError
        If there are fewer in all.
    """
    if count > sum(available.values()):
        raise ValueError(
            f"found {sum(available.values())} samples to draw from, expected at least the {count} "
            "asked for; ask for fewer or allow more repeats"
        )
    found: dict[str, int] = {}
    left = count
    # The scarcest first: what it lacks is shared by those after it.
    scarcest = sorted(available, key=lambda name: (available[name], name))
    for i, name in enumerate(scarcest):
        found[name] = min(available[name], left // (len(scarcest) - i))
        left -= found[name]
    return found


def draw_balanced(
    ids: Sequence[bytes], types: Sequence[str], count: int, seed: int = 0, repeats: int = 1
) -> list[int]:
    """Which samples to take, in which order, so that types are as even as they can be.

    Parameters
    ----------
    ids : sequence of bytes
        Content ids, one a sample; the draw hangs on them and the seed, never on their order.
    types : sequence of str
        The prompt type of each.
    count : int
        How many to draw.
    repeats : int
        How often one sample may be drawn. None is drawn twice before all of its type are once.

    Returns
    -------
    list of int
        Places in ``ids``.

    Raises
    ------
    ValueError
        If there are fewer than ``count`` samples times ``repeats``, or ids and types differ in
        number.
    """
    if len(ids) != len(types):
        raise ValueError(f"found {len(ids)} ids and {len(types)} types, expected as many")
    by_type: dict[str, list[tuple[int, int, bytes, int]]] = {name: [] for name in types}
    for i, (key, name) in enumerate(zip(ids, types, strict=True)):
        for time in range(repeats):
            place = word(f"balanced.{time}", seed, key)
            by_type[name].append((time, place, key, i))
    wanted = quotas({name: len(found) for name, found in by_type.items()}, count)
    chosen = [draw for name, found in by_type.items() for draw in sorted(found)[: wanted[name]]]
    return [i for _, _, _, i in sorted(chosen, key=lambda draw: (draw[1], draw[2], draw[0]))]
