"""Weights go out and come back bit for bit, whole and by ranks."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.trainer.judges import VOCAB, recipe_of
from tests.trainer.convert.cases import drawn_recipe, same_bits, weights_of
from trainer.convert import Checkpoint, export_weights, read_config, read_weights
from trainer.convert.names import parameters
from trainer.convert.ranks import Place, cut, join
from trainer.models.recipe import ModelRecipe


def export(
    weights: dict[str, Tensor], recipe: ModelRecipe, folder: Path, max_shard_bytes: int = 4000
) -> dict[str, Tensor]:
    """Export to the released layout in a random order, and read the files with safetensors."""
    order = list(weights.items())
    random.Random(7).shuffle(order)
    export_weights(
        iter(order),
        recipe,
        folder,
        layout="released",
        vocab_size=VOCAB,
        rope_base=10_000.0,
        positions=64,
        max_shard_bytes=max_shard_bytes,
    )
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors = load_file(file)
        size = sum(one.nbytes for one in tensors.values())
        assert size <= max_shard_bytes or len(tensors) == 1
        assert not found.keys() & tensors.keys()
        found |= tensors
    return found


@pytest.mark.parametrize("seed", range(25))
def test_round_trip(tmp_path: Path, seed: int) -> None:
    """import(export(x)) = x and export(import(y)) = y, of random recipes and dtypes."""
    draw, recipe = random.Random(seed), drawn_recipe(seed)
    rows = draw.choice([VOCAB, VOCAB + 1, 128])
    dtype = draw.choice([torch.float32, torch.bfloat16, torch.float16, torch.float64])
    weights = weights_of(recipe, seed, rows=rows, dtype=dtype)
    first = export(weights, recipe, tmp_path / "a", draw.choice([1, 1000, 10**9]))
    table = parameters(recipe, VOCAB)
    assert first.keys() == {key for one in table.values() for key in one.keys}
    index = json.loads((tmp_path / "a/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(one.nbytes for one in first.values())

    checkpoint = Checkpoint(tmp_path / "a")
    back = dict(read_weights(checkpoint, recipe, vocab_size=VOCAB, vocab_rows=rows))
    assert list(back) == list(weights)
    assert all(same_bits(back[name], weights[name]) for name in weights)

    second = export(back, recipe, tmp_path / "b")
    assert second.keys() == first.keys()
    assert all(same_bits(second[key], first[key]) for key in first)


def test_not_a_number_and_signed_zero_survive(tmp_path: Path) -> None:
    recipe = recipe_of(layers=1)
    weights = weights_of(recipe)
    odd = torch.tensor([float("nan"), -0.0, float("inf"), 1e-45])
    weights["decoder.final_layernorm.weight"][:4] = odd
    export(weights, recipe, tmp_path / "a")
    back = dict(read_weights(Checkpoint(tmp_path / "a"), recipe, vocab_size=VOCAB))
    name = "decoder.final_layernorm.weight"
    assert same_bits(back[name], weights[name])


def test_equal_weights_make_equal_bytes(tmp_path: Path) -> None:
    """Files do not depend on the order in which the weights came."""
    recipe = recipe_of()
    weights = weights_of(recipe)
    export(weights, recipe, tmp_path / "a")
    export(dict(reversed(weights.items())), recipe, tmp_path / "b")
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert len(names) > 5
    assert names == sorted(file.name for file in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("tp", "ep"), [(2, 1), (1, 2), (2, 4), (4, 2)])
def test_ranks_hold_what_they_should(tmp_path: Path, seed: int, tp: int, ep: int) -> None:
    """Each rank reads its part of the whole; the parts of all make the whole again."""
    draw = random.Random(seed)
    recipe = recipe_of(
        layers=2,
        heads=8,
        kv_heads=draw.choice([4, 8]),
        head_dim=draw.choice([2, 4]),
        hidden=draw.randint(1, 9),
        experts=(4, 2, draw.randint(1, 6)),
    )
    rows = 64 * tp
    weights = weights_of(recipe, seed, rows=max(rows, 128))
    rows = max(rows, 128)
    export(weights, recipe, tmp_path / "a")
    checkpoint, table = Checkpoint(tmp_path / "a"), parameters(recipe, VOCAB)
    read = {
        place: dict(
            read_weights(checkpoint, recipe, vocab_size=VOCAB, vocab_rows=rows, place=place)
        )
        for place in (Place(t, tp, e, ep) for t in range(tp) for e in range(ep))
    }
    for name, whole in weights.items():
        parts: dict[int, Tensor] = {}
        for place, held in read.items():
            part, count = place.part_of(table[name])
            assert same_bits(held[name], cut(table[name], whole, part, count))
            parts[part] = held[name]
        assert same_bits(join(table[name], [parts[part] for part in sorted(parts)]), whole)


def test_softmax_rows_lie_group_by_group(tmp_path: Path) -> None:
    """The first of two ranks has the first groups' query heads, then their keys and values."""
    recipe = recipe_of(
        layers=1, mixers=("softmax",), heads=4, kv_heads=2, head_dim=3, hidden=1, rotary_dim=2
    )
    weights = weights_of(recipe)
    name, theirs = "decoder.layers.0.self_attention.linear_qkv.weight", "model.layers.0.self_attn"
    released = export(weights, recipe, tmp_path / "a")
    q, k, v = (released[f"{theirs}.{one}_proj.weight"] for one in "qkv")
    expected = torch.cat([q[:6], k[:3], v[:3], q[6:], k[3:], v[3:]])
    assert same_bits(weights[name], expected)
    place = Place(0, 2)
    rank = read_weights(
        Checkpoint(tmp_path / "a"), recipe, vocab_size=VOCAB, vocab_rows=128, place=place
    )
    assert same_bits(dict(rank)[name], expected[:12])


