"""A model with a tower in MiniMax-VL-01's layout, and back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.ranks import run_ranks
from tests.trainer.vision.cases import IMAGE, LENGTH, VOCAB, batch, build, recipe
from trainer.convert import (
    Checkpoint,
    ConversionError,
    export_model,
    export_weights,
    import_model,
    read_config,
    read_weights,
    write_config,
)
from trainer.convert.clip import import_clip
from trainer.convert.config import check_same, recipe_of
from trainer.convert.exported import open_exported
from trainer.convert.from_run import export_run
from trainer.convert.names import parameters
from trainer.convert.saved_run import open_run
from trainer.convert.to_run import import_run
from trainer.data.corpus import Corpus
from trainer.data.tokenizers import tokenizer_of
from trainer.generation.loading import open_decoder
from trainer.megatron.start import Layout, start
from trainer.models.build import build_model
from trainer.models.recipe import ModelRecipe
from trainer.models.segments import pack
from trainer.reference import Reference
from trainer.stages.loading import load_model
from vl_data.tiling import TILINGS

MODEL = recipe()

# Of the configuration that was released with MiniMax-VL-01, as far as it is of the computation.
RELEASED_VISION = {
    "attention_dropout": 0.0,
    "hidden_act": "gelu",
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "layer_norm_eps": 1e-05,
    "model_type": "clip_vision_model",
    "num_attention_heads": 16,
    "num_channels": 3,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "projection_dim": 6144,
}
RELEASED = {
    "image_token_index": 200025,
    "model_type": "minimax_vl_01",
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "default",
}


def written(model: ModelRecipe = MODEL, **changes: Any) -> dict[str, Any]:
    config = write_config(
        model, "released", vocab_size=VOCAB, rope_base=1e4, positions=64, eos_token_id=1
    )
    return json.loads(json.dumps(config)) | changes  # type: ignore[no-any-return]


def test_the_released_keys() -> None:
    """All 8,637 of MiniMax-VL-01's index, whose digest transformers' port of the model tests."""
    table = parameters(load_model("minimax-vl-01"), 200_064)
    keys = sorted(key for one in table.values() for key in one.keys)
    assert len(keys) == len(set(keys)) == 8637
    digest = hashlib.sha256("\n".join(keys).encode()).hexdigest()
    assert digest == "d0caf1b714cdfc4caa65b56cbec591668d77b0e2a5d6cf3b5af169531311c886"


def test_the_released_configuration() -> None:
    model = load_model("minimax-vl-01")
    config = write_config(model, "released", vocab_size=200_064, rope_base=1e7, positions=8192)
    assert RELEASED.items() <= config.items()
    assert config["vision_config"] == RELEASED_VISION
    assert len(config["image_grid_pinpoints"]) == 28
    text = config["text_config"]
    assert (text["model_type"], text["max_position_embeddings"]) == ("minimax_text_01", 8192)
    found, layout = recipe_of(config, name="minimax-vl-01")
    assert layout == "released"
    assert found.vision == model.vision
    check_same(model, found, "config.json")


@pytest.mark.parametrize("tiling", ["released28", "released36", "fixed336"])
@pytest.mark.parametrize("token", [None, 7])
def test_configuration_round_trip(tiling: str, token: int | None) -> None:
    model = recipe(vision={"tile": 336, "tiling": tiling, "image_token": token})
    config = written(model)
    found, _ = recipe_of(config, name="x")
    assert found.vision == model.vision
    listed = "image_grid_pinpoints"
    again, _ = recipe_of(config | {listed: str([tuple(grid) for grid in config[listed]])}, name="x")
    assert again.vision == model.vision
    assert config["process_image_mode"] == ("anyres" if TILINGS[tiling].grids else "resize")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vision_feature_layer": -2}, "vision_feature_layer: found -2, expected -1"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act: found 'relu', expected 'gelu'"),
        (
            {"image_grid_pinpoints": [[56, 56]]},
            "expected the grids of one of the tilings released28",
        ),
        (
            {"image_grid_pinpoints": "[(56,"},
            "image_grid_pinpoints: found '\\[\\(56,', expected a li",
        ),
        ({"text_config": None}, "text_config: found None, expected a value of type dict"),
        ({"vision_config": {}}, "vision_config, image_size: found none, expected a value of"),
    ],
)
def test_configurations_that_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConversionError, match=said):
        recipe_of(written(**change), name="x")


def test_a_tower_of_no_tiling_is_refused() -> None:
    vision = written()["vision_config"] | {"image_size": 224}
    with pytest.raises(
        ConversionError, match=r"image_size: found 224, expected with patch_size 14"
    ):
        recipe_of(written(vision_config=vision), name="x")
    vision = written()["vision_config"] | {"hidden_act": "relu"}
    with pytest.raises(ConversionError, match="hidden_act: found 'relu', expected gelu or quick"):
        recipe_of(written(vision_config=vision), name="x")


def test_weights_of_another_tower_are_refused() -> None:
    other = recipe(vision={"layers": 3})
    with pytest.raises(ConversionError, match=r"x: found vision\.layers 2, expected 3, as recipe"):
        check_same(other, MODEL, "x")
    with pytest.raises(ConversionError, match="x: found vision 'a tower', expected None"):
        check_same(recipe(vision=None), MODEL, "x")
    check_same(recipe(vision={"image_token": None}), MODEL, "x")
    with pytest.raises(ConversionError, match=r"x: found vision\.image_token 2, expected 5"):
        check_same(recipe(vision={"image_token": 5}), MODEL, "x")


def test_transformers_has_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="found a vision block, expected none: the transform"):
        write_config(MODEL, "transformers", vocab_size=VOCAB, rope_base=1e4, positions=64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_round_trip(tmp_path: Path, dtype: torch.dtype) -> None:
    """import(export(x)) = x, bit for bit."""
    generator = torch.Generator().manual_seed(0)
    table = parameters(MODEL, VOCAB)
    weights = {n: torch.randn(p.shape, generator=generator).to(dtype) for n, p in table.items()}
    export_weights(
        weights.items(), MODEL, tmp_path / "a",
        layout="released", vocab_size=VOCAB, rope_base=1e4, positions=64, max_shard_bytes=20_000,
    )  # fmt: skip
    back = dict(read_weights(Checkpoint(tmp_path / "a"), MODEL, vocab_size=VOCAB))
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    tensors: dict[str, torch.Tensor] = {}
    for file in (tmp_path / "a").glob("*.safetensors"):
        tensors |= load_file(file)
    q, k, v = (
        tensors[f"vision_tower.vision_model.encoder.layers.1.self_attn.{one}_proj.bias"]
        for one in "qkv"
    )
    # Head after head, of each its query, key and value.
    rows = weights["vision_tower.blocks.1.self_attention.linear_qkv.bias"].view(4, 3, 6)
    for part, whole in enumerate((q, k, v)):
        assert torch.equal(rows[:, part].flatten(), whole)
    found = open_exported(tmp_path / "a")
    assert (found.dtype(), found.positions, found.vocab_size) == (dtype, 64, VOCAB)


def through_ranks(layout: Layout, folder: Path) -> float:
    """Imports ``folder/a`` and exports it to ``folder/b``; the sum of a batch's losses."""
    place = start(layout, 7)
    ends = {"pre_process": place.is_first_stage, "post_process": place.is_last_stage}
    free = recipe(vision={"image_token": None})
    model = build(free, layout, image_token=2, **ends)
    import_model(folder / "a", model, free)
    if (folder / "clip").exists():
        import_clip(folder / "clip", model)
    export_model(model, free, folder / "b", layout="released", positions=LENGTH)
    if layout.pp > 1:
        return 0.0
    with torch.no_grad():
        return sum(
            float(model(x.tokens, x.labels, pack(x.cu_seqlens, LENGTH), "sum", x.images))
            for x in batch()
        )


