"""Names of parameters that do not depend on the pipeline stage."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from trainer.models.language_model import LanguageModel

_LAYERS = "decoder.layers."


def global_name(model: LanguageModel, name: str) -> str:
    """``name`` of a parameter or module of ``model``, with layers numbered over all stages from 0.

    Megatron-Core numbers the layers of each pipeline stage from 0.
    """
    if not name.startswith(_LAYERS):
        return name
    local, _, rest = name.removeprefix(_LAYERS).partition(".")
    number = model.decoder.layers[int(local)].layer_number - 1
    return f"{_LAYERS}{number}" + (f".{rest}" if rest else "")


def global_parameters(model: LanguageModel) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters of this stage under their global names, in order."""
    for name, parameter in model.named_parameters():
        yield global_name(model, name), parameter
