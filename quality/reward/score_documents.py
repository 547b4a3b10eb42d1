"""Score whatever documents are read, into a file of scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from quality.reward.documents import read_documents
from quality.reward.scores_file import student_scorer, write_scores
from quality.reward.students import AnyStudent

Watch = Callable[[int, int], None]
"""Of documents and bytes of text so far."""


def score_documents(
    inputs: Sequence[Path], kind: str, student: AnyStudent, out: Path, watch: Watch | None = None
) -> int:
    """Score runs or JSON lines with a student; returns the contents scored, each once."""
    scorer = student_scorer(kind, student.version)
    return write_scores(out, _tables(inputs, student, watch), scorer)


def _tables(inputs: Sequence[Path], student: AnyStudent, watch: Watch | None) -> Iterator[pa.Table]:
    documents = size = 0
    for path in inputs:
        for table in read_documents(path):
            found = student.score(table["text"])
            yield found.add_column(0, "content_id", table["content_id"])
            documents += table.num_rows
            size += table["text"].nbytes
            if watch is not None:
                watch(documents, size)