def test_ranks_import_and_export(tmp_path: Path) -> None:
    """Every layout computes the same, and writes the same bytes again."""
    expected = 0.0
    for number, (layout, world) in enumerate(((Layout(), 1), (Layout(tp=2), 2), (Layout(pp=2), 2))):
        folder = tmp_path / str(number)
        folder.mkdir()
        if number:
            (folder / "a").symlink_to(tmp_path / "0/b")
        else:
            run_ranks(first, 1, folder)
        found = run_ranks(through_ranks, world, layout, folder)
        if layout.pp == 1:
            expected = expected or found[0]
            assert found == pytest.approx([expected] * world, rel=1e-6)
        same_files(folder / "a", folder / "b")


def test_ranks_read_their_part_of_a_clip(tmp_path: Path) -> None:
    """A tower's own files, here those of an exported model, are cut as the model is."""
    run_ranks(first, 1, tmp_path)
    (tmp_path / "clip").mkdir()
    config = json.loads((tmp_path / "a/config.json").read_text())["vision_config"]
    (tmp_path / "clip/config.json").write_text(json.dumps(config))
    for file in (tmp_path / "a").iterdir():
        if file.name != "config.json":
            (tmp_path / "clip" / file.name).symlink_to(file)
    run_ranks(through_ranks, 2, Layout(tp=2), tmp_path)
    same_files(tmp_path / "a", tmp_path / "b")


