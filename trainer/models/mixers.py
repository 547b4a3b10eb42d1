"""Token mixers by the names that recipes give them. A new one is a file and a line here.

A mixer is a module that is built with ``config, layer_number, pg_collection``, maps hidden states
``[T, 1, h]`` and ``packed_seq_params`` to ``(hidden states, None)``, and says with ``deviations()``
how its weights are drawn and with ``flops(recipe, segments)`` what it costs (``mixer_flops``). It
must forget at every boundary of ``cu_seqlens``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from megatron.core.transformer.spec_utils import ModuleSpec

from trainer.models.lightning import LightningAttention
from trainer.models.mixer_flops import MixerFlops
from trainer.models.recipe import ModelRecipe
from trainer.models.softmax import SoftmaxAttention

MIXERS: dict[str, ModuleSpec] = {
    "lightning": ModuleSpec(module=LightningAttention),
    "softmax": ModuleSpec(module=SoftmaxAttention),
}


def mixer(name: str) -> ModuleSpec:
    """What builds the mixer of this name.

    Raises:
        ValueError: for a name that no mixer has.
    """
    if name not in MIXERS:
        raise ValueError(f"mixers: found {name!r}, expected one of {', '.join(sorted(MIXERS))}")
    return MIXERS[name]


def mixer_flops(name: str, recipe: ModelRecipe, segments: npt.NDArray[np.int64]) -> MixerFlops:
    """What one layer of the mixer of this name costs over segments of so many tokens each.

    Raises:
        ValueError: for a name that no mixer has, or a mixer that does not say.
    """
    module = mixer(name).module
    if not hasattr(module, "flops"):
        raise ValueError(
            f"mixers: found no flops(recipe, segments) in {module.__name__}, expected its count; "
            "add it to the mixer's file"
        )
    found: MixerFlops = module.flops(recipe, segments)
    return found
