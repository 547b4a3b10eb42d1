"""Charts by matplotlib, with the numbers they show: bars, lines, pies and points."""

from vl_data.synthesis.charts.family import FAMILY

__all__ = ["FAMILY"]
