"""Writes ``report.html`` of a run folder."""

from __future__ import annotations

from pathlib import Path

from dataflow.report import load_inputs, write_report
from dataflow.store import Store

REPORT = "report.html"


def report_run(store: Store, tags: Path | None = None) -> str:
    """Make the report from the run's tables; return its path in the run folder.

    ``tags``: a table of ``python -m vl_data tag``, to show how capabilities are spread.

    Raises
    ------
    ReportError
        If tables do not fit together, or the tags are none of this run's.
    """
    store.write(REPORT, write_report(load_inputs(store.open, tags)).encode())
    return REPORT
