"""How much work an HTML document would make for a parser, measured without parsing it."""

from kernels.html.nesting import HARMLESS, Nesting, count_tags, measure

__all__ = ["HARMLESS", "Nesting", "count_tags", "measure"]
