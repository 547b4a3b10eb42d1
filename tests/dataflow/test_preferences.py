"""Pairs of answers: as one document, refused where they are none, dropped by their gap."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataflow.build import build
from dataflow.preferences import gaps
from dataflow.run import Run
from dataflow.shards import read_token_shard
from dataflow.sources import Record, SourceSpec, Unreadable, plan, read
from dataflow.store import Store
from dataflow.tokenizer import Tokenizer
from vl_data.images import MARK

ASK = {"prompt": "<image>\nHow many?", "image": "a.png"}
GOOD = {**ASK, "chosen": "Three.", "rejected": "Four.", "chosen_score": 0.9, "rejected_score": 0.2}
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Which?"},
    {"role": "assistant", "content": "This."},
    {"role": "user", "content": "Why?"},
]


def png(path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (200, 200), (200, 30, 30)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())


def outcomes(folder: Path, rows: list[dict[str, Any]]) -> list[Any]:
    png(folder / "a.png")
    (folder / "pairs.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return read_all(folder, "pairs.jsonl")


def read_all(folder: Path, name: str) -> list[Any]:
    spec = SourceSpec("pairs", paths=(name,), format="preferences", base=str(folder))
    return [found for part in plan(spec, 1 << 20) for found in read(spec, part)]


def learnt(record: Record) -> list[str]:
    data = record.text.encode()
    return [data[a:b].decode() for a, b in record.loss]


def test_a_pair_is_one_document(tmp_path: Path) -> None:
    (found,) = outcomes(tmp_path, [GOOD])
    head = f"<|user|>{MARK}\nHow many?<|turn_end|><|assistant|>"
    assert found.text == f"{head}Three.<|turn_end|><|eod|>{head}Four.<|turn_end|>"
    assert learnt(found) == ["Three.<|turn_end|><|eod|>", "Four.<|turn_end|>"]
    assert [picture.ref for picture in found.images] == ["a.png", "a.png"]
    scores = found.metadata["preference"]
    assert scores == {"chosen": 0.9, "rejected": 0.2, "gap": pytest.approx(0.7)}


def test_what_was_said_before_is_not_learnt(tmp_path: Path) -> None:
    row = {"prompt": TURNS, "chosen": [{"role": "assistant", "content": "So."}], "rejected": "No!"}
    (found,) = outcomes(tmp_path, [row])
    assert learnt(found) == ["So.<|turn_end|><|eod|>", "No!<|turn_end|>"]
    assert found.text.count("This.<|turn_end|>") == 2
    assert found.metadata is None


def test_images_without_a_place_come_first(tmp_path: Path) -> None:
    (found,) = outcomes(tmp_path, [{**GOOD, "prompt": TURNS}])
    assert found.text.count(f"<|user|>{MARK}\nWhich?") == 2
    assert len(found.images) == 2


def test_a_forged_end_is_text(tmp_path: Path) -> None:
    (found,) = outcomes(tmp_path, [{**GOOD, "chosen": "Three.<|eod|><|user|>"}])
    assert found.text.count("<|eod|>") == 1
    assert learnt(found)[0] == "Three.<\ufffdeod|><\ufffduser|><|turn_end|><|eod|>"


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"chosen": "Four."}, "equal-answers", "found 'Four.' as chosen and as rejected"),
        ({"chosen": " Four.\n"}, "equal-answers", "found 'Four.'"),
        ({"rejected": "  "}, "empty-answer", "rejected: found no text"),
        ({"rejected": None}, "missing-field", "rejected: found nothing, expected an answer"),
        ({"chosen": TURNS}, "missing-field", "chosen: found turns of system, user, assistant"),
        ({"prompt": ""}, "missing-field", "prompt: found nothing, expected a question"),
        ({"prompt": TURNS[:3]}, "missing-field", "prompt: found an answer at the end of it"),
        ({"prompt": "<image><image> Who?"}, "marks-differ", "found 2 marks in the text"),
        ({"chosen": "It is <image>."}, "marks-differ", "found 2 marks in the text, expected 1"),
        ({"image": "b.png"}, "image-missing", "b.png"),
        ({"chosen_score": "high"}, "missing-field", "chosen_score: found 'high'"),
        ({"rejected_score": float("nan")}, None, ""),
    ],
)
def test_what_is_no_pair_is_a_row_of_the_ledger(
    tmp_path: Path, change: dict[str, Any], reason: str | None, detail: str
) -> None:
    found, good = outcomes(tmp_path, [{**GOOD, **change}, GOOD])
    assert isinstance(good, Record)
    if reason is None:  # JSON has no NaN: a score that is null is none
        assert "gap" not in found.metadata["preference"]
        return
    assert isinstance(found, Unreadable)
    assert found.reason == reason
    assert detail in found.detail


def test_parquet_and_arrays_of_json(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    (tmp_path / "pairs.json").write_text(json.dumps([GOOD, {**GOOD, "chosen": "Two."}]))
    pq.write_table(pa.Table.from_pylist([GOOD, {**GOOD, "chosen": "Two."}]), tmp_path / "p.parquet")
    for name in ("pairs.json", "p.parquet"):
        assert [learnt(r)[0] for r in read_all(tmp_path, name)] == [
            "Three.<|turn_end|><|eod|>",
            "Two.<|turn_end|><|eod|>",
        ]


def test_gaps_of_metadata() -> None:
    rows = [None, "{}", '{"preference": {"chosen": 1.0}}', '{"preference": {"gap": 0.25}}']
    found = gaps(pa.chunked_array([pa.array(rows, pa.string())]))
    assert found.to_pylist() == [None, None, None, 0.25]


RECIPE = """\
name: pairs
sources:
  - {name: pairs, paths: [pairs.jsonl], format: preferences, rules: gaps}
rules:
  gaps:
    - {name: small-gap, signal: preference.gap, min: 0.3}
dedup: {near: {enabled: false}}
split: {held_out: 0}
tokenizer: {use: TOKENIZER}
"""
TOKENIZER = Path(__file__).resolve().parents[2] / "recipes/tokenizers/quickstart-32k"


def test_a_rule_drops_small_gaps_and_shards_have_the_inner_end(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    rows = []
    for number in range(12):
        row = {**GOOD, "prompt": f"<image> How many, {number}?", "chosen": f"It is {number}."}
        row["rejected_score"] = 0.9 - number / 10
        if number == 11:
            del row["chosen_score"]
        rows.append(row)
    (tmp_path / "pairs.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    (tmp_path / "pairs.yaml").write_text(RECIPE.replace("TOKENIZER", str(TOKENIZER)))
    build(tmp_path / "pairs.yaml", str(tmp_path / "run"), workers=0, show=False)
    run = Run.load(Store(str(tmp_path / "run")))
    assert "small-gap" in (tmp_path / "run" / "report.html").read_text()
    tokenizer = Tokenizer.load(TOKENIZER)
    kept = 0
    for shard in run.shards:
        path = tmp_path / "run" / shard.tokenize.outputs["shard"].path
        for sample in read_token_shard(path):
            for i in range(len(sample)):
                ids = sample.document(i)
                kept += 1
                assert (ids == tokenizer.eod).sum() == 2
                assert (ids == tokenizer.specials["image"]).sum() == 2
                spans = sample.spans[sample.spans[:, 0] == i, 1:]
                first, second = (tokenizer.decode(ids[a:b]).decode() for a, b in spans)
                assert first.startswith("It is ")
                assert first.endswith("<|turn_end|><|eod|>")
                assert second == "Four.<|turn_end|><|eod|>"
    assert kept == 9  # gaps of 0, 0.1 and 0.2 are gone; a pair without one stays
