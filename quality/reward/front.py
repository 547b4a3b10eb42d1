"""Scores of a table of documents."""

from __future__ import annotations

import pyarrow as pa

from quality.reward.student import Student, load_student


def score(table: pa.Table, student: Student | None = None) -> pa.Table:
    """Score the documents of a table.

    Parameters
    ----------
    table : n rows with ``doc_id`` and ``text`` (``string`` or ``large_string``, none null)
    student : None: the shipped one

    Returns
    -------
    n rows, in the same order: ``doc_id``, then ``reward.depth``, ``reward.helpfulness`` and
    ``reward.coherence`` (float32, 0 to 5 in steps of 1/64) and ``reward.category`` (string).

    Raises
    ------
    ValueError
        If a column is missing, or a text null.
    """
    missing = [name for name in ("doc_id", "text") if name not in table.column_names]
    if missing:
        raise ValueError(
            f"table: found no column {' and no '.join(missing)}, expected doc_id and text; "
            f"it has {', '.join(table.column_names)}"
        )
    found = (student or load_student()).score(table["text"])
    return found.add_column(0, table.schema.field("doc_id"), table["doc_id"])
