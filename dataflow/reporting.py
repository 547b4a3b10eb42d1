"""Writes ``report.html`` of a run folder."""

from __future__ import annotations

from dataflow.report import load_inputs, write_report
from dataflow.store import Store

REPORT = "report.html"


def report_run(store: Store) -> str:
    """Make the report from the run's tables; return its path in the run folder."""
    store.write(REPORT, write_report(load_inputs(store.open)).encode())
    return REPORT
