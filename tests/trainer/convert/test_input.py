"""Folders and weights that are wrong: the error says where, what was found and expected."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.trainer.judges import VOCAB, recipe_of
from tests.trainer.convert.cases import weights_of
from trainer.convert import Checkpoint, ConversionError, export_weights, read_weights
from trainer.convert.ranks import Place
from trainer.convert.writer import ShardWriter

RECIPE = recipe_of(layers=2)
INDEX = "model.safetensors.index.json"


def export(folder: Path, weights: Any = None, **rest: Any) -> None:
    values: dict[str, Any] = {
        "layout": "released",
        "vocab_size": VOCAB,
        "rope_base": 10_000.0,
        "positions": 64,
        "max_shard_bytes": 9000,
    }
    given = weights_of(RECIPE).items() if weights is None else weights
    export_weights(given, RECIPE, folder, **(values | rest))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export(tmp_path / "model")
    return tmp_path / "model"


def shard_of(folder: Path, key: str) -> Path:
    return folder / str(json.loads((folder / INDEX).read_text())["weight_map"][key])


def change(folder: Path, key: str, make: Callable[[dict[str, Tensor]], object]) -> Path:
    """Rewrite the shard of a key, with tensors changed in place."""
    file = shard_of(folder, key)
    tensors = load_file(file)
    make(tensors)
    save_file(tensors, file, {"format": "pt"})
    return file


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(ConversionError) as error:
        read_weights(Checkpoint(folder), RECIPE, vocab_size=VOCAB)
    for part in parts:
        assert part in str(error.value)


def test_truncated_shards(folder: Path) -> None:
    file = sorted(folder.glob("*.safetensors"))[1]
    whole = file.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 100, 8, 3, 0):
        file.write_bytes(whole[:size])
        refused(folder, str(file), f"found {size} bytes, expected", "cut short")
    file.write_bytes(whole + b"more")
    refused(folder, str(file), f"found {len(whole) + 4} bytes, expected {len(whole)}")
    one = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":%s}}'
    for text, part in (
        (b'{"a": 3}', ""),
        (b"[]", ""),
        (b"\xff", ""),
        (one % b"[0]", ""),
        (one % b"[0,4]", "a: found bytes 0 to 4 for F32 (2,)"),
        (one % b"[-8,0]", "a: found bytes -8 to 0 for F32 (2,)"),
    ):
        file.write_bytes(len(text).to_bytes(8, "little") + text)
        refused(folder, str(file), "found a header that does not read", part)
    file.unlink()
    refused(folder, str(file), "found no such file")


def test_a_shard_that_shrinks_while_it_is_read(folder: Path) -> None:
    weights = read_weights(Checkpoint(folder), RECIPE, vocab_size=VOCAB)
    key = "model.layers.1.block_sparse_moe.experts.3.w2.weight"
    file = shard_of(folder, key)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ConversionError, match=r"found a tensor that does not read") as error:
        dict(weights)
    assert str(error.value).startswith(f"{file}, ")


def test_folders_without_weights(tmp_path: Path) -> None:
    refused(tmp_path, str(tmp_path), "found neither", INDEX)
    for text in ("{", "{}", "[]", '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../b"}}'):
        (tmp_path / INDEX).write_text(text)
        refused(tmp_path, str(tmp_path / INDEX), "found no weight_map")


def test_shards_that_are_not_as_the_index_says(folder: Path) -> None:
    key = "model.layers.0.self_attn.norm.weight"
    file = change(folder, key, lambda tensors: tensors.pop(key))
    refused(folder, str(file), f"found 1 keys missing: {key}", INDEX)
    change(folder, "model.norm.weight", lambda tensors: tensors.update(more=torch.zeros(2)))
    (folder / INDEX).write_text((folder / INDEX).read_text().replace(key, "model.norm.weight"))
    with pytest.raises(ConversionError):
        Checkpoint(folder)


def test_missing_and_unknown_keys(tmp_path: Path, folder: Path) -> None:
    tensors = {
        key: one for file in folder.glob("*.safetensors") for key, one in load_file(file).items()
    }
    other = tmp_path / "other"
    other.mkdir()
    gone, odd = "model.layers.1.self_attn.k_proj.weight", "model.layers.1.self_attn.q_norm.weight"
    tensors[odd] = tensors.pop(gone)
    save_file(tensors, other / "model.safetensors")
    refused(
        other,
        str(other / "model.safetensors"),
        f"found 1 keys missing: {gone}; found 1 unknown keys: {odd}",
    )
    for e in range(7):
        tensors[f"mtp.{e}"] = torch.zeros(1)
    save_file(tensors, other / "model.safetensors")
    refused(other, "found 8 unknown keys", "mtp.0", "and 3 more")


def test_shapes_and_dtypes(folder: Path) -> None:
    key = "model.layers.0.block_sparse_moe.gate.weight"
    file = change(folder, key, lambda tensors: tensors.update({key: torch.zeros(4, 23)}))
    refused(folder, f"{file}, {key}: found F32 [4, 23], expected [4, 24]")
    change(folder, key, lambda tensors: tensors.update({key: torch.zeros(4, 24).int()}))
    refused(folder, f"{file}, {key}: found I32 [4, 24], expected [4, 24] of F64, F32")


def test_ranks_that_do_not_divide(folder: Path) -> None:
    checkpoint = Checkpoint(folder)
    with pytest.raises(ConversionError, match=r"found 75 in dimension 0, expected a multiple of 2"):
        read_weights(checkpoint, RECIPE, vocab_size=VOCAB, place=Place(0, 2))
    with pytest.raises(ConversionError, match=r"gate_up: found 4 in dimension 0, .* of 3 ranks"):
        read_weights(checkpoint, RECIPE, vocab_size=VOCAB, place=Place(ep_rank=0, ep=3))
    with pytest.raises(ConversionError, match="found 64 rows with padding, expected 75 or more"):
        read_weights(checkpoint, RECIPE, vocab_size=VOCAB, vocab_rows=64)
    with pytest.raises(ConversionError, match=r"without a released name: decoder\.layers\.9"):
        read_weights(checkpoint, RECIPE, vocab_size=VOCAB, names=["decoder.layers.9.mlp"])


def altered(name: str, tensor: Tensor | None) -> Iterator[tuple[str, Tensor]]:
    for each, one in weights_of(RECIPE).items():
        if each != name:
            yield each, one
        elif tensor is not None:
            yield each, tensor


ROUTER = "decoder.layers.1.mlp.router.weight"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (list, "found no parameter"),
        (lambda: altered(ROUTER, None), "found no tensor for 1 keys.*model.layers.1.*gate.weight"),
        (lambda: altered(ROUTER, torch.zeros(4, 25)), r"router.*found shape \(4, 25\), expected"),
        (lambda: altered(ROUTER, torch.zeros(4, 24).double()), "found torch.float64, expected"),
        (lambda: [*altered("", None), (ROUTER, torch.zeros(4, 24))], "gate.weight twice"),
        (lambda: [("decoder.layers.2.x", torch.zeros(1))], "found parameter decoder.layers.2.x"),
        (
            lambda: altered("output_layer.weight", torch.zeros(74, 24)),
            r"found shape \(74, 24\), expected \(75, 24\)",
        ),
        (
            lambda: altered("output_layer.weight", torch.zeros(80, 23)),
            r"found shape \(80, 23\), expected \(75, 24\)",
        ),
    ],
)
def test_weights_that_are_not_the_models(
    tmp_path: Path, weights: Callable[[], object], message: str
) -> None:
    """Nothing is left of the folder."""
    with pytest.raises(ConversionError, match=message):
        export(tmp_path / "model", weights())
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_kept(tmp_path: Path, folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(ConversionError, match="found files, expected a new folder"):
        export(folder)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]
    (tmp_path / "empty").mkdir()
    export(tmp_path / "empty")
    assert (tmp_path / "empty" / INDEX).exists()


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    write = os.pwrite

    def full(descriptor: int, data: Any, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        # A write may also be cut short, and is gone on with.
        return write(descriptor, data[: max(1, len(data) // 2)], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        export(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    calls = 9
    export(tmp_path / "model")
    read = dict(read_weights(Checkpoint(tmp_path / "model"), RECIPE, vocab_size=VOCAB))
    assert all(torch.equal(read[name], one) for name, one in weights_of(RECIPE).items())


def test_what_a_writer_takes(tmp_path: Path) -> None:
    shapes = {"a": (2, 3)}
    with pytest.raises(ConversionError, match=r"found torch.int32, expected one of"):
        ShardWriter(tmp_path / "m", shapes, torch.int32)
    with pytest.raises(ConversionError, match="found max_shard_bytes 0, expected 1 or more"):
        ShardWriter(tmp_path / "m", shapes, torch.float32, max_shard_bytes=0)
    with (
        pytest.raises(ConversionError, match=r"a: found torch.float32 \(3, 2\), expected"),
        ShardWriter(tmp_path / "m", shapes, torch.float32) as writer,
    ):
        writer.write("a", torch.zeros(3, 2))
    with (
        pytest.raises(ConversionError, match="found key b, which the model does not have"),
        ShardWriter(tmp_path / "m", shapes, torch.float32) as writer,
    ):
        writer.write("b", torch.zeros(2, 3))
    with ShardWriter(tmp_path / "m", shapes, torch.float32) as writer:
        # Any strides.
        writer.write("a", torch.arange(6.0).view(3, 2).T)
    assert load_file(tmp_path / "m/model-00001-of-00001.safetensors")["a"].tolist() == [
        [0, 2, 4],
        [1, 3, 5],
    ]
