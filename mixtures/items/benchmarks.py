"""Benchmarks' rows as items, in the form whose choices are scored by their likelihood.

Letters that name choices are discarded, in choices and queries (arXiv:2501.08313, section 4.1.3):
a model continues "Answer:" by the text of each choice. Each reader takes the rows that the
benchmark's authors publish, and rows that were prepared as ``query``, ``choices`` and ``gold``.

================  ==================================================================================
arc               "Question: … Answer:" and each choice; easy and challenge alike
blimp             two whole sentences after an empty query; which comes first changes from row to
                  row
commonsense_qa    as arc; a list of lettered choices in the query is left out
copa              the premise without its full stop, "because" or "therefore", and each clause
hellaswag         activity and context, and each ending; bracketed marks are taken out
lambada           `mixtures.items.lambada`
mmlu              as arc; rows of one question a choice, as some files have them, are put together
piqa              "Question: goal Answer:" and each solution
winogrande        partial evaluation (Trinh and Le 2018, arXiv:1806.02847): the rest of the sentence
                  after its beginning with each filler
================  ==================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from mixtures.items.item import Item
from mixtures.items.json_lines import BadField, Row, read_rows, refuse, rows_of
from mixtures.items.lambada import lambada_items, lambada_passage

QUESTION, ANSWER = "Question:", "Answer:"

_MARK = re.compile(r"\[[^\]]*\]")
_LISTED = re.compile(r"\n(?:Choices:\s*\n)?(?=A[.)] )")


def read_benchmark(path: Path, name: str) -> list[Item]:
    """The items of a local file of a benchmark of `FORMATS`: JSONL, plain, gzip or Zstandard.

    Raises
    ------
    ItemsError
        If a row is bad or lacks its answer: nothing is dropped silently.
    """
    if name == "lambada":
        return lambada_items(path, read_rows(path, lambada_passage))
    if name == "mmlu" and _a_row_a_choice(path):
        return _put_together(path)
    return read_rows(path, _READERS[name])


def _asked(question: str) -> str:
    question = question.strip().removeprefix(QUESTION).removesuffix(ANSWER).strip()
    return f"{QUESTION} {question}\n{ANSWER}"


def _item(kind: str, row: Row, query: str, choices: list[str], answer: int, **more: Any) -> Item:
    bare = tuple(choice.strip() for choice in choices)
    return Item(f"{kind}-{row.line}", kind, query, bare, answer, **more)


def _prepared(row: Row) -> tuple[str, list[str], int]:
    choices = row.texts("choices")
    if len(choices) < 2:
        raise BadField("choices", len(choices), "2 or more")
    return row.text("query"), choices, row.number("gold", len(choices))


def _examination(kind: str) -> Callable[[Row], Item]:
    """Questions with labelled choices and ``answerKey``: ARC, CommonsenseQA."""

    def item(row: Row) -> Item:
        if "gold" in row or "query" in row:
            query, choices, answer = _prepared(row)
            return _item(kind, row, _asked(query), choices, answer)
        question = row.field("question", "a question")
        nested = question if isinstance(question, dict) else row
        stem = Row(nested).text("stem") if nested is question else row.text("question")
        labels, texts = _labelled(nested.get("choices"))
        key = row.text("answerKey")
        if key not in labels:
            raise BadField("answerKey", key, f"one of {', '.join(labels)}")
        return _item(kind, row, _asked(stem), texts, labels.index(key))

    return item


def _labelled(choices: Any) -> tuple[list[str], list[str]]:
    """Labels and texts: of a list of pairs, or of two lists."""
    expected = "choices with label and text"
    try:
        if isinstance(choices, dict):
            labels, texts = list(choices["label"]), list(choices["text"])
        else:
            labels, texts = [c["label"] for c in choices], [c["text"] for c in choices]
    except (KeyError, TypeError):
        raise BadField("choices", choices, expected) from None
    if len(labels) != len(texts) or len(texts) < 2:
        raise BadField("choices", choices, expected)
    return Row(label=labels).texts("label"), Row(text=texts).texts("text")


def _commonsense_qa(row: Row) -> Item:
    if "query" not in row:
        return _examination("commonsense_qa")(row)
    query, choices, answer = _prepared(row)
    parts = _LISTED.split(query, maxsplit=1)
    if len(parts) == 2:
        lines = parts[1].split("\n")[: len(choices)]
        choices = [re.sub(r"^[A-Z][.)] ", "", line).strip() for line in lines]
        if not all(choices) or len(choices) <= answer:
            raise BadField("query", query, "a line with each choice")
    return _item("commonsense_qa", row, _asked(parts[0]), choices, answer)


def _blimp(row: Row) -> Item:
    good, bad = row.text("sentence_good"), row.text("sentence_bad")
    answer = row.line % 2
    group = row.text("UID") if "UID" in row else None
    return _item("blimp", row, "", [bad, good] if answer else [good, bad], answer, source=group)


_CLAUSES = {"cause": "because", "effect": "therefore"}


def _copa(row: Row) -> Item:
    if "query" in row:
        query, choices, answer = _prepared(row)
        return _item("copa", row, query.rstrip(), choices, answer)
    premise, asked = row.text("premise").strip().removesuffix("."), row.text("question")
    if asked not in _CLAUSES:
        raise BadField("question", asked, "cause or effect")
    choices = [row.text(name).strip() for name in ("choice1", "choice2")]
    lowered = [choice[:1].lower() + choice[1:] for choice in choices]
    query = f"{premise}, {_CLAUSES[asked]}"
    return _item("copa", row, query, lowered, row.number("label", 2))


def _hellaswag(row: Row) -> Item:
    if "gold" in row:
        query, choices, answer = _prepared(row)
        return _item("hellaswag", row, query.rstrip(), choices, answer)
    endings = row.texts("endings")
    if "ctx_a" in row:
        second = row.get("ctx_b") or ""
        context = f"{row.text('ctx_a')} {second[:1].upper()}{second[1:]}"
    else:
        context = row.text("ctx")
    label = row.text("activity_label")
    query = _without_marks(f"{label}: {context}")
    answer = row.number("label", len(endings))
    return _item(
        "hellaswag", row, query, [_without_marks(e) for e in endings], answer, source=label
    )


def _without_marks(text: str) -> str:
    """WikiHow's articles mark their parts: a title ends a sentence, other marks are taken out."""
    return " ".join(_MARK.sub("", text.replace(" [title]", ". ")).split())


