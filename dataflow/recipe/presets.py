"""The sets of rules that a recipe may `use`, of texts and of images."""

from __future__ import annotations

from quality.dialects import DIALECTS as TEXT_DIALECTS
from quality.dialects import Dialect
from quality.rules import Rule
from vl_data.dialects import DIALECTS as IMAGE_DIALECTS

DIALECTS: dict[str, Dialect] = {**TEXT_DIALECTS, **IMAGE_DIALECTS}
PRESETS: dict[str, tuple[Rule, ...]] = {name: d.rules for name, d in DIALECTS.items()}
