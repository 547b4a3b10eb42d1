"""Conversations about images: texts, what carries loss, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflow.shards.marked import encode_marked
from dataflow.sources import Fields, Fit, SourceSpec, Synthesis
from dataflow.tokenizer import train
from tests.dataflow.sources.made_pairs import image
from vl_data.images import FOREIGN_MARK, MARK
from vl_data.limits import ANY_SIZE
from vl_data.synthesis.synthesise import Settings
from vl_data.synthesis.write import write_samples
from vl_data.tiling import plan

Reader = Callable[..., Any]
A, B = image(1), image(2, kind="jpeg")


def talk(*said: str, **more: Any) -> dict[str, Any]:
    """A row in LLaVA's form; the two sides take turns, the human first."""
    turns = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]
    return {"conversations": turns, **more}


def write(folder: Path, rows: list[Any]) -> None:
    (folder / "img").mkdir(exist_ok=True)
    (folder / "img" / "1.png").write_bytes(A)
    (folder / "img" / "2.jpg").write_bytes(B)
    (folder / "a.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    (folder / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def learned(record: Any) -> list[str]:
    """The texts that carry loss."""
    data = record.text.encode()
    return [data[a:b].decode() for a, b in record.loss]


def test_turns_become_text_with_the_answers_to_be_learned(tmp_path: Path, read_all: Reader) -> None:
    rows = [
        talk(
            "<image>\nWas ist das, ä?", "Ein Käfer.", "And now?", " Gone. ", image="img/1.png", id=7
        ),
        talk("Compare <image> and <image>.", "Both.", image=["img/2.jpg", "img/1.png"], id="x"),
        talk(f"No image {MARK} here.", "Right."),
        talk("<image>", f"A {MARK}.", image="img/1.png"),
    ]
    write(tmp_path, rows)
    found = read_all(format="llava", include=("*.json*",), fields=Fields(id="id"))
    assert found.refused == []
    first, second, third, fourth = (r for r in found.records if r.uri == "a.json")
    assert first.text == (
        f"<|user|>{MARK}\nWas ist das, ä?<|turn_end|><|assistant|>Ein Käfer.<|turn_end|>"
        "<|user|>And now?<|turn_end|><|assistant|>Gone.<|turn_end|>"
    )
    assert learned(first) == ["Ein Käfer.<|turn_end|>", "Gone.<|turn_end|>"]
    assert [i.ref for i in second.images] == ["img/2.jpg", "img/1.png"]
    assert (first.metadata, second.metadata) == ({"id": 7}, {"id": "x"})
    assert (third.images, third.text.count(MARK)) == ((), 1)
    assert fourth.text.count(MARK) == 1
    assert learned(fourth) == [f"A {FOREIGN_MARK}.<|turn_end|>"]
    lines = [r for r in found.records if r.uri == "b.jsonl"]
    assert [(r.text, r.loss) for r in lines] == [(r.text, r.loss) for r in found.records[:4]]
    cut = read_all(100, format="llava", include=("*.jsonl",), fields=Fields(id="id"))
    assert cut.all == lines
    assert len(cut.partitions) > 2


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (talk("<image> <image>", "x", image="img/1.png"), "marks-differ", "found 2 marks"),
        (talk("no tag", "x", image="img/1.png"), "marks-differ", "found 0 marks"),
        (talk("<image>", "x"), "marks-differ", "expected 0"),
        (talk("<image>", " ", image="img/1.png"), "empty-answer", "turn 1"),
        (talk("<image>", image="img/1.png"), "empty-answer", "found no answer"),
        (talk("<image>", "x", image="img/3.png"), "image-missing", "img/3.png"),
        (talk("<image>", "x", image="/img/1.png"), "image-missing", "absolute"),
        (talk("<image>", "x", image="a.json"), "image-format", "expected one of"),
        (talk(image="img/1.png"), "missing-field", "an empty list"),
        ({"image": "img/1.png"}, "missing-field", "the fields image"),
        ({"conversations": [{"from": "narrator", "value": "x"}]}, "missing-field", "'narrator'"),
        ({"conversations": [{"from": "human"}]}, "missing-field", "conversations[0].value"),
        ({"conversations": ["x"]}, "missing-field", "expected an object"),
        ([1], "bad-json", "expected an object"),
    ],
)
def test_what_is_refused_and_why(
    tmp_path: Path, read_all: Reader, row: Any, reason: str, detail: str
) -> None:
    write(tmp_path, [talk("a", "b"), row, talk("c", "d")])
    found = read_all(format="llava", include=("*.json*",))
    assert [r for _, _, r in found.refused] == [reason, reason]
    assert all(detail in o.detail for o in found.all if hasattr(o, "detail"))
    assert [learned(r) for r in found.records] == [["b<|turn_end|>"], ["d<|turn_end|>"]] * 2


