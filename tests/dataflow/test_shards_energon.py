"""megatron-energon's metadata: offsets that are there, and, where it is installed, a load."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import yaml

from dataflow.shards import (
    ShardError,
    energon_files,
    find_samples,
    write_content_shard,
    write_token_shard,
)
from dataflow.shards.energon import ShardSamples
from dataflow.tokenizer import Tokenizer

PINNED = Path(__file__).parents[2] / "recipes" / "tokenizers" / "quickstart-32k"
SHARDS = {"train-000000": 30, "train-000001": 1, "heldout-000000": 7, "heldout-000001": 0}


def _build(folder: Path) -> None:
    """Both sets, with metadata, in ``content/`` and ``tokens/``."""
    tokenizer = Tokenizer.load(PINNED)
    found: dict[str, list[ShardSamples]] = {"content": [], "tokens": []}
    for shard, count in SHARDS.items():
        content = folder / "content" / f"{shard}.tar"
        tokens = folder / "tokens" / f"{shard}.tar"
        rows = [
            (i.to_bytes(16, "big"), f"{shard} {i} ".encode() * 40, {"lang": "en"})
            for i in range(count)
        ]
        write_content_shard(content, rows, shard, sample_bytes=1500)
        tokens.parent.mkdir(exist_ok=True)
        write_token_shard(content, tokenizer, tokens)
        for path in (content, tokens):
            with path.open("rb") as file:
                samples = find_samples(file, shard, shard.partition("-")[0])
            found[path.parent.name].append(samples)
    for kind, shards in found.items():
        for name, data in energon_files(shards).items():
            target = folder / kind / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)


def test_offsets_are_where_samples_begin(tmp_path: Path) -> None:
    _build(tmp_path)
    for kind, first in (("content", "json"), ("tokens", "ids.npy")):
        folder = tmp_path / kind
        info = yaml.safe_load((folder / ".nv-meta" / ".info.json").read_text())
        assert set(info["shard_counts"]) == {f"{s}.tar" for s, count in SHARDS.items() if count}
        parts = yaml.safe_load((folder / ".nv-meta" / "split.yaml").read_text())["split_parts"]
        assert parts == {
            "train": ["train-000000.tar", "train-000001.tar"],
            "val": ["heldout-000000.tar"],
        }
        for name, count in info["shard_counts"].items():
            data = (folder / name).read_bytes()
            offsets = np.frombuffer((folder / f"{name}.idx").read_bytes(), "<u8").tolist()
            assert len(offsets) == count + 1
            for i, offset in enumerate(offsets[:-1]):
                header = f"{name.removesuffix('.tar')}-{i:06d}.{first}\0".encode()
                assert data[offset:].startswith(header)
            assert data[offsets[-1] :] == bytes(1024)
        assert not (folder / "heldout-000001.tar.idx").exists()


def test_a_cut_shard_has_no_offsets() -> None:
    sink = io.BytesIO()
    write_content_shard(sink, [(bytes(16), b"text", {})], "train-000000")
    with pytest.raises(ShardError, match="truncated"):
        find_samples(io.BytesIO(sink.getvalue()[:-1025]), "train-000000", "train")


def test_energon_loads_both_sets(tmp_path: Path) -> None:
    energon = pytest.importorskip("megatron.energon", reason="needs megatron-energon")
    _build(tmp_path)
    workers = energon.WorkerConfig(rank=0, world_size=1, num_workers=0)
    for kind, members in (
        ("content", {"json", "txt"}),
        ("tokens", {"ids.npy", "offsets.npy", "spans.npy"}),
    ):
        for part, shards in (("train", 2), ("val", 1)):
            dataset = energon.load_dataset(tmp_path / kind).get_dataset(
                training=False, split_part=part, worker_config=workers
            )
            samples = list(energon.get_loader(dataset.build()))
            split = "train" if part == "train" else "heldout"
            assert len({sample["__shard__"] for sample in samples}) == shards
            for sample in samples:
                assert members <= set(sample)
                assert sample["__key__"].split("/")[-1].startswith(split)
