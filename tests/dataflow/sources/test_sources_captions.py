"""A model's captions beside the source's own: found by image and caption, drawn by hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3

from dataflow.build import build
from dataflow.locks import BuildError
from dataflow.recipe import RecipeError, plan_recipe
from dataflow.run import Run
from dataflow.sources import Captions, SourceError, SourceSpec
from dataflow.sources.labels import digest_of, problem
from dataflow.store import Store
from tests.dataflow.corpora import sentence_text
from tests.dataflow.sources.made_pairs import image
from vl_data.images import MARK
from vl_data.labels.lookup import CaptionLabels
from vl_data.labels.tables import CAPTIONS, TAGS, label_table, write_labels

Reader = Callable[..., Any]
COUNT = 40
IMAGES = [image(number) for number in range(COUNT)]
ABOUT = {"kind": "captions", "model": {"model": "made"}, "prompt": {"name": "caption"}}


def _digest(text: str | None) -> bytes | None:
    return None if text is None else blake3(text.encode()).digest()


def _row(number: int, own: str | None, caption: str | None, **others: Any) -> dict[str, Any]:
    said = {"caption": caption, "description": f"At length, {number}." if caption else None}
    why = {"reason": None if caption else "refused", "detail": None}
    key = {"digest": blake3(IMAGES[number]).digest(), "caption_digest": _digest(own)}
    return {**key, **said, **why, **others}


def _table(folder: Path, rows: list[dict[str, Any]], **about: Any) -> Path:
    return write_labels(folder, "captions", label_table(CAPTIONS, rows, ABOUT | about))[0]


def _pairs(folder: Path, captions: list[str | None]) -> None:
    (folder / "images").mkdir(exist_ok=True)
    lines = []
    for number, caption in enumerate(captions):
        (folder / "images" / f"{number}.png").write_bytes(IMAGES[number])
        lines.append({"image": f"images/{number}.png", "caption": caption})
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))


def _taken(path: Path, **changes: Any) -> Captions:
    return Captions(str(path), digest_of(str(path)), **changes)


def _texts(read_all: Reader, captions: Captions | None, **settings: Any) -> list[str]:
    found = read_all(format="image-text", include=("*.jsonl",), captions=captions, **settings)
    assert found.refused == []
    return [record.text.removeprefix(MARK + "\n") for record in found.records]


def test_raw_or_refined_is_drawn_by_hash_with_the_recipes_odds(
    tmp_path: Path, read_all: Reader
) -> None:
    own = [f"Raw {number}." for number in range(COUNT)]
    _pairs(tmp_path, list(own))
    path = _table(tmp_path, [_row(n, own[n], f"Refined {n}.") for n in range(COUNT)])
    refined = [f"Refined {number}." for number in range(COUNT)]
    assert _texts(read_all, None) == own
    assert _texts(read_all, _taken(path, probability=1.0)) == refined
    assert _texts(read_all, _taken(path, probability=0.0)) == own
    drawn = _texts(read_all, _taken(path))
    assert all(
        text in pair for text, pair in zip(drawn, zip(own, refined, strict=True), strict=True)
    )
    assert 8 < sum(text.startswith("Refined") for text in drawn) < 32
    assert drawn == _texts(read_all, _taken(path))
    assert drawn != _texts(read_all, _taken(path), seed=1)
    told = _texts(read_all, _taken(path, probability=1.0, use="description"))
    assert told == [f"At length, {number}." for number in range(COUNT)]


def test_rows_are_found_by_image_and_caption(tmp_path: Path, read_all: Reader) -> None:
    _pairs(tmp_path, ["Mine.", "Mine.", "Mine.", None, "Mine."])
    rows = [
        _row(0, "Mine.", "Of image 0 and its caption."),
        _row(0, "Yours.", "Of image 0 and another caption."),
        _row(1, None, "Of image 1 shown without a caption."),
        _row(1, "Yours.", "Of image 1 and another caption."),
        _row(2, "Yours.", "Of image 2 and another caption."),
        _row(3, None, "Of image 3, which has none."),
        _row(4, "Mine.", None),  # the model gave none
    ]
    path = _table(tmp_path, rows)
    assert _texts(read_all, _taken(path, probability=1.0)) == [
        "Of image 0 and its caption.",
        "Of image 1 shown without a caption.",
        "Mine.",
        "Of image 3, which has none.",
        "Mine.",
    ]
    # Of a pair that has no caption of its own the table's is the only one, whatever the odds.
    assert _texts(read_all, _taken(path, probability=0.0))[3] == "Of image 3, which has none."


def test_both_captions_are_in_the_metadata_and_the_records_digest_is_the_sources(
    tmp_path: Path, read_all: Reader
) -> None:
    _pairs(tmp_path, ["Mine."])
    path = _table(tmp_path, [_row(0, "Mine.", "Refined.")])
    settings = {"format": "image-text", "include": ("*.jsonl",)}
    (record,) = read_all(captions=_taken(path), **settings).records
    assert record.metadata == {"caption": "Mine.", "refined": "Refined."}
    (plain,) = read_all(**settings).records
    assert record.digest == plain.digest


def test_a_pair_without_any_caption_is_refused_still(tmp_path: Path, read_all: Reader) -> None:
    _pairs(tmp_path, [None])
    path = _table(tmp_path, [_row(1, None, "Of another image.")])
    found = read_all(format="image-text", include=("*.jsonl",), captions=_taken(path))
    assert [reason for _, _, reason in found.refused] == ["missing-field"]


def test_another_table_is_another_reading(tmp_path: Path) -> None:
    one = _table(tmp_path, [_row(0, None, "One.")])
    keys = []
    for captions in (
        None, _taken(one), _taken(one, probability=0.4), _taken(one, use="description"),
        _taken(_table(tmp_path, [_row(0, None, "Two.")], side=2)),
    ):  # fmt: skip
        spec = SourceSpec("a", format="image-text", captions=captions)
        assert SourceSpec.from_json(spec.to_json()) == spec
        keys.append(json.dumps(spec.reading(), sort_keys=True))
        assert str(tmp_path) not in keys[-1]  # where the table lies does not count
    assert len(set(keys)) == 5


def test_a_table_that_changed_since_the_plan_stops_the_reading(
    tmp_path: Path, read_all: Reader
) -> None:
    _pairs(tmp_path, ["Mine."])
    path = _table(tmp_path, [_row(0, None, "One.")])
    captions = _taken(path)
    _table(tmp_path, [_row(0, None, "Two.")])
    with pytest.raises(SourceError, match="changed since the build was planned"):
        read_all(format="image-text", include=("*.jsonl",), captions=captions)


def test_what_is_no_table_of_captions(tmp_path: Path) -> None:
    def found(path: Path) -> str:
        said = problem(Captions(str(path), digest_of(str(path))))
        assert said is not None
        return " / ".join(said)

    assert "No such file" in found(tmp_path / "none.parquet")
    (tmp_path / "cut.parquet").write_bytes(
        _table(tmp_path, [_row(0, None, "A.")]).read_bytes()[:99]
    )
    assert "no Parquet file" in found(tmp_path / "cut.parquet")
    tags = {"digest": b"d" * 32, "tag": "ocr", "reason": None, "detail": None}
    path, _ = write_labels(tmp_path, "tags", label_table(TAGS, [tags], ABOUT))
    assert "found columns digest, tag, reason, detail / labels with digest" in found(path)
    rows = pa.Table.from_pylist([_row(0, None, "A.")], schema=CAPTIONS)
    pq.write_table(rows, tmp_path / "unsigned.parquet")
    assert "leyden.labels" in found(tmp_path / "unsigned.parquet")
    assert "a table without rows" in found(_table(tmp_path, [], side=1))
    assert problem(_taken(_table(tmp_path, [_row(0, None, "A.")]))) is None


def test_digests_that_begin_alike_are_told_apart() -> None:
    rows = [_row(0, None, f"Number {n}.", digest=b"12345678" + bytes([n]) * 24) for n in range(9)]
    labels = CaptionLabels(label_table(CAPTIONS, rows[::-1], ABOUT))
    for number in range(9):
        found = labels.find(b"12345678" + bytes([number]) * 24, "Whatever.")
        assert found is not None
        assert found.caption == f"Number {number}."
    assert labels.find(b"12345678" + b"x" * 24, None) is None
    assert labels.find(b"x" * 32, None) is None


RECIPE = """\
name: captioned
sources:
  - name: captions
    paths: [pairs.jsonl]
    format: image-text
    images: {min_side: 8}
    captions: {refined: TABLE, probability: 1.0}