def test_messages_in_rows_of_a_table(tmp_path: Path, read_all: Reader) -> None:
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image> What?"},
        {"role": "assistant", "content": "That."},
    ]
    table = pa.table({"image": [{"bytes": A, "path": None}, None], "messages": [said, said]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = read_all(format="llava")
    (record,) = found.records
    assert record.text == (
        f"<|system|>Be brief.<|turn_end|><|user|>{MARK} What?<|turn_end|>"
        "<|assistant|>That.<|turn_end|>"
    )
    assert learned(record) == ["That.<|turn_end|>"]
    assert found.refused == [("a.parquet", 1, "marks-differ")]


def test_samples_that_are_synthesised_here(tmp_path: Path, read_all: Reader) -> None:
    write_samples(tmp_path, 6, Settings(seed=1, size=112, families=("colours", "counting")))
    found = read_all(
        format="llava", include=("samples.jsonl",), images=ANY_SIZE,
        fields=Fields(id="id", metadata=("family", "layout")),
    )  # fmt: skip
    assert found.refused == []
    assert len(found.records) == 6
    assert all(len(r.images) == 1 and r.loss for r in found.records)
    assert {r.metadata["family"] for r in found.records} <= {"colours", "counting"}


def test_a_conversation_is_cut_after_the_last_answer_that_fits(
    tmp_path: Path, read_all: Reader
) -> None:
    said = ("<image> What, <|user|>?", "A käfer. " * 9, "<image>And now?", "Gone.", "Why?")
    write(tmp_path, [talk(*said, image=["img/1.png", "img/2.jpg"]), talk("Text?", "Yes.")])
    tokenizer = train(["A käfer and what now? " * 9], 336, tmp_path / "tokenizer")

    def found(tokens: int) -> Any:
        fit = Fit(tokens, "tiny56", str(tmp_path / "tokenizer"))
        return read_all(format="llava", include=("*.jsonl",), fit=fit)

    def tokens(record: Any) -> int:
        flat = [place for span in record.loss for place in span]
        ids, _ = encode_marked(record.text, tokenizer, pictured=bool(record.images), loss=flat,
                               where="")  # fmt: skip
        sizes = [(i.facts.width, i.facts.height) for i in record.images]
        return len(ids) + 1 + sum(plan(*size, "tiny56").tokens - 1 for size in sizes)

    whole = read_all(format="llava", include=("*.jsonl",)).records
    most, least = tokens(whole[0]), tokens(whole[1])
    assert found(most).records == whole
    cut = found(most - 1)
    first, second = cut.records
    assert (first.cut.part, first.cut.reason) == ("turn-4", "over-length")
    assert first.cut.detail == (
        f"found {most} tokens in 5 turns, expected at most {most - 1}; cut after turn 3"
    )
    assert learned(first) == learned(whole[0])
    assert second == whole[1]
    shorter = found(tokens(first) - 1).records[0]
    assert learned(shorter) == learned(whole[0])[:1]
    assert [i.ref for i in shorter.images] == ["img/1.png"]
    assert shorter.text.count(MARK) == 1
    assert shorter.cut.detail.endswith("cut after turn 1, with 1 image")
    assert found(tokens(shorter)).records[0].text == shorter.text
    for limit in (tokens(shorter) - 1, least):
        none = found(limit)
        assert none.records == whole[1:]
        assert [r for _, _, r in none.refused] == ["over-length"]
        assert none.all[0].detail.endswith("the first answer is beyond them")
    assert found(least - 1).records == []


def test_a_fit_is_part_of_what_is_read() -> None:
    fitted = SourceSpec("s", format="llava", fit=Fit(9, "tiny56", "here"))
    assert SourceSpec.from_json(fitted.to_json()) == fitted
    moved = SourceSpec("s", format="llava", fit=Fit(9, "tiny56", "there"))
    longer = SourceSpec("s", format="llava", fit=Fit(10, "tiny56", "here"))
    assert fitted.reading() == moved.reading() != longer.reading()
    assert "fit" not in SourceSpec("s", format="llava").reading()


def test_what_is_synthesised_is_fitted_too(tmp_path: Path, read_all: Reader) -> None:
    train(["Which colour has the disc? " * 9], 336, tmp_path / "tokenizer")
    made = Synthesis("instructions", 4, size=112, families=("colours",))
    for tokens, reasons in ((4000, []), (20, ["over-length"] * 4)):
        fit = Fit(tokens, "tiny56", str(tmp_path / "tokenizer"))
        found = read_all(kind="synthesised", synthesis=made, fit=fit)
        assert [reason for _, _, reason in found.refused] == reasons
        assert len(found.all) == 4
