"""All signals that a rule, a condition or a survivor term may name, whoever measures them."""

from __future__ import annotations

from quality.signals import SIGNALS as TEXT_SIGNALS
from quality.signals import Signal
from vl_data.signals import SIGNALS as IMAGE_SIGNALS

SIGNALS: dict[str, Signal] = {**TEXT_SIGNALS, **IMAGE_SIGNALS}
"""By name: those of texts and of where they come from, then those of images."""
