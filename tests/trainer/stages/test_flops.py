"""FLOPs of a model against those that torch counts, and parameters of the presets by formula."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pytest
import torch
from megatron.core.transformer.spec_utils import ModuleSpec
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from trainer.flops import count_flops, datasheet_rate, utilisation
from trainer.models import lightning, mixers
from trainer.models.mixer_flops import MixerFlops
from trainer.models.recipe import ModelRecipe
from trainer.stages.loading import RECIPES, load_model

MODEL = ModelRecipe.model_validate(
    {
        "name": "m",
        "layers": 3,
        "hidden": 24,
        "heads": 4,
        "head_dim": 8,
        "kv_heads": 2,
        "mixers": ["lightning", "softmax"],
        "experts": {"count": 5, "top_k": 2, "ffn": 12},
        "rotary_dim": 4,
    }
)
VOCABULARY, BLOCK = 50, 4


def product(rows: int, inner: int, columns: int) -> Tensor:
    """A product that torch counts; its values do not matter."""
    left = torch.zeros(rows, inner, requires_grad=True)
    return left @ torch.zeros(inner, columns, requires_grad=True)


def forward(m: ModelRecipe, segments: list[int]) -> Tensor:
    """Every product of the model, each token at a time where tokens meet."""
    n, h, inner = sum(segments), m.hidden, m.heads * m.head_dim
    total = torch.zeros(())
    for layer in range(m.layers):
        lightning = m.mixer_of(layer) == "lightning"
        kv = m.heads if lightning else m.kv_heads
        total = total + product(n, h, inner + 2 * kv * m.head_dim).sum()
        for length in segments:
            for t in range(length):
                seen = (t % BLOCK if lightning else t) + 1
                for _ in range(m.heads):
                    total = total + product(1, m.head_dim, seen).sum()  # q Kᵀ
                    total = total + product(1, seen, m.head_dim).sum()  # weights V
                    if lightning:
                        total = total + product(m.head_dim, 1, m.head_dim).sum()  # k vᵀ
                        total = total + product(1, m.head_dim, m.head_dim).sum()  # q S
        if lightning:
            total = total + product(n, h, inner).sum()  # gate
        total = total + product(n, inner, h).sum()
        total = total + product(n, h, m.experts.count).sum()
        for _ in range(m.experts.top_k):
            total = total + product(n, h, 2 * m.experts.ffn).sum()
            total = total + product(n, m.experts.ffn, h).sum()
    return total + product(n, h, VOCABULARY).sum()


@pytest.mark.parametrize("segments", [[1], [4], [9], [5, 1, 7]])
def test_counts_are_torchs(segments: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning, "BLOCK", BLOCK)
    counted = count_flops(MODEL, segments, VOCABULARY)
    with FlopCounterMode(display=False) as counter:
        loss = forward(MODEL, segments)
    assert counter.get_total_flops() == counted.forward
    with FlopCounterMode(display=False) as counter:
        loss.backward()  # type: ignore[no-untyped-call]
    assert counted.forward + counter.get_total_flops() == counted.training


def test_by_hand_for_minimax_text_01() -> None:
    # Of one token alone: twice the activated parameters without embeddings (45.94B), the head,
    # the states of 70 x 64 heads, and the one token that each head meets.
    model = load_model("minimax-text-01")
    counted = count_flops(model, [1], 200_064)
    assert counted.forward == (
        2 * 45_943_357_440
        + 2 * 200_064 * 6144
        + 70 * 64 * (4 * 128 * 128 + 4 * 128)
        + 10 * 64 * 4 * 128
    )


def test_lightning_is_linear_in_length_and_softmax_quadratic() -> None:
    model = load_model("400m")
    one, two = count_flops(model, [4096], 1), count_flops(model, [8192], 1)
    assert two.mixing["lightning"] == 2 * one.mixing["lightning"]
    assert two.mixing["softmax"] / one.mixing["softmax"] == pytest.approx(4, rel=1e-3)
    assert count_flops(model, [4096, 4096], 1).mixing["softmax"] == 2 * one.mixing["softmax"]
    million = count_flops(model, [1 << 20] * 64, 1).mixing["softmax"]
    assert million == 64 * count_flops(model, [1 << 20], 1).mixing["softmax"] > 0


def test_an_unknown_mixer() -> None:
    other = MODEL.model_copy(update={"mixers": ("toeplitz",)})
    with pytest.raises(
        ValueError, match="mixers: found 'toeplitz', expected one of lightning, soft"
    ):
        count_flops(other, [4], 10)


def test_a_mixer_brings_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shift:
        @staticmethod
        def flops(recipe: ModelRecipe, segments: npt.NDArray[np.int64]) -> MixerFlops:
            return MixerFlops(recipe.hidden * len(segments), int(segments.max()))

    class Mute:
        pass

    for name, module in (("shift", Shift), ("mute", Mute)):
        monkeypatch.setitem(mixers.MIXERS, name, ModuleSpec(module=module))
    before = count_flops(MODEL.model_copy(update={"mixers": ("softmax",)}), [4, 2], 10)
    found = count_flops(MODEL.model_copy(update={"mixers": ("softmax", "shift")}), [4, 2], 10)
    assert found.mixing == {"softmax": before.mixing["softmax"] // 3 * 2, "shift": 4}
    assert found.projections == before.projections // 3 * 2 + 2 * 24
    with pytest.raises(ValueError, match=r"no flops\(recipe, segments\) in Mute"):
        count_flops(MODEL.model_copy(update={"mixers": ("mute",)}), [4], 10)


@pytest.mark.parametrize(
    ("device", "rate"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA B200", 2250e12),
        ("NVIDIA GB200", None),
        ("NVIDIA GeForce RTX 4090", None),
        ("cpu", None),
    ],
)
def test_rates_of_devices(device: str, rate: float | None) -> None:
    assert datasheet_rate(device) == rate


def test_utilisation() -> None:
    assert utilisation(494.5e12, datasheet_rate("NVIDIA H200")) == 0.5
    assert utilisation(989e12, 989e12, devices=4) == 0.25
    assert utilisation(1e9, datasheet_rate("cpu")) is None
    for peak, devices in ((0.0, 1), (1e12, 0)):
        with pytest.raises(ValueError, match="expected"):
            utilisation(1e9, peak, devices)


def parameters(model: ModelRecipe) -> tuple[int, int]:
    """Activated and all parameters of the matrices without embeddings (MiniMax-01's count)."""
    lightning = sum(model.mixer_of(n) == "lightning" for n in range(model.layers))
    inner, h, e = model.heads * model.head_dim, model.hidden, model.experts
    softmax = 2 * h * inner + 2 * h * model.kv_heads * model.head_dim
    rest = lightning * 5 * h * inner + (model.layers - lightning) * softmax
    rest += model.layers * h * e.count
    expert = model.layers * 3 * h * e.ffn
    return rest + e.top_k * expert, rest + e.count * expert


@pytest.mark.parametrize(
    ("name", "activated", "total"),
    [("100m", 104.84, 331.33), ("400m", 415.66, 1076.26), ("1b-8b", 989.07, 7595.10)],
)
def test_parameters_of_the_presets(name: str, activated: float, total: float) -> None:
    model = load_model(name)
    found = tuple(count / 1e6 for count in parameters(model))
    assert found == pytest.approx((activated, total), abs=0.006)
    text = (RECIPES / "models" / f"{name}.yaml").read_text()
    said = re.search(r"activated ([\d.]+)M, total ([\d.]+)M", text)
    assert said is not None
    assert tuple(map(float, said.groups())) == (activated, total)
    assert model.layers % 8 == 0
    assert model.head_dim == 128
    assert not any(width % 128 for width in (model.hidden, model.experts.ffn))
    assert model.mixers == ("lightning",) * 7 + ("softmax",)


def test_the_papers_count_of_parameters() -> None:
    activated, total = parameters(load_model("minimax-text-01"))
    assert activated / 1e9 == pytest.approx(45.94, abs=0.01)
    assert (total + 2 * 200_064 * 6144) / 1e9 == pytest.approx(456.09, abs=0.01)