def test_experts_gate_is_w1(tmp_path: Path) -> None:
    recipe = recipe_of(layers=1, experts=(3, 1, 5))
    weights = weights_of(recipe)
    released = export(weights, recipe, tmp_path / "a")
    stem = "model.layers.0.block_sparse_moe.experts.2"
    gate_up = weights["decoder.layers.0.mlp.experts.gate_up"][2]
    assert same_bits(released[f"{stem}.w1.weight"], gate_up[:5])
    assert same_bits(released[f"{stem}.w3.weight"], gate_up[5:])
    assert same_bits(released[f"{stem}.w2.weight"], weights["decoder.layers.0.mlp.experts.down"][2])


def test_reads_only_the_tensors_of_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(layers=2, experts=(4, 1, 5))
    export(weights_of(recipe), recipe, tmp_path / "a")
    checkpoint = Checkpoint(tmp_path / "a")
    read: list[str] = []
    whole = Checkpoint.read

    def spy(self: Checkpoint, key: str) -> Tensor:
        read.append(key)
        return whole(self, key)

    monkeypatch.setattr(Checkpoint, "read", spy)
    names = [name for name in parameters(recipe, VOCAB) if ".layers.1." in name]
    place = Place(ep_rank=1, ep=2)
    found = dict(read_weights(checkpoint, recipe, vocab_size=VOCAB, place=place, names=names))
    assert list(found) == names
    stem = "model.layers.1.block_sparse_moe.experts"
    experts = {f"{stem}.{e}.{w}.weight" for e in (2, 3) for w in ("w1", "w2", "w3")}
    assert {key for key in read if ".experts." in key} == experts
    assert all(key.startswith("model.layers.1.") for key in read)
    assert len(read) == len(set(read))


def test_a_single_file_and_saved_buffers_are_read(tmp_path: Path) -> None:
    """As small models of transformers come: one file, no index, buffers beside the weights."""
    recipe = recipe_of()
    weights = weights_of(recipe)
    tensors = export(weights, recipe, tmp_path / "a")
    folder = tmp_path / "b"
    folder.mkdir()
    for buffer in ("slope_rate", "query_decay", "key_decay", "diagonal_decay"):
        tensors[f"model.layers.0.self_attn.{buffer}"] = torch.zeros(3)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    back = dict(read_weights(Checkpoint(folder), recipe, vocab_size=VOCAB))
    assert all(same_bits(back[name], weights[name]) for name in weights)


def test_rounding_is_asked_for(tmp_path: Path) -> None:
    recipe = recipe_of(layers=1)
    weights = weights_of(recipe)
    export_weights(
        weights.items(),
        recipe,
        tmp_path / "a",
        layout="transformers",
        vocab_size=VOCAB,
        rope_base=10_000.0,
        positions=64,
        dtype=torch.bfloat16,
    )
    back = dict(read_weights(Checkpoint(tmp_path / "a"), recipe, vocab_size=VOCAB))
    assert all(same_bits(back[name], weights[name].bfloat16()) for name in weights)
    config = json.loads((tmp_path / "a/config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert read_config(tmp_path / "a")[1] == "transformers"


def test_holds_one_tensor_at_a_time(tmp_path: Path) -> None:
    """Each tensor is let go of before the next is asked for."""
    recipe = recipe_of()
    alive: set[str] = set()

    class Held(torch.Tensor):
        name = ""

        def __del__(self) -> None:
            alive.discard(self.name)

    def one_by_one() -> object:
        for name, tensor in weights_of(recipe).items():
            assert not alive
            held = tensor.as_subclass(Held)
            held.name = name
            alive.add(name)
            yield name, held
            del held

    export_weights(
        one_by_one(),  # type: ignore[arg-type]
        recipe,
        tmp_path / "a",
        layout="released",
        vocab_size=VOCAB,
        rope_base=10_000.0,
        positions=64,
    )
    assert (tmp_path / "a/model-00001-of-00001.safetensors").exists()
