"""Benchmarks' rows as items, in the forms that they are published and prepared in; bad rows."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from mixtures.items.baselines import baselines
from mixtures.items.benchmarks import FORMATS, read_benchmark
from mixtures.items.errors import ItemsError
from mixtures.items.item import Item, read_items, write_items

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "g_eval"


def written(path: Path, *rows: Any) -> Path:
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows) + b"\n")
    return path


def read(folder: Path, name: str, *rows: Any) -> list[Item]:
    return read_benchmark(written(folder / "rows.jsonl", *rows), name)


STEM = "What do bakers heat?"
LABELLED = [{"label": "A", "text": "ovens"}, {"label": "B", "text": "ponds"}]
EXAMINED = (f"Question: {STEM}\nAnswer:", ("ovens", "ponds"), 1)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("arc", {"question": {"stem": STEM, "choices": LABELLED}, "answerKey": "B"}),
        (
            "arc_challenge",
            {
                "question": STEM,
                "choices": {"text": ["ovens", "ponds"], "label": ["1", "2"]},
                "answerKey": "2",
            },
        ),
        ("arc_easy", {"query": f"Question: {STEM}", "choices": ["ovens", "ponds"], "gold": 1}),
        ("commonsense_qa", {"question": {"stem": STEM, "choices": LABELLED}, "answerKey": "B"}),
        (
            "commonsense_qa",
            {
                "query": f"Question: {STEM}\nChoices:\nA. ovens\nB. ponds\nAnswer:",
                "choices": ["A", "B"],
                "gold": 1,
            },
        ),
        ("mmlu", {"question": STEM, "choices": ["ovens", "ponds"], "answer": 1, "subject": "x"}),
        ("mmlu", {"question": STEM, "choices": ["ovens", "ponds"], "answer": "B"}),
        ("piqa", {"goal": STEM, "sol1": "ovens", "sol2": "ponds", "label": "1"}),
        ("piqa", {"query": f"Question: {STEM}\n", "choices": ["ovens", "ponds"], "gold": 1}),
    ],
)
def test_examinations_have_no_letters(tmp_path: Path, name: str, row: dict[str, Any]) -> None:
    (item,) = read(tmp_path, name, row)
    assert (item.query, item.choices, item.answer) == EXAMINED
    assert item.kind == name


def test_a_row_a_choice_is_put_together(tmp_path: Path) -> None:
    rows = [
        {"question": f"Which {n}?", "eval_instance_index": n, "answer": text, "is_correct": right}
        for n in range(2)
        for text, right in (("first", n == 0), ("second", n == 1), ("third", False))
    ]
    items = read(tmp_path, "mmlu", *rows)
    assert [(i.query, i.answer) for i in items] == [
        ("Question: Which 0?\nAnswer:", 0), ("Question: Which 1?\nAnswer:", 1),
    ]  # fmt: skip
    assert items[0].choices == ("first", "second", "third")
    rows[4]["is_correct"] = False
    with pytest.raises(ItemsError, match="line 4: is_correct: found '0 of 3"):
        read(tmp_path, "mmlu", *rows)


def test_whole_sentences_have_no_query_and_change_places(tmp_path: Path) -> None:
    row = {"sentence_good": "The mill turns.", "sentence_bad": "The mill turn.", "UID": "agree"}
    items = read(tmp_path, "blimp", row, row)
    assert [i.right for i in items] == ["The mill turns."] * 2
    assert {i.answer for i in items} == {0, 1}
    assert {(i.query, i.source) for i in items} == {("", "agree")}


def test_a_gap_gives_a_query_for_each_filler(tmp_path: Path) -> None:
    published = {
        "sentence": "The cup broke the tile since the _ was heavy.", "option1": "cup",
        "option2": "tile", "answer": "1",
    }  # fmt: skip
    queries = ["The cup broke the tile since the cup", "The cup broke the tile since the tile"]
    prepared = {"context_options": queries, "continuation": "was heavy.", "gold": 0}
    items = read(tmp_path, "winogrande", published, prepared)
    for item in items:
        assert item.queries == tuple(queries)
        assert item.choices == ("was heavy.",) * 2
        assert (item.answer, item.asked) == (0, queries[0])


def test_clauses_and_endings(tmp_path: Path) -> None:
    copa = {
        "premise": "The oven went cold.", "choice1": "The bread rose.", "choice2": "It was off.",
        "question": "cause", "label": 1,
    }  # fmt: skip
    (item,) = read(tmp_path, "copa", copa)
    assert item.query == "The oven went cold, because"
    assert item.choices == ("the bread rose.", "it was off.")
    assert item.right == "it was off."
    hellaswag = {
        "activity_label": "Baking bread", "ctx_a": "[header] How to bake [title] Heat the oven.",
        "ctx_b": "the baker", "endings": ["waits [substeps] a  while.", "swims.", "b", "c"],
        "label": "0",
    }  # fmt: skip
    (item,) = read(tmp_path, "hellaswag", hellaswag)
    assert item.query == "Baking bread: How to bake. Heat the oven. The baker"
    assert item.right == "waits a while."


def test_a_last_word_is_told_from_words_of_the_passage(tmp_path: Path) -> None:
    rows = [
        {"context": "Ada gave Bert and Carl a lamp, and Carl thanked", "continuation": "Ada"},
        {"text": "The old baker sold the loaf to the clerk and the clerk ate the loaf"},
        {"text": "No more"},
    ]
    items = read(tmp_path, "lambada", *rows)
    assert [i.right for i in items] == ["Ada", "loaf", "more"]
    assert items[1].query.endswith("ate the")
    for item in items:
        assert len({c.lower() for c in item.choices}) == 4
    assert set(items[0].choices) - {"Ada"} <= set(items[0].query.replace(",", "").split())
    assert items == read(tmp_path, "lambada", *rows)


def test_bad_rows_are_listed_and_nothing_is_dropped(tmp_path: Path) -> None:
    good = {"goal": "g", "sol1": "a", "sol2": "b", "label": 0}
    bad = [{**good, "label": None}, {**good, "label": 2}, {**good, "sol1": " "}, [1]]
    path = written(tmp_path / "piqa.jsonl", good, *bad, *[{"goal": "g"}] * 4)
    with pytest.raises(ItemsError) as caught:
        read_benchmark(path, "piqa")
    told = str(caught.value)
    assert f"{path}: line 2: label: found nothing, expected a number from 0 to 1" in told
    assert "line 3: label: found 2" in told
    assert "and 3 more" in told
    hidden = {"activity_label": "a", "ctx": "b", "endings": ["c", "d"], "label": ""}
    with pytest.raises(ItemsError, match="line 1: label: found ''"):
        read(tmp_path, "hellaswag", hidden)
    with pytest.raises(ItemsError, match="answerKey: found 'C', expected one of A, B"):
        read(tmp_path, "arc", {"question": STEM, "choices": LABELLED, "answerKey": "C"})
    path.write_text("{\n")
    with pytest.raises(ItemsError, match="line 1: found no JSON"):
        read_benchmark(path, "piqa")
    with pytest.raises(ItemsError, match="cannot be read"):
        read_benchmark(tmp_path / "absent", "piqa")


def test_compressed_files_and_items_are_read_again(tmp_path: Path) -> None:
    row = orjson.dumps({"sentence_good": "The mill turns.", "sentence_bad": "The mill turn."})
    (tmp_path / "a.gz").write_bytes(gzip.compress(row))
    (tmp_path / "a.zst").write_bytes(zstandard.compress(row))
    items = read_benchmark(tmp_path / "a.gz", "blimp")
    assert items == read_benchmark(tmp_path / "a.zst", "blimp")
    gap = Item("w", "winogrande", "", ("x", "x"), 1, ("a", "b"), "s", {"note": 3})
    write_items(tmp_path / "out.jsonl", [*items, gap])
    assert read_items(tmp_path / "out.jsonl") == [*items, gap]
    (tmp_path / "a.gz").write_bytes(gzip.compress(row)[:-9])
    with pytest.raises(ItemsError, match="cannot be read"):
        read_benchmark(tmp_path / "a.gz", "blimp")


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared evaluation data are not there")
@pytest.mark.parametrize(
    ("name", "file", "count"),
    [
        ("arc_easy", "arc_easy.jsonl", 2376),
        ("blimp", "blimp.jsonl.zst", 14800),
        ("commonsense_qa", "commonsense_qa.jsonl", 1221),
        ("copa", "copa.jsonl", 100),
        ("lambada", "lambada_openai.jsonl", 5153),
        ("mmlu", "mmlu_validation-1.jsonl.gz", 1531),
        ("piqa", "piqa.jsonl", 1838),
        ("winogrande", "winogrande.jsonl", 1267),
    ],
)
def test_real_files(name: str, file: str, count: int) -> None:
    assert name in FORMATS
    items = read_benchmark(DATA / file, name)
    assert len(items) == count
    assert len({item.id for item in items}) == count
    if name == "commonsense_qa":  # whose rows have letters for choices
        assert all(len(choice) > 1 for item in items for choice in item.choices)
    longest = baselines(items)[0]
    assert abs(longest.accuracy - longest.chance) < 0.1
