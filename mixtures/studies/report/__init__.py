"""A study's report: one self-contained page, the decision first."""

from __future__ import annotations

from mixtures.studies.report.page import write_report

__all__ = ["write_report"]
