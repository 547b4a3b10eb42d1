"""The report of a run: one self-contained page, made from the run's tables alone."""

from __future__ import annotations

from dataflow.report.inputs import (
    Partition,
    ReportError,
    ReportInputs,
    load_inputs,
    local_opener,
)
from dataflow.report.page import write_report

__all__ = [
    "Partition",
    "ReportError",
    "ReportInputs",
    "load_inputs",
    "local_opener",
    "write_report",
]