def _mmlu(row: Row) -> Item:
    if "gold" in row:
        query, choices, answer = _prepared(row)
        return _item("mmlu", row, _asked(query), choices, answer)
    choices = row.texts("choices")
    key = row.get("answer")
    if isinstance(key, str) and len(key) == 1 and key.isalpha():
        answer = ord(key.upper()) - ord("A")
        if answer >= len(choices):
            raise BadField("answer", key, f"one of {len(choices)} letters")
    else:
        answer = row.number("answer", len(choices))
    subject = row.text("subject") if row.get("subject") else None
    return _item("mmlu", row, _asked(row.text("question")), choices, answer, source=subject)


def _a_row_a_choice(path: Path) -> bool:
    rows = rows_of(path, [])
    return bool(rows) and all("is_correct" in row for row in rows)


def _put_together(path: Path) -> list[Item]:
    """Rows ``question``, ``answer``, ``is_correct``, those of one question in turn."""
    problems: list[str] = []
    items = []
    rows = rows_of(path, problems)
    names = ("eval_instance_index", "split", "question")
    for _, group in groupby(rows, key=lambda row: [row.get(name) for name in names]):
        mine = list(group)
        first = mine[0]
        try:
            choices = [row.text("answer") for row in mine]
            right = [n for n, row in enumerate(mine) if row["is_correct"] is True]
            if len(choices) < 2 or len(right) != 1:
                found = f"{len(right)} of {len(choices)} rows that are"
                raise BadField("is_correct", found, "one of two or more")
            items.append(_item("mmlu", first, _asked(first.text("question")), choices, right[0]))
        except BadField as error:
            problems.append(f"line {first.line}: {error}")
    refuse(path, problems)
    return items


def _piqa(row: Row) -> Item:
    if "gold" in row or "query" in row:
        query, choices, answer = _prepared(row)
        return _item("piqa", row, _asked(query), choices, answer)
    choices = [row.text("sol1"), row.text("sol2")]
    return _item("piqa", row, _asked(row.text("goal")), choices, row.number("label", 2))


def _winogrande(row: Row) -> Item:
    if "context_options" in row:
        queries, rest = row.texts("context_options"), row.text("continuation")
        if len(queries) < 2:
            raise BadField("context_options", len(queries), "2 or more")
        answer = row.number("gold", len(queries))
    else:
        before, gap, rest = row.text("sentence").partition("_")
        if not gap or not rest.strip():
            raise BadField("sentence", row["sentence"], "a text with a gap, _, and a rest")
        queries = [before + row.text(name) for name in ("option1", "option2")]
        answer = row.number("answer", 2, first=1)
    choices = [rest] * len(queries)
    return _item("winogrande", row, "", choices, answer, queries=tuple(queries))


_READERS: dict[str, Callable[[Row], Item]] = {
    "arc": _examination("arc"),
    "arc_easy": _examination("arc_easy"),
    "arc_challenge": _examination("arc_challenge"),
    "blimp": _blimp,
    "commonsense_qa": _commonsense_qa,
    "copa": _copa,
    "hellaswag": _hellaswag,
    "mmlu": _mmlu,
    "piqa": _piqa,
    "winogrande": _winogrande,
}
FORMATS = tuple(sorted([*_READERS, "lambada"]))
