"""How much work an HTML document would make for a parser, measured without parsing it."""

from kernels.html.nesting import Nesting, is_harmless, measure

__all__ = ["Nesting", "is_harmless", "measure"]