tokenizer: {train: {vocab_size: 512}}
"""


def _recipe(folder: Path, table: str) -> Path:
    path = folder / "captioned.yaml"
    path.write_text(RECIPE.replace("TABLE", table))
    return path


def test_a_build_takes_them_and_refuses_those_of_other_images(tmp_path: Path) -> None:
    _pairs(tmp_path, [f"Raw {number} of this corpus." for number in range(6)])
    generator = np.random.default_rng(3)
    refined = [sentence_text(generator, 40) for _ in range(6)]
    rows = [_row(n, None, refined[n]) for n in range(6)]
    path = _recipe(tmp_path, _table(tmp_path, rows).name)
    out = tmp_path / "run"
    build(path, str(out), workers=0, show=False)
    run = Run.load(Store(str(out)))
    (read,) = [partition.read for partition in run.partitions]
    assert read.stats["refined"] == 6
    texts = run.table(read, "documents")["text"].to_pylist()
    assert texts == [f"{MARK}\n{text}" for text in refined]
    # Labels of another run: of none of these images.
    other = _table(tmp_path, [_row(30, None, "Of another corpus.")], side=7)
    with pytest.raises(BuildError, match="source captions: found no caption for any of its images"):
        build(_recipe(tmp_path, other.name), str(tmp_path / "other"), workers=0, show=False)


def test_recipes_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    _pairs(tmp_path, ["A."])

    def refused(path: Path) -> str:
        with pytest.raises(RecipeError) as error:
            plan_recipe(path)
        return str(error.value)

    path = _recipe(tmp_path, "none.parquet")
    said = refused(path)
    assert f"{path}:7:" in said
    assert "sources[0].captions.refined" in said
    assert "No such file" in said
    path.write_text(path.read_text().replace("image-text", "llava"))
    assert "expected it for format image-text only" in refused(path)
    path.write_text(RECIPE.replace("probability: 1.0", "probability: 1.5"))
    assert "captions.probability" in refused(path)