def first(folder: Path) -> None:
    start(Layout(), 7)
    model = build(MODEL, Layout(), seed=4)
    export_model(model, MODEL, folder / "a", layout="released")


def same_files(a: Path, b: Path) -> None:
    """Two folders hold the same names and bytes."""
    names = sorted(file.name for file in a.iterdir())
    assert len(names) > 2
    assert names == sorted(file.name for file in b.iterdir())
    for name in names:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_text_is_generated_from_it(tmp_path: Path) -> None:
    """A decoder reads the text model's part of an exported model."""
    run_ranks(first, 1, tmp_path)
    found, layout = read_config(tmp_path / "a")
    assert (found.vision, layout) == (MODEL.vision, "released")
    decoder, _, about = open_decoder(tmp_path / "a", device="cpu")
    assert (about.model, about.vocab_size) == ("a", VOCAB)
    text = parameters(recipe(vision=None), VOCAB)
    assert decoder.weights.keys() == {key for one in text.values() for key in one.keys}
    tokens = batch()[1].tokens[:20]
    expected = Reference(MODEL, dict(decoder.weights)).forward(tokens[None])[0]
    _, logits = decoder.prefill([tokens])
    torch.testing.assert_close(logits[0], expected[-1], rtol=1e-4, atol=1e-5)


def free_of(folder: Path, vocabulary: int) -> None:
    """A model whose recipe leaves the image token to the tokenizer, told it, to ``folder``."""
    start(Layout(), 7)
    free = recipe(vision={"image_token": None}, vocab_size=vocabulary)
    model = build_model(
        free,
        vocab_size=vocabulary,
        sequence_tokens=LENGTH,
        rope_base=1e4,
        parallel=Layout(),
        image_token=IMAGE,
    )
    export_model(model, free, folder, layout="released")


def test_a_run_is_made_of_it_and_written_again(tmp_path: Path, built_run: Path) -> None:
    """With the configuration's recipe, and with one that leaves the image token open."""
    corpus = Corpus.open(str(built_run))
    tokenizer = tokenizer_of(corpus.run)
    corpus.close()
    assert tokenizer.specials["image"] == IMAGE
    run_ranks(free_of, 1, tmp_path / "a", tokenizer.vocab_size)
    exported = open_exported(tmp_path / "a")
    assert exported.recipe.vision is not None
    assert exported.recipe.vision.image_token == IMAGE
    opened = recipe(vision={"image_token": None})
    for number, given in enumerate((None, opened)):
        made, again = tmp_path / f"run-{number}", tmp_path / f"again-{number}"
        import_run(exported, made, tokenizer=tokenizer, model=given)
        export_run(open_run(made), again, layout="released")
        config = json.loads((again / "config.json").read_text())
        assert config["image_token_index"] == IMAGE
        for file in (tmp_path / "a").glob("*.safetensors"):
            assert (again / file.name).read_bytes() == file.read_bytes()
    model = load_model(tmp_path / "run-0/a.yaml")
    assert model.vision == exported.recipe.vision
    other = recipe(vision={"image_token": IMAGE + 1})
    with pytest.raises(ConversionError, match=r"vision\.image_token 2, expected 3"):
        import_run(exported, tmp_path / "b", tokenizer=tokenizer, model=other)
